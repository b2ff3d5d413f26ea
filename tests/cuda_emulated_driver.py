"""The calls of a CUDA driver for machines without one, over host memory."""

from __future__ import annotations

import ctypes
from collections import deque
from typing import Any

import numpy as np
from cuda.bindings import driver as real

from tests.cuda_emulated_queues import EmulatedQueues

_FINE = real.CUresult.CUDA_SUCCESS
_GUARD_BYTES = 256
_GUARD = 0xA5
_REMEMBERED = 16


class EmulatedDriver(EmulatedQueues):
    """The calls of `cuda.bindings.driver` that runtime.cuda makes, with the answers of a sound device.

    Freed memory is filled with rubbish, so use after freeing shows.

    Attributes:
        memory: Device memory that is allocated, by address; guard bytes on both sides.
        pinned: Host memory that is pinned, likewise.
        answers: Status that a call returns instead of doing its work, by the call's name.
        attributes: Of the device, by the end of the name.
        calls: Names of the driver's calls so far, those of contexts left out.
    """

    CUresult = real.CUresult
    CUdevice_attribute = real.CUdevice_attribute
    CUmemPoolProps, CUmemPool_attribute = real.CUmemPoolProps, real.CUmemPool_attribute
    CUmemAllocationType, CUmemLocationType = real.CUmemAllocationType, real.CUmemLocationType
    CU_MEMHOSTALLOC_DEVICEMAP, cuuint64_t = real.CU_MEMHOSTALLOC_DEVICEMAP, real.cuuint64_t

    def __init__(self, library: ctypes.CDLL | None = None) -> None:
        super().__init__()
        self.memory: dict[int, Any] = {}
        self.pinned: dict[int, Any] = {}
        self.answers: dict[str, Any] = {}
        self.attributes = {"MAJOR": 9, "MINOR": 0, "INTEGRATED": 0, "MEMORY_POOLS_SUPPORTED": 1}
        self.calls: list[str] = []
        self._library = library
        self._freed: deque[Any] = deque(maxlen=_REMEMBERED)

    def __getattribute__(self, name: str) -> Any:
        known = object.__getattribute__(self, "__dict__")
        if name in known.get("answers", {}):
            return lambda *_: (known["answers"][name], None)[: 1 if name == "cuInit" else 2]
        found = object.__getattribute__(self, name)
        if not name.startswith("cu") or name.startswith(("cuCtxP", "cuuint")):
            return found

        def call(*arguments: Any) -> Any:
            known["calls"].append(name)
            return found(*arguments)

        return call

    # What a device is.

    def cuGetErrorName(self, status: Any) -> Any:
        return _FINE, status.name.encode()

    def cuDeviceGetCount(self) -> Any:
        return _FINE, 1

    def cuDeviceGet(self, ordinal: int) -> Any:
        return _FINE, real.CUdevice(ordinal)

    def cuDeviceGetName(self, length: int, device: Any) -> Any:
        return _FINE, b"Emulated".ljust(length, b"\0")

    def cuDeviceGetAttribute(self, attribute: Any, device: Any) -> Any:
        (value,) = [value for end, value in self.attributes.items() if attribute.name.endswith(end)]
        return _FINE, value

    def cuDriverGetVersion(self) -> Any:
        return _FINE, 13000

    def cuDevicePrimaryCtxRetain(self, device: Any) -> Any:
        return _FINE, "context"

    def cuDevicePrimaryCtxRelease(self, device: Any) -> Any:
        assert "pool" not in self.handles.values()
        return (_FINE,)

    def cuCtxPushCurrent(self, context: Any) -> Any:
        assert context == "context"
        self.depth += 1
        return (_FINE,)

    def cuCtxPopCurrent(self) -> Any:
        self.depth -= 1
        return _FINE, "context"

    def cuCtxSynchronize(self) -> Any:
        assert not self._recordings
        for stream in list(self._queues):
            self._drain(stream)
        return (_FINE,)

    # Memory.

    def _new(self, into: dict[int, Any], size: int) -> int:
        assert self.depth > 0
        block = np.full(size + 2 * _GUARD_BYTES + 64, _GUARD, np.uint8)
        address = (block.ctypes.data + _GUARD_BYTES + 63) // 64 * 64
        into[address] = (block, size)
        return address

    def _drop(self, owner: dict[int, Any], address: int) -> None:
        self.check_guards()
        block, _ = owner.pop(address)
        block[:] = _GUARD
        self._freed.append(block)  # rubbish, not somebody else's: a late reader gets wrong bits, no crash

    def cuMemAlloc(self, size: int) -> Any:
        assert not self.attributes["MEMORY_POOLS_SUPPORTED"]
        return _FINE, real.CUdeviceptr(self._new(self.memory, size))

    def cuMemFree(self, address: int) -> Any:
        assert self.depth > 0
        self.cuCtxSynchronize()
        self._drop(self.memory, address)
        return (_FINE,)

    def cuMemPoolCreate(self, properties: Any) -> Any:
        assert properties.location.type == real.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
        return _FINE, self._named("pool")

    def cuMemPoolSetAttribute(self, pool: int, attribute: Any, value: Any) -> Any:
        assert self.handles[pool] == "pool"
        return (_FINE,)

    def cuMemPoolDestroy(self, pool: int) -> Any:
        return self._destroyed(pool, "pool")

    def cuMemAllocFromPoolAsync(self, size: int, pool: int, stream: int) -> Any:
        assert self.handles[pool] == "pool"
        assert stream not in self._recordings
        return _FINE, real.CUdeviceptr(self._new(self.memory, size))

    def cuMemFreeAsync(self, address: int, stream: int) -> Any:
        assert self.depth > 0
        assert address in self.memory
        assert stream not in self._recordings
        self._put(stream, lambda: self._drop(self.memory, address))
        return (_FINE,)

    def cuMemHostAlloc(self, size: int, flags: int) -> Any:
        return _FINE, self._new(self.pinned, size)

    def cuMemHostGetDevicePointer(self, address: int, flags: int) -> Any:
        assert address in self.pinned
        return _FINE, real.CUdeviceptr(address)

    def cuMemFreeHost(self, address: int) -> Any:
        self._drop(self.pinned, address)
        return (_FINE,)

    def _is_pinned(self, address: int, size: int) -> bool:
        return any(at <= address and address + size <= at + length for at, (_, length) in self.pinned.items())

    def cuMemcpyHtoDAsync(self, address: int, source: int, size: int, stream: int) -> Any:
        assert self.depth > 0
        if self._is_pinned(source, size):
            self._put(stream, lambda: _copy(address, source, size))
        else:  # the driver has taken the bytes when it returns
            assert stream not in self._recordings
            taken = ctypes.string_at(source, size)
            self._put(stream, lambda: _copy(address, taken, size))
        return (_FINE,)

    def cuMemcpyDtoHAsync(self, to: int, address: int, size: int, stream: int) -> Any:
        assert self.depth > 0
        self._put(stream, lambda: _copy(to, address, size))
        if not self._is_pinned(to, size):  # the driver waits
            assert stream not in self._recordings
            self._drain(stream)
        return (_FINE,)

    def cuMemcpyDtoDAsync(self, to: int, address: int, size: int, stream: int) -> Any:
        assert self.depth > 0
        self._put(stream, lambda: _copy(to, address, size))
        return (_FINE,)

    def cuMemsetD8Async(self, address: int, value: int, size: int, stream: int) -> Any:
        assert self.depth > 0
        self._put(stream, lambda: _set(address, value, size))
        return (_FINE,)

    # Code.

    def cuModuleLoadData(self, code: bytes) -> Any:
        return _FINE, "module"

    def cuModuleGetFunction(self, module: Any, name: bytes) -> Any:
        assert not self._recordings, "code is loaded at its first use, which no graph can record"
        return _FINE, name

    def cuFuncGetParamInfo(self, function: bytes, index: int) -> Any:
        assert self._library is not None
        return _FINE, 0, self._library.emulate(function, None, None, None)

    def cuLaunchKernel(self, function: bytes, *given: Any) -> Any:
        assert self.depth > 0
        library = self._library
        assert library is not None
        grid, block, stream = (ctypes.c_uint * 3)(*given[:3]), (ctypes.c_uint * 3)(*given[3:6]), given[7]
        size = library.emulate(function, None, None, None)
        arguments = ctypes.string_at(ctypes.c_void_p.from_address(given[8]).value or 0, size)

        def launch() -> None:
            assert library.emulate(function, grid, block, arguments) == 0, function

        self._put(stream, launch)
        return (_FINE,)

    def check_guards(self) -> None:
        """Fail where a launch wrote beside an array."""
        for address, (block, size) in (*self.memory.items(), *self.pinned.items()):
            begin = address - block.ctypes.data
            assert (block[:begin] == _GUARD).all()
            assert (block[begin + size :] == _GUARD).all()


def _copy(to: int, source: int | bytes, size: int) -> None:
    ctypes.memmove(to, source, size)


def _set(address: int, value: int, size: int) -> None:
    ctypes.memset(address, value, size)
