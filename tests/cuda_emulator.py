"""A CUDA driver for machines without one: memory is host memory, and cuda.cu runs on the CPU."""

from __future__ import annotations

import ctypes
import itertools
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda.bindings import driver as real

from runtime.cuda.table import CudaTable
from tests.source_tree import ROOT

STORED = ("int8", "uint8", "int16", "uint16", "int32", "float32")
REAL = ("float32", "float16")
LABELS = ("uint8", "uint16")
ENTRIES = (
    *(f"prepare_{kind}_{a}_{b}" for kind, a, b in itertools.product(("aligned", "oblique"), STORED, REAL)),
    *(f"histogram_{kind}" for kind in STORED),
    *(
        f"{name}_{a}_{b}"
        for name, a, b in itertools.product(("argmax", "label", "label_confident"), REAL, LABELS)
    ),
    *(f"{name}_{kind}" for name, kind in itertools.product(("guarded_argmax", "scores"), REAL)),
    *(f"gather_rows_{kind}" for kind in LABELS),
    *("gather_clear", "prepare_taps", "histogram_clear", "blend_add", "blend_normalise", "shared_winner"),
)
"""Every entry point of cuda.cu."""

_FINE = real.CUresult.CUDA_SUCCESS
_GUARD_BYTES = 256
_GUARD = 0xA5


def build_emulator(folder: Path) -> ctypes.CDLL:
    """Compile cuda.cu for this CPU.

    Args:
        folder: Where to put the library.
    """
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed")
    (folder / "entries.h").write_text("".join(f"EMULATED({name})\n" for name in ENTRIES))
    made = folder / "emulator.so"
    subprocess.run(
        [compiler, "-std=c++17", "-O1", "-ffp-contract=off", "-fPIC", "-shared", f"-I{ROOT / 'kernels'}",
         f"-I{folder}", str(ROOT / "tests" / "cuda_emulator.cpp"), "-o", str(made)],
        check=True,
    )  # fmt: skip
    return ctypes.CDLL(str(made))


class EmulatedDriver:
    """The calls of `cuda.bindings.driver` that runtime.cuda makes, with the answers of a sound device.

    Attributes:
        memory: What is allocated, by address; guard bytes on both sides.
        depth: Contexts pushed and not popped.
        answers: Status that a call returns instead of doing its work, by the call's name.
    """

    CUresult = real.CUresult
    CUdevice_attribute = real.CUdevice_attribute

    def __init__(self, library: ctypes.CDLL | None = None) -> None:
        self.memory: dict[int, Any] = {}
        self.depth = 0
        self.answers: dict[str, Any] = {}
        self._library = library

    def __getattribute__(self, name: str) -> Any:
        answers = object.__getattribute__(self, "__dict__").get("answers", {})
        if name in answers:
            return lambda *_: (answers[name], None)[: 1 if name == "cuInit" else 2]
        return object.__getattribute__(self, name)

    def cuGetErrorName(self, status: Any) -> Any:
        return _FINE, status.name.encode()

    def cuDeviceGetCount(self) -> Any:
        return _FINE, 1

    def cuDeviceGet(self, ordinal: int) -> Any:
        return _FINE, real.CUdevice(ordinal)

    def cuDeviceGetName(self, length: int, device: Any) -> Any:
        return _FINE, b"Emulated".ljust(length, b"\0")

    def cuDeviceGetAttribute(self, attribute: Any, device: Any) -> Any:
        return _FINE, 9 if attribute.name.endswith("MAJOR") else 0

    def cuDriverGetVersion(self) -> Any:
        return _FINE, 13000

    def cuDevicePrimaryCtxRetain(self, device: Any) -> Any:
        return _FINE, "context"

    def cuDevicePrimaryCtxRelease(self, device: Any) -> Any:
        return (_FINE,)

    def cuCtxPushCurrent(self, context: Any) -> Any:
        assert context == "context"
        self.depth += 1
        return (_FINE,)

    def cuCtxPopCurrent(self) -> Any:
        self.depth -= 1
        return _FINE, "context"

    def cuMemAlloc(self, size: int) -> Any:
        assert self.depth > 0
        block = np.full(size + 2 * _GUARD_BYTES + 64, _GUARD, np.uint8)
        address = (block.ctypes.data + _GUARD_BYTES + 63) // 64 * 64
        self.memory[address] = (block, size)
        return _FINE, real.CUdeviceptr(address)

    def cuMemFree(self, address: int) -> Any:
        assert self.depth > 0
        self.check_guards()
        del self.memory[address]
        return (_FINE,)

    def cuMemcpyHtoDAsync(self, address: int, source: int, size: int, stream: int) -> Any:
        assert self.depth > 0
        ctypes.memmove(address, source, size)
        return (_FINE,)

    def cuMemcpyDtoHAsync(self, to: int, address: int, size: int, stream: int) -> Any:
        assert self.depth > 0
        ctypes.memmove(to, address, size)
        return (_FINE,)

    def cuStreamSynchronize(self, stream: int) -> Any:
        return (_FINE,)

    def cuModuleLoadData(self, code: bytes) -> Any:
        return _FINE, "module"

    def cuModuleGetFunction(self, module: Any, name: bytes) -> Any:
        return _FINE, name

    def cuFuncGetParamInfo(self, function: bytes, index: int) -> Any:
        assert self._library is not None
        return _FINE, 0, self._library.emulate(function, None, None, None)

    def cuLaunchKernel(self, function: bytes, *given: Any) -> Any:
        assert self.depth > 0
        assert self._library is not None
        grid, block = (ctypes.c_uint * 3)(*given[:3]), (ctypes.c_uint * 3)(*given[3:6])
        arguments = ctypes.c_void_p.from_address(given[8])
        assert self._library.emulate(function, grid, block, arguments) == 0, function
        return (_FINE,)

    def check_guards(self) -> None:
        """Fail where a launch wrote beside an array."""
        for address, (block, size) in self.memory.items():
            begin = address - block.ctypes.data
            assert (block[:begin] == _GUARD).all()
            assert (block[begin + size :] == _GUARD).all()


def emulated_table(driver: EmulatedDriver, monkeypatch: pytest.MonkeyPatch) -> CudaTable:
    """A table over an emulated device."""
    from runtime.cuda import driver as module

    monkeypatch.setattr(module, "_driver", lambda: driver)
    device = module.CudaDevice()
    return CudaTable(device, device.load(b"code"))
