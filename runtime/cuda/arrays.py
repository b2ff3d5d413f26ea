"""Arrays that kernels of a CUDA device read and write, shared with other libraries through DLPack."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import DTypeLike

from runtime import _kernels
from runtime.cuda.memory import CudaMemory, PinnedMemory
from runtime.cuda.stream import LEGACY, CudaEvent, CudaStream

__all__ = ["DLPACK_CUDA", "DLPACK_LEGACY", "DeviceArray"]

DLPACK_CUDA = 2
"""DLPack's kDLCUDA."""

DLPACK_LEGACY = 1
"""The legacy default stream, which DLPack does not call 0."""

_NO_ORDER = -1
"""A consumer that looks after the order itself."""


class DeviceArray:
    """A C-contiguous array that a device reaches.

    Attributes:
        shape: Elements along each axis.
        dtype: One of the types that kernels read or write.
        device: Number of the device.
        address: Where it starts, for the device.
        memory: What it lies in, and keeps.
    """

    def __init__(
        self, memory: CudaMemory | PinnedMemory, shape: tuple[int, ...], dtype: DTypeLike, offset: int = 0
    ) -> None:
        """See memory as an array.

        Args:
            memory: Large enough; mapped where it is the host's.
            shape: Elements along each axis.
            dtype: int8, uint8, int16, uint16, int32, int64, uint64, float16 or float32.
            offset: Bytes of `memory` before the array.
        """
        self.shape, self.dtype, self.device = shape, np.dtype(dtype), memory.stream.device.ordinal
        self.address = memory.address + offset
        self.memory = memory

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int) -> DeviceArray:
        """One entry of the first axis, in the same memory.

        Raises:
            IndexError: There is no such entry.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} of an axis of {len(self)}")
        offset = self.address - self.memory.address + index * (self.nbytes // len(self))
        return DeviceArray(self.memory, self.shape[1:], self.dtype, offset)

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> object:
        """A capsule that shares the memory and keeps it alive.

        Args:
            stream: Where the consumer will use it; that stream waits for what is on the array's own now.
                None and 1 are the legacy default stream, 2 this thread's, -1 lets nothing wait.
            max_version: Newest form the consumer knows; the answer has the first form, which all know.
            dl_device: Where the consumer wants it; only where it lies is possible.
            copy: True is refused.

        Raises:
            BufferError: A copy, another device or a stream that does not exist is asked for, or the
                array's stream is being recorded and the consumer's is another one.
            DeviceError: The driver refuses.

        Source:
            Python array API standard 2024.12, `array.__dlpack__`.
        """
        if copy or (dl_device is not None and tuple(dl_device) != self.__dlpack_device__()):
            raise BufferError("device memory is shared, not copied; copy it with the library that asks")
        if stream == LEGACY or (stream is not None and stream < _NO_ORDER):
            raise BufferError(f"DLPack has no stream {stream}; the legacy default stream is 1")
        own = self.memory.stream
        reader = DLPACK_LEGACY if stream is None else stream
        if reader != (own.handle or DLPACK_LEGACY):
            self.memory.readers.add(reader)
            if reader != _NO_ORDER:
                _order(own, reader)
        given = (self.address, self.shape, self.dtype.name, self.device)
        return _kernels.device_capsule(*given, self.memory)

    def __dlpack_device__(self) -> tuple[int, int]:
        """Kind of device and its number."""
        return DLPACK_CUDA, self.device


def _order(own: CudaStream, reader: int) -> None:
    """Let a stream wait for what is on an array's own stream now."""
    if own.recording:
        raise BufferError("the array's stream is being recorded; use the array on that stream, or later")
    event = CudaEvent(own.device)
    event.record(own)
    CudaStream(own.device, reader).wait(event)
