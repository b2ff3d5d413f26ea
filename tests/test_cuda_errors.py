"""What keeps CUDA kernels from running is told with its fix; wrong arrays are refused as on the CPU."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from runtime import _kernels
from runtime.content import slice_content
from runtime.cuda import table
from runtime.cuda.compile import compiler_version
from runtime.cuda.driver import identify
from runtime.cuda.module import CudaModule
from runtime.cuda.table import CudaTable
from runtime.errors import DeviceError
from runtime.kernels import Kernels, kernel_names, open_kernels
from tests.cuda_emulated_driver import EmulatedDriver
from tests.cuda_emulator import bare_driver, emulated_table

STATUS = EmulatedDriver.CUresult


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> EmulatedDriver:
    """A driver that is there, with one device; kernels cannot run on it."""
    return bare_driver(monkeypatch)


@pytest.fixture
def cuda(emulated: EmulatedDriver, monkeypatch: pytest.MonkeyPatch) -> CudaTable:
    """A table on it."""
    return emulated_table(emulated, monkeypatch)


def no_library(*_: object) -> Any:
    raise RuntimeError("no such library")


def test_cuda_kernels_without_the_package_say_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    for call in (open_kernels, lambda _: compiler_version()):
        with pytest.raises(
            DeviceError, match=r'cuda-bindings; install it with pip install "zeus-edge\[cuda\]"'
        ):
            call("cuda")


def test_cuda_kernels_without_a_driver_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cuda.bindings.driver.cuInit", no_library)
    with pytest.raises(DeviceError, match=r"no NVIDIA driver .*install one, or use the CPU"):
        open_kernels("cuda")


def test_cuda_kernels_without_a_device_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cuda.bindings.driver.cuInit", lambda _: (STATUS.CUDA_ERROR_NO_DEVICE,))
    with pytest.raises(DeviceError, match="no CUDA device is visible; look at nvidia-smi"):
        open_kernels("cuda")


def test_cuda_kernels_without_the_compiler_say_so(
    emulated: EmulatedDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cuda.bindings.nvrtc.nvrtcVersion", no_library)
    with pytest.raises(DeviceError, match=r"need the compiler NVRTC; install it with"):
        open_kernels("cuda")


def test_cuda_kernels_with_an_old_driver_say_so(
    emulated: EmulatedDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "compiler_version", lambda: (14, 0))
    with pytest.raises(DeviceError, match=r"for CUDA 13 and NVRTC for CUDA 14; update the driver"):
        open_kernels("cuda")


def test_cuda_device_that_is_not_there_is_named(emulated: EmulatedDriver) -> None:
    for ordinal in (-1, 1):
        with pytest.raises(DeviceError, match=f"no CUDA device {ordinal}; use 0 to 0"):
            table.open_table(ordinal)


def test_cuda_device_is_identified_without_a_context(emulated: EmulatedDriver) -> None:
    name, capability = identify()
    assert name
    assert capability == "9.0"


def test_cuda_kernels_open_where_everything_is_there(
    emulated: EmulatedDriver, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(table, "compiler_version", lambda: (13, 0))
    kernels = open_kernels("cuda", 3)
    assert (kernels.name, kernels.threads) == ("cuda_sm_90", 3)
    assert isinstance(kernels.table, CudaTable)
    assert kernels.table.built == "compiled"
    assert "cuda" not in kernel_names()
    assert emulated.depth == 0


@pytest.mark.parametrize(
    ("call", "status", "told"),
    [
        ("cuMemAllocFromPoolAsync", "CUDA_ERROR_OUT_OF_MEMORY", "get 24 bytes of .*close other programs"),
        ("cuMemcpyHtoDAsync", "CUDA_ERROR_ILLEGAL_ADDRESS", "write device memory.*log for Xid"),
        ("cuStreamSynchronize", "CUDA_ERROR_LAUNCH_FAILED", "finish its work.*719"),
        ("cuCtxPushCurrent", "CUDA_ERROR_CONTEXT_IS_DESTROYED", "enter its device"),
    ],
)
def test_cuda_error_of_the_driver_keeps_its_name(
    cuda: CudaTable, emulated: EmulatedDriver, call: str, status: str, told: str
) -> None:
    emulated.answers[call] = getattr(STATUS, status)
    with pytest.raises(DeviceError, match=rf"CUDA cannot .*{status}") as caught:
        cuda.to_device(np.zeros(24, np.uint8))
    assert caught.match(told)
    emulated.answers.clear()
    assert emulated.depth == 0


def test_cuda_memory_lives_as_long_as_anyone_needs_it(cuda: CudaTable, emulated: EmulatedDriver) -> None:
    array = cuda.to_device(np.arange(6, dtype=np.int16).reshape(1, 2, 3))
    assert array.__dlpack_device__() == (2, 0)
    np.testing.assert_array_equal(cuda.to_host(array), [[[0, 1, 2], [3, 4, 5]]])
    capsule = array.__dlpack__(max_version=(1, 0), stream=None)
    with pytest.raises(BufferError, match="shared, not copied"):
        array.__dlpack__(copy=True)
    del array
    assert len(emulated.memory) == 1
    del capsule
    cuda.stream.synchronize()
    assert emulated.memory == {}
    with pytest.raises(ValueError, match="C-contiguous"):
        cuda.to_device(np.zeros((4, 4), np.int16).T[1:])


def test_cuda_launch_refuses_sources_of_another_version(cuda: CudaTable, emulated: EmulatedDriver) -> None:
    total, weights = cuda.empty((1, 2, 2, 2), np.float32), cuda.empty((2, 2, 2), np.float32)
    emulated.cuFuncGetParamInfo = lambda *_: (STATUS.CUDA_SUCCESS, 0, 8)  # type: ignore[method-assign]
    with pytest.raises(DeviceError, match=r"blend_normalise takes 8 bytes and gets \d+.*build them again"):
        cuda.blend_normalise(total, weights, 1)


class Calls:
    """Every call of a table with good arguments, each of which can be changed."""

    def __init__(self, cuda: CudaTable) -> None:
        empty, size = cuda.empty, (4, 5, 6)
        intensity = _kernels.Intensity(
            slope=1, intercept=0, shift=0, gain=1, clamp_low=0, clamp_high=1, outside=0
        )
        scratch, matrix = empty((1 << 16,), np.uint8), np.eye(3, 4)
        scores, labels, values = empty((3, *size), np.float16), empty(size, np.uint8), empty((3,), np.uint8)
        source, weights = empty(size, np.int16), empty(size, np.float32)
        self.good: dict[str, dict[str, Any]] = {
            "prepare": {
                "source": source, "result": empty(size, np.float16), "matrix": matrix,
                "samples": (1, 1, 1), "intensity": intensity, "scratch": scratch, "threads": 1,
            },
            "histogram": {
                "source": source, "counts": empty((65536,), np.uint64), "scratch": scratch, "threads": 1,
            },
            "blend_add": {
                "tile": empty((3, 2, 2, 2), np.float32), "weight": empty((2, 2, 2), np.float32),
                "sum": empty((3, *size), np.float32), "weight_sum": weights, "origin": (2, 3, 4),
                "threads": 1,
            },
            "blend_normalise": {"sum": empty((3, *size), np.float32), "weight_sum": weights, "threads": 1},
            "mask_scores": {
                "features": empty((2, *size), np.float16), "vectors": empty((3, 2), np.float32),
                "biases": empty((3,), np.float32),
            },
            "argmax": {"scores": scores, "result": labels, "values": values, "threads": 1},
            "label": {
                "scores": scores, "result": labels, "matrix": matrix, "values": values, "outside": 0,
                "scratch": scratch, "threads": 1, "gathered": empty((3, 8), np.int64),
            },
        }  # fmt: skip
        self._cuda = cuda

    def __call__(self, name: str, **changed: Any) -> None:
        getattr(self._cuda, name)(*{**self.good[name], **changed}.values())


class LaunchedError(Exception):
    """A call passed every check."""


@pytest.fixture
def calls(cuda: CudaTable, monkeypatch: pytest.MonkeyPatch) -> Calls:
    def launch(*_: object) -> None:
        raise LaunchedError

    monkeypatch.setattr(CudaModule, "launch", launch)
    return Calls(cuda)


ARRAYS = ("source", "result", "scratch", "counts", "tile", "weight", "sum", "weight_sum", "scores", "values",
          "gathered")  # fmt: skip
NAMES = ("prepare", "histogram", "blend_add", "blend_normalise", "argmax", "label")


@pytest.mark.parametrize("name", NAMES)
def test_cuda_call_refuses_host_arrays_other_devices_types_and_shapes(
    calls: Calls, cuda: CudaTable, name: str
) -> None:
    with pytest.raises(LaunchedError):
        calls(name)
    for argument, good in calls.good[name].items():
        if argument not in ARRAYS:
            continue
        elsewhere = _kernels.device_capsule(good.address, good.shape, good.dtype.name, 1, object())
        with pytest.raises(ValueError, match="every array must lie on CUDA device 0"):
            calls(name, **{argument: elsewhere})
        wrong_type = cuda.empty(good.shape, np.uint64 if good.dtype != np.uint64 else np.int8)
        for wrong in (np.zeros(good.shape, good.dtype), wrong_type, cuda.empty((2, 2), good.dtype)):
            two_axes = argument == "gathered" and wrong.shape == (2, 2)  # as many as it has itself
            with pytest.raises(ValueError if two_axes else TypeError):
                calls(name, **{argument: wrong})
    for threads in (0, 257):
        with pytest.raises(ValueError, match="threads must be 1 to 256"):
            calls(name, threads=threads)


def test_cuda_mask_scores_refuse_host_arrays_other_devices_types_and_shapes(
    calls: Calls, cuda: CudaTable
) -> None:
    calls("mask_scores")
    for argument, good in calls.good["mask_scores"].items():
        elsewhere = _kernels.device_capsule(good.address, good.shape, good.dtype.name, 1, object())
        with pytest.raises(ValueError, match="every array must lie on CUDA device 0"):
            calls("mask_scores", **{argument: elsewhere})
        for wrong in (np.zeros(good.shape, good.dtype), cuda.empty(good.shape, np.int16)):
            with pytest.raises(TypeError):
                calls("mask_scores", **{argument: wrong})
    with pytest.raises(ValueError, match="one column per feature"):
        calls("mask_scores", vectors=cuda.empty((3, 4), np.float32))


def test_cuda_calls_refuse_values_as_the_cpu_does(calls: Calls, cuda: CudaTable) -> None:
    small, none = cuda.empty((8,), np.uint8), cuda.empty((0, 5, 6), np.int16)
    other = cuda.empty((4, 5, 7), np.uint8)
    wrong = [
        *(("prepare", {"samples": samples}) for samples in ((0, 1, 1), (1, 1, 257))),
        *((name, {"matrix": np.full((3, 4), 1e10)}) for name in ("prepare", "label")),
        *((name, {"scratch": small}) for name in ("prepare", "histogram", "label")),
        *((name, {"source": none}) for name in ("prepare", "histogram")),
        *(("blend_add", {"origin": origin}) for origin in ((-1, 0, 0), (0, 0, 5), (2**40, 0, 0))),
        ("blend_add", {"weight": cuda.empty((2, 2, 3), np.float32)}),
        ("blend_add", {"tile": cuda.empty((2, 2, 2, 2), np.float32)}),
        ("blend_normalise", {"weight_sum": cuda.empty((4, 5, 7), np.float32)}),
        ("argmax", {"result": other}),
        ("label", {"gathered": cuda.empty((3, 9), np.int64)}),
        *((name, {"values": cuda.empty((4,), np.uint8)}) for name in ("argmax", "label")),
    ]
    for name, changed in wrong:
        with pytest.raises(ValueError, match=r"\w"):
            calls(name, **changed)


def test_files_of_labels_are_not_made_on_a_device(cuda: CudaTable) -> None:
    kernels = Kernels(cuda, 1)
    with pytest.raises(DeviceError, match="give CPU kernels here"):
        slice_content(np.ones((2, 2, 2), np.uint8), kernels)
