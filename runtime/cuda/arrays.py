"""Arrays in the memory of a CUDA device, owned by whoever asked for them, shared through DLPack."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from runtime import _kernels
from runtime.cuda.driver import CudaDevice

__all__ = ["DeviceArray"]

_DLPACK_CUDA = 2
"""DLPack's kDLCUDA."""


class DeviceArray:
    """A C-contiguous array in device memory.

    Attributes:
        shape: Elements along each axis.
        dtype: One of the types that kernels read or write.
        device: Number of the device.
        address: Where it starts in device memory.
    """

    def __init__(self, device: CudaDevice, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        """Allocate; the values are not initialised.

        Args:
            device: Where.
            shape: Elements along each axis.
            dtype: int8, uint8, int16, uint16, int32, int64, uint64, float16 or float32.

        Raises:
            DeviceError: There is not so much memory.
        """
        self.shape, self.dtype, self.device = shape, np.dtype(dtype), device.ordinal
        size = math.prod(shape) * self.dtype.itemsize
        memory = device.allocate(max(size, 1))
        self.address = memory.address
        self._memory = memory

    def __dlpack__(self, *, copy: bool | None = None, **options: Any) -> object:
        """A capsule that shares the memory and keeps it alive.

        Nothing waits: a consumer works on the stream of the kernels, or after it.

        Args:
            copy: True is refused.
            options: Other requests of the protocol; the answer is the same with and without.

        Raises:
            BufferError: A copy was asked for.
        """
        if copy:
            raise BufferError("device memory is shared, not copied; copy it with the library that asks")
        return _kernels.device_capsule(self.address, self.shape, self.dtype.name, self.device, self._memory)

    def __dlpack_device__(self) -> tuple[int, int]:
        """Kind of device and its number."""
        return _DLPACK_CUDA, self.device
