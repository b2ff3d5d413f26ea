"""Arrays of a device go to other libraries and come from them by the rules of DLPack."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from runtime.cuda.stream import CudaStream
from runtime.cuda.table import CudaTable
from tests.cuda_emulated_driver import EmulatedDriver
from tests.cuda_emulator import KINDS, build_emulator, emulated_table, table_under_test

SHAPE = (1, 2, 3, 4)


class Tensor(ctypes.Structure):
    """DLPack's DLManagedTensor, first form, of the start of dlpack.h."""

    _fields_ = (
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16), ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)), ("byte_offset", ctypes.c_uint64),
        ("manager", ctypes.c_void_p), ("deleter", ctypes.CFUNCTYPE(None, ctypes.c_void_p)),
    )  # fmt: skip


class Consumer:
    """Takes an array as torch does: asks where it lies, names its stream, calls the deleter when done."""

    def __init__(self, array: Any, stream: int | None, **more: Any) -> None:
        kind, number = array.__dlpack_device__()
        assert kind == 2
        capsule = array.__dlpack__(stream=stream, **more)
        api = ctypes.pythonapi
        api.PyCapsule_GetPointer.restype = ctypes.c_void_p
        api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
        api.PyCapsule_SetName.argtypes = [ctypes.py_object, ctypes.c_char_p]
        self._pointer = api.PyCapsule_GetPointer(capsule, b"dltensor")
        self._name = b"used_dltensor"
        api.PyCapsule_SetName(capsule, self._name)
        self.tensor = Tensor.from_address(self._pointer)
        assert self.tensor.device_id == number

    def close(self) -> None:
        self.tensor.deleter(self._pointer)


@pytest.fixture
def emulated(tmp_path_factory: pytest.TempPathFactory) -> EmulatedDriver:
    return EmulatedDriver(build_emulator(tmp_path_factory))


@pytest.fixture
def cuda(emulated: EmulatedDriver, monkeypatch: pytest.MonkeyPatch) -> CudaTable:
    """A table on a stream of its own."""
    table = emulated_table(emulated, monkeypatch)
    return table.on(CudaStream(table.stream.device))


@pytest.fixture(params=KINDS)
def either(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CudaTable]:
    """A table on a stream of its own, on a device or emulated."""
    for table in table_under_test(request.param, tmp_path_factory):
        yield table.on(CudaStream(table.stream.device))


def test_dlpack_tells_what_the_array_is(cuda: CudaTable, emulated: EmulatedDriver) -> None:
    for kind, code, bits in (("float16", 2, 16), ("int16", 0, 16), ("uint8", 1, 8), ("uint64", 1, 64)):
        array = cuda.empty(SHAPE, kind)
        seen = Consumer(array[0], cuda.stream.handle, max_version=(1, 1), dl_device=(2, 0), copy=False)
        tensor = seen.tensor
        assert (tensor.data or 0) + tensor.byte_offset == array.address
        assert tuple(tensor.shape[: tensor.ndim]) == SHAPE[1:]
        assert not tensor.strides or tuple(tensor.strides[: tensor.ndim]) == (12, 4, 1)
        assert (tensor.code, tensor.bits, tensor.lanes) == (code, bits, 1)
        seen.close()


def test_dlpack_consumer_keeps_the_memory(cuda: CudaTable, emulated: EmulatedDriver) -> None:
    array = cuda.empty(SHAPE, np.uint8)
    seen = Consumer(array, cuda.stream.handle)
    del array
    cuda.stream.synchronize()
    assert len(emulated.memory) == 1
    seen.close()
    cuda.stream.synchronize()
    assert emulated.memory == {}


@pytest.mark.parametrize(("asked", "waits"), [(None, 1), (1, 1), (2, 2), (-1, None), ("own", None)])
def test_dlpack_consumers_stream_waits_for_the_arrays(
    cuda: CudaTable, emulated: EmulatedDriver, monkeypatch: pytest.MonkeyPatch, asked: Any, waits: int | None
) -> None:
    waited = []
    wait = emulated.cuStreamWaitEvent
    monkeypatch.setattr(
        emulated, "cuStreamWaitEvent", lambda stream, *rest: (waited.append(stream), wait(stream, *rest))[1]
    )
    array = cuda.empty(SHAPE, np.uint8)
    Consumer(array, cuda.stream.handle if asked == "own" else asked).close()
    assert waited == ([] if waits is None else [waits])
    assert "event" not in emulated.handles.values()
    del array  # who else used it may not be done
    assert ("cuCtxSynchronize" in emulated.calls) == (asked != "own")


def test_dlpack_orders_the_work_of_two_streams(either: CudaTable) -> None:
    cuda, other = either, either.on(CudaStream(either.stream.device))
    total, weights = cuda.zeros((1, 2, 2, 2), np.float32), cuda.zeros((2, 2, 2), np.float32)
    ones, tile = cuda.to_device(np.ones((2, 2, 2), np.float32)), np.full((1, 2, 2, 2), 6, np.float32)
    cuda.blend_add(cuda.to_device(tile), ones, total, weights, (0, 0, 0), 1)
    other.blend_normalise(total, weights, 1)  # reads what the first stream has not made yet
    np.testing.assert_array_equal(other.to_host(total), tile)


@pytest.mark.parametrize("stream", [0, -2])
def test_dlpack_refuses_streams_that_do_not_exist(cuda: CudaTable, stream: int) -> None:
    with pytest.raises(BufferError, match=f"no stream {stream}; the legacy default stream is 1"):
        cuda.empty(SHAPE, np.uint8).__dlpack__(stream=stream)


def test_dlpack_refuses_copies_and_other_devices(cuda: CudaTable) -> None:
    for asked in ({"copy": True}, {"dl_device": (1, 0)}, {"dl_device": (2, 1)}):
        with pytest.raises(BufferError, match="shared, not copied; copy it with the library that asks"):
            cuda.empty(SHAPE, np.uint8).__dlpack__(**asked)


def test_dlpack_refuses_other_streams_while_recording(cuda: CudaTable) -> None:
    array = cuda.empty(SHAPE, np.uint8)

    def work() -> None:
        array.__dlpack__(stream=cuda.stream.handle)
        with pytest.raises(BufferError, match="is being recorded; use the array on that stream, or later"):
            array.__dlpack__()

    with cuda.stream.record(lambda graph: None):
        work()


class Foreign:
    """Another library's array: remembers on which stream it was asked for."""

    def __init__(self, array: Any) -> None:
        self.array, self.asked = array, []

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()

    def __dlpack__(self, *, stream: int | None = None) -> object:
        self.asked.append(stream)
        return self.array.__dlpack__(stream=stream)


def test_dlpack_arrays_of_others_are_asked_for_on_the_tables_stream(either: CudaTable) -> None:
    cuda = either
    for table, stream in ((cuda, cuda.stream.handle), (cuda.on(CudaStream(cuda.stream.device, 0)), 1)):
        theirs = Foreign(table.to_device(np.full((1, 2, 2, 2), 3, np.float32)))
        table.blend_normalise(theirs, table.to_device(np.full((2, 2, 2), 2, np.float32)), 1)
        assert theirs.asked == [stream]
        assert (table.to_host(theirs.array) == 1.5).all()
