"""Streams, events, graphs and their memory: in order, given back, and told when something is refused."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest

from runtime.cuda.arrays import DeviceArray
from runtime.cuda.driver import CudaDevice
from runtime.cuda.memory import CudaMemory, PinnedMemory, Workspace
from runtime.cuda.stream import LEGACY, CudaEvent, CudaGraph, CudaStream
from runtime.cuda.table import CudaTable
from runtime.errors import DeviceError
from tests.cuda_emulated_driver import EmulatedDriver
from tests.cuda_emulator import KINDS, bare_driver, table_under_test

STATUS = EmulatedDriver.CUresult
SHAPE = (3, 4, 5)


@pytest.fixture(scope="module", params=KINDS)
def cuda(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CudaTable]:
    """The table under test."""
    yield from table_under_test(request.param, tmp_path_factory)


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> EmulatedDriver:
    """A driver with one device, on which no kernel can run."""
    return bare_driver(monkeypatch)


@pytest.fixture
def stream(emulated: EmulatedDriver) -> CudaStream:
    """A stream of its own on that device."""
    return CudaStream(CudaDevice())


def pinned(stream: CudaStream, values: np.ndarray, mapped: bool = False) -> np.ndarray:
    array = np.asarray(PinnedMemory(stream, values.shape, values.dtype, mapped))
    array[:] = values
    return array


def ramp(start: int = 0) -> np.ndarray:
    return np.arange(start, start + 60, dtype=np.float32).reshape(SHAPE)


def test_stream_copies_in_order_between_pinned_arrays(cuda: CudaTable) -> None:
    stream = CudaStream(cuda.stream.device)
    given, taken = pinned(stream, ramp()), pinned(stream, ramp() * 0)
    there = CudaMemory(stream, given.nbytes)
    stream.upload(there.address, given)
    stream.download(taken, there.address)
    stream.clear(there.address, there.size)
    stream.synchronize()
    np.testing.assert_array_equal(taken, ramp())
    stream.download(taken, there.address)
    stream.synchronize()
    assert not taken.any()


def test_stream_waits_for_an_event_of_another_one(cuda: CudaTable) -> None:
    first, second = CudaStream(cuda.stream.device), CudaStream(cuda.stream.device)
    given, taken = pinned(first, ramp()), pinned(second, ramp() * 0)
    there, event = CudaMemory(first, given.nbytes), CudaEvent(cuda.stream.device)
    first.upload(there.address, given)
    event.record(first)
    second.wait(event)
    second.download(taken, there.address)
    second.synchronize()
    np.testing.assert_array_equal(taken, ramp())
    first.synchronize()


def test_events_tell_seconds_on_the_device(cuda: CudaTable) -> None:
    stream = CudaStream(cuda.stream.device)
    begin, end = (CudaEvent(cuda.stream.device, timed=True) for _ in range(2))
    memory = CudaMemory(stream, 1 << 16)
    begin.record(stream)
    stream.clear(memory.address, memory.size)
    end.record(stream)
    assert 0 < end.seconds_since(begin) < 1


def weighed(table: CudaTable, total: DeviceArray, weights: DeviceArray) -> CudaGraph:
    table.blend_normalise(total, weights, 1)  # the kernel's code is loaded by its first launch
    table.stream.synchronize()
    return CudaGraph(table.stream, lambda: table.blend_normalise(total, weights, 1))


def test_graph_repeats_what_was_recorded(cuda: CudaTable) -> None:
    table = cuda.on(CudaStream(cuda.stream.device))
    total = table.zeros((1, *SHAPE), np.float32)
    weights = table.to_device(np.full(SHAPE, 2, np.float32))
    graph = weighed(table, total, weights)
    table.stream.upload(total.address, ramp(8))
    np.testing.assert_array_equal(table.to_host(total)[0], ramp(8))  # recording did not run it
    graph.launch()
    graph.launch()
    np.testing.assert_array_equal(table.to_host(total)[0], ramp(8) / 4)


def test_kernels_reach_mapped_host_memory_without_a_copy(cuda: CudaTable) -> None:
    table = cuda.on(CudaStream(cuda.stream.device))
    memory = PinnedMemory(table.stream, (1, *SHAPE), np.float32, mapped=True)
    values = np.asarray(memory)
    values[0] = ramp(2)
    weights = table.to_device(np.full(SHAPE, 2, np.float32))
    table.blend_normalise(DeviceArray(memory, values.shape, np.float32), weights, 1)
    table.stream.synchronize()
    np.testing.assert_array_equal(values[0], ramp(2) / 2)


def test_arrays_filled_with_zeros_and_their_entries_share_memory(cuda: CudaTable) -> None:
    array = cuda.zeros((3, *SHAPE), np.float32)
    entry = array[1]
    assert (entry.shape, entry.address - array.address) == (SHAPE, 240)
    cuda.stream.upload(entry.address, ramp(1))
    cuda.stream.synchronize()
    expected = np.zeros((3, *SHAPE))
    expected[1] = ramp(1)
    np.testing.assert_array_equal(cuda.to_host(array), expected)
    np.testing.assert_array_equal(cuda.to_host(entry[2]), ramp(1)[2])
    for index in (-1, 3):
        with pytest.raises(IndexError, match="of an axis of 3"):
            array[index]


def test_device_memory_comes_from_a_pool_and_goes_back_in_order(
    stream: CudaStream, emulated: EmulatedDriver
) -> None:
    memory = CudaMemory(stream, 100)
    del memory
    assert emulated.memory  # nobody waited
    assert "cuStreamSynchronize" not in emulated.calls
    stream.synchronize()
    assert emulated.memory == {}
    assert "cuCtxSynchronize" not in emulated.calls


def test_device_memory_is_allocated_plainly_where_there_are_no_pools(emulated: EmulatedDriver) -> None:
    emulated.attributes["MEMORY_POOLS_SUPPORTED"] = 0
    memory = CudaMemory(CudaStream(CudaDevice()), 100)
    assert len(emulated.memory) == 1
    del memory
    assert emulated.memory == {}
    assert {"cuMemAlloc", "cuMemFree"} < set(emulated.calls)
    assert not [call for call in emulated.calls if "Pool" in call]


def test_everything_made_on_a_device_is_given_back(emulated: EmulatedDriver) -> None:
    stream = CudaStream(CudaDevice())
    event, graph = CudaEvent(stream.device), CudaGraph(stream, lambda: None)
    memory, host = CudaMemory(stream, 5), pinned(stream, ramp())
    assert sorted(emulated.handles.values()) == ["event", "executable", "pool", "stream"]
    del event, graph, memory, host
    assert emulated.pinned == {}
    del stream
    assert (emulated.memory, emulated.handles) == ({}, {})
    assert emulated.calls[-2:] == ["cuMemPoolDestroy", "cuDevicePrimaryCtxRelease"]


def test_streams_of_others_are_not_destroyed(emulated: EmulatedDriver) -> None:
    device = CudaDevice()
    own = CudaStream(device)
    for handle in (LEGACY, own.handle):
        CudaStream(device, handle).synchronize()
    assert "cuStreamDestroy" not in emulated.calls


def test_freeing_is_no_part_of_a_recording(stream: CudaStream, emulated: EmulatedDriver) -> None:
    made = [CudaMemory(stream, 8), PinnedMemory(stream, (8,), np.uint8, mapped=False)]
    before = list(emulated.calls)

    def work() -> None:
        made.clear()
        assert len(emulated.memory) == len(emulated.pinned) == 1

    CudaGraph(stream, work)
    assert emulated.calls.index("cuStreamEndCapture") < emulated.calls.index("cuMemFreeAsync")
    assert "cuMemFreeAsync" not in before
    stream.synchronize()
    assert (emulated.memory, emulated.pinned) == ({}, {})


def test_recording_that_fails_leaves_a_stream_that_works(
    stream: CudaStream, emulated: EmulatedDriver
) -> None:
    memory = CudaMemory(stream, 8)

    def fail() -> None:
        stream.clear(memory.address, 8)
        raise KeyError("work")

    with pytest.raises(KeyError, match="work"):
        CudaGraph(stream, fail)
    emulated.answers["cuStreamEndCapture"] = STATUS.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED
    with pytest.raises(KeyError, match="work"):  # the first error is the one that helps
        CudaGraph(stream, fail)
    emulated._recordings.clear()
    with pytest.raises(DeviceError, match=r"its work \(CUDA_ERROR_STREAM_CAPTURE_INV.* keep every"):
        CudaGraph(stream, lambda: None)
    emulated.answers.clear()
    emulated._recordings.clear()
    assert not stream.recording
    assert "graph" not in emulated.handles.values()
    stream.synchronize()


def test_workspace_gives_the_same_memory_again(stream: CudaStream) -> None:
    workspace = Workspace(stream)
    first = [workspace.take(size).address for size in (10, 20, 10)]
    assert len(set(first)) == 3
    workspace.rewind()
    assert [workspace.take(size).address for size in (10, 5, 10)] == first
    workspace.rewind()
    assert workspace.take(11).size == 11
    workspace.rewind()
    with pytest.raises(DeviceError, match="12 bytes are asked for while a graph is recorded; run the same"):
        CudaGraph(stream, partial(workspace.take, 12))
    workspace.rewind()
    workspace.take(12)  # after the same work ran once
    workspace.rewind()
    CudaGraph(stream, partial(workspace.take, 12))


@pytest.mark.parametrize(
    ("call", "status", "told"),
    [
        ("cuStreamCreate", "CUDA_ERROR_OUT_OF_MEMORY", "make a stream.*close other programs"),
        ("cuEventCreate", "CUDA_ERROR_OUT_OF_MEMORY", "make an event"),
        ("cuMemHostAlloc", "CUDA_ERROR_OUT_OF_MEMORY", "get 240 bytes of pinned memory"),
        ("cuMemHostGetDevicePointer", "CUDA_ERROR_NOT_SUPPORTED", "map host memory"),
        ("cuMemPoolCreate", "CUDA_ERROR_NOT_PERMITTED", "make a pool of device memory"),
        ("cuMemPoolSetAttribute", "CUDA_ERROR_INVALID_VALUE", "set up a pool"),
        (
            "cuStreamBeginCapture",
            "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
            "its work.*do not record it",
        ),
        ("cuGraphInstantiate", "CUDA_ERROR_INVALID_VALUE", "make a graph"),
        ("cuGraphLaunch", "CUDA_ERROR_LAUNCH_FAILED", "launch a recorded graph.*719.*Xid"),
        ("cuStreamWaitEvent", "CUDA_ERROR_INVALID_HANDLE", "wait for another stream"),
        ("cuEventRecord", "CUDA_ERROR_INVALID_HANDLE", "mark a moment"),
        ("cuEventElapsedTime", "CUDA_ERROR_NOT_READY", "tell the time between events"),
        ("cuMemsetD8Async", "CUDA_ERROR_ILLEGAL_ADDRESS", "clear device memory"),
        ("cuMemcpyDtoHAsync", "CUDA_ERROR_ILLEGAL_ADDRESS", "read device memory"),
    ],
)
def test_what_the_driver_refuses_keeps_its_name(
    emulated: EmulatedDriver, call: str, status: str, told: str
) -> None:
    def everything() -> None:
        stream = CudaStream(CudaDevice())
        host = pinned(stream, ramp(), mapped=True)
        memory, events = CudaMemory(stream, 240), [CudaEvent(stream.device, timed=True) for _ in range(2)]
        stream.clear(memory.address, 240)
        stream.download(host, memory.address)
        for event in events:
            event.record(stream)
        stream.wait(events[0])
        events[1].seconds_since(events[0])
        CudaGraph(stream, lambda: None).launch()

    everything()
    emulated.answers[call] = getattr(STATUS, status)
    with pytest.raises(DeviceError, match=rf"CUDA cannot .*{status}") as caught:
        everything()
    assert caught.match(told)
    emulated.answers.clear()
    del caught
    assert emulated.depth == 0
    with contextlib.suppress(DeviceError):
        everything()
    assert emulated.handles == {}
