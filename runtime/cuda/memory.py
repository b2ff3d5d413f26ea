"""Memory that kernels reach: a device's own, and pages of the host that stay where they are."""

from __future__ import annotations

import contextlib
import math
import weakref
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from runtime.cuda.driver import CudaDevice
from runtime.cuda.stream import CudaStream
from runtime.errors import DeviceError

__all__ = ["CudaMemory", "PinnedMemory", "Workspace"]


class CudaMemory:
    """Device memory that is freed with the last reference to it, in the order of its stream.

    Attributes:
        address: Where it starts.
        size: Bytes.
        stream: Where it is used.
        readers: Handles of other streams that were given it; freeing waits for those.
    """

    def __init__(self, stream: CudaStream, size: int) -> None:
        """Allocate; the bytes are not initialised.

        Args:
            stream: What is put on it from now on may use the memory. Without pools the memory is there
                at once, and freeing it waits for the device.
            size: Bytes, at least 1.

        Raises:
            DeviceError: There is not so much memory.
        """
        device, what = stream.device, f"get {size} bytes of device memory"
        if device.pool is None:
            address = device.call("cuMemAlloc", size, what=what)
        else:
            address = device.call("cuMemAllocFromPoolAsync", size, device.pool, stream.handle, what=what)
        self.address, self.size, self.stream = int(address), size, stream
        self.readers: set[int] = set()
        # At exit the driver frees everything itself, and may be gone before Python's finalizers run.
        weakref.finalize(self, _give_back, stream, self.address, self.readers).atexit = False


def _give_back(stream: CudaStream, address: int, readers: set[int]) -> None:
    """Free device memory when its stream is done with it."""
    stream.after_recording(lambda: _free(stream, address, bool(readers)))


def _free(stream: CudaStream, address: int, shared: bool) -> None:
    device = stream.device
    with contextlib.suppress(DeviceError):
        if device.pool is None:
            device.call("cuMemFree", address, what="free device memory")  # waits by itself
            return
        if shared:  # memory that a reader may still use is rather lost than freed
            device.call("cuCtxSynchronize", what="finish its work")
        device.call("cuMemFreeAsync", address, stream.handle, what="free device memory")


class PinnedMemory:
    """Host memory that the device copies from and to by itself; `numpy.asarray` shows it, and keeps it.

    Attributes:
        address: Where the device finds it; 0 where it was not asked to.
        host_address: Where the host finds it.
        stream: What copies it; freeing waits for that.
        size: Bytes.
        readers: As `CudaMemory.readers`.
    """

    def __init__(self, stream: CudaStream, shape: tuple[int, ...], dtype: DTypeLike, mapped: bool) -> None:
        """Allocate; the values are not initialised. Takes milliseconds: made once, not for every study.

        Args:
            stream: What will copy it.
            shape: Elements along each axis.
            dtype: Of the elements.
            mapped: Whether kernels shall reach it without a copy.

        Raises:
            DeviceError: There is not so much memory that can be pinned.
        """
        device, self._dtype, self._shape = stream.device, np.dtype(dtype), shape
        self.stream, self.size = stream, max(math.prod(shape) * self._dtype.itemsize, 1)
        flags = device.driver.CU_MEMHOSTALLOC_DEVICEMAP if mapped else 0
        what = f"get {self.size} bytes of pinned memory"
        self.host_address = int(device.call("cuMemHostAlloc", self.size, flags, what=what))
        self.readers: set[int] = set()
        weakref.finalize(self, _unpin, stream, self.host_address, self.readers).atexit = False
        self.address = 0
        if mapped:
            found = device.call("cuMemHostGetDevicePointer", self.host_address, 0, what="map host memory")
            self.address = int(found)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """What `numpy.asarray` asks.

        Source:
            "The array interface protocol" of NumPy, version 3.
        """
        data = (self.host_address, False)
        return {"shape": self._shape, "typestr": self._dtype.str, "data": data, "version": 3}


def _unpin(stream: CudaStream, address: int, readers: set[int]) -> None:
    """Free pinned memory when its stream has copied it."""
    stream.after_recording(lambda: _free_pinned(stream.device, stream.handle, address, bool(readers)))


def _free_pinned(device: CudaDevice, stream: int, address: int, shared: bool) -> None:
    with contextlib.suppress(DeviceError):
        call, given = ("cuCtxSynchronize", ()) if shared else ("cuStreamSynchronize", (stream,))
        device.call(call, *given, what="finish its work")
    with contextlib.suppress(DeviceError):
        device.call("cuMemFreeHost", address, what="free pinned memory")


class Workspace:
    """Memory that the same calls find at the same addresses each time, as a recorded graph needs it."""

    def __init__(self, stream: CudaStream) -> None:
        """Start with no memory.

        Args:
            stream: Where it is used.
        """
        self._stream = stream
        self._kept: list[CudaMemory] = []
        self._taken = 0

    def rewind(self) -> None:
        """Begin again: what is taken next is what was taken first."""
        self._taken = 0

    def take(self, size: int) -> CudaMemory:
        """Memory that nobody else took since `rewind`.

        Args:
            size: Bytes, at least 1.

        Raises:
            DeviceError: There is not so much memory, or while recording, none of that size was kept.
        """
        kept, number = self._kept, self._taken
        if number == len(kept) or kept[number].size < size:
            if self._stream.recording:
                raise DeviceError(
                    f"{size} bytes are asked for while a graph is recorded; run the same work once before"
                )
            kept[number : number + 1] = [CudaMemory(self._stream, size)]
        self._taken += 1
        return kept[number]
