"""Work in order on a device: streams, events between them, and graphs that repeat what was recorded."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from numpy.typing import NDArray

from runtime.cuda.driver import CudaDevice
from runtime.errors import DeviceError

__all__ = ["LEGACY", "CudaEvent", "CudaGraph", "CudaStream"]

LEGACY = 0
"""The stream that everybody has and that waits for all others that block."""

_COPY_IN, _COPY_OUT, _FINISH = "write device memory", "read device memory", "finish its work"


class CudaStream:
    """A queue of work; what is put on it runs in order, and nothing here waits unless it says so.

    Attributes:
        device: Where it runs.
        handle: What the driver and DLPack call it.
        recording: Whether work is being recorded instead of run.
    """

    def __init__(self, device: CudaDevice, handle: int | None = None) -> None:
        """Make a stream that does not wait for the legacy one, or take another's.

        Args:
            device: Where it runs.
            handle: A stream that stays its owner's, `LEGACY` for instance; absent, a new one is made
                and destroyed with this object, after its work.

        Raises:
            DeviceError: The driver refuses.
        """
        self.device, self.recording = device, False
        self._later: list[Callable[[], object]] = []
        if handle is not None:
            self.handle = handle
            return
        flags = device.driver.CUstream_flags.CU_STREAM_NON_BLOCKING
        self.handle = int(device.call("cuStreamCreate", int(flags), what="make a stream"))
        weakref.finalize(self, _destroy, device, "cuStreamDestroy", self.handle).atexit = False

    def synchronize(self) -> None:
        """Wait until everything on the stream is done.

        Raises:
            DeviceError: Something on it failed.
        """
        self.device.call("cuStreamSynchronize", self.handle, what=_FINISH)

    def wait(self, event: CudaEvent) -> None:
        """Let what comes next on the stream wait for an event.

        Raises:
            DeviceError: The driver refuses.
        """
        self.device.call("cuStreamWaitEvent", self.handle, event.handle, 0, what="wait for another stream")

    def upload(self, address: int, values: NDArray[Any]) -> None:
        """Copy a C-contiguous host array to device memory; it must not change before that is done.

        Raises:
            DeviceError: The driver refuses.
        """
        source, size = values.ctypes.data, values.nbytes
        self.device.call("cuMemcpyHtoDAsync", address, source, size, self.handle, what=_COPY_IN)

    def download(self, values: NDArray[Any], address: int) -> None:
        """Copy device memory into a C-contiguous host array, which is whole once that is done.

        Raises:
            DeviceError: The driver refuses, or a launch before failed.
        """
        to, size = values.ctypes.data, values.nbytes
        self.device.call("cuMemcpyDtoHAsync", to, address, size, self.handle, what=_COPY_OUT)

    def copy(self, to: int, address: int, size: int) -> None:
        """Copy bytes inside device memory.

        Raises:
            DeviceError: The driver refuses.
        """
        self.device.call("cuMemcpyDtoDAsync", to, address, size, self.handle, what="copy device memory")

    def clear(self, address: int, size: int) -> None:
        """Set bytes of device memory to 0.

        Raises:
            DeviceError: The driver refuses.
        """
        self.device.call("cuMemsetD8Async", address, 0, size, self.handle, what="clear device memory")

    def after_recording(self, work: Callable[[], object]) -> None:
        """Do something now, or where the stream is being recorded, after that: freeing is no part of it."""
        if self.recording:
            self._later.append(work)
        else:
            work()

    @contextlib.contextmanager
    def record(self, keep: Callable[[Any], None]) -> Iterator[None]:
        """Record what the body puts on the stream, instead of running it.

        Args:
            keep: Gets the driver's graph; not called where the body or the recording fails.

        Raises:
            DeviceError: The driver refuses, or the body did what cannot be recorded.
        """
        # Finalizers and other libraries of this thread may free memory meanwhile: "relaxed" lets them.
        mode = self.device.driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
        self.device.call("cuStreamBeginCapture", self.handle, mode, what="record its work")
        self.recording, whole = True, False
        try:
            yield
            whole = True
        finally:
            self.recording = False
            try:
                _end_recording(self, keep if whole else None)
            finally:
                for work in self._later:
                    work()
                self._later.clear()


def _end_recording(stream: CudaStream, keep: Callable[[Any], None] | None) -> None:
    """End a recording; without `keep` its graph is of no use, and an error has been raised already."""
    device = stream.device
    try:
        graph = device.call("cuStreamEndCapture", stream.handle, what="record its work")
    except DeviceError:
        if keep is not None:
            raise
        return
    try:
        if keep is not None:
            keep(graph)
    finally:
        _destroy(device, "cuGraphDestroy", graph)


class CudaEvent:
    """A moment of a stream.

    Attributes:
        handle: The driver's.
    """

    def __init__(self, device: CudaDevice, timed: bool = False) -> None:
        """Make an event that has not happened.

        Args:
            device: Of the streams it is recorded on.
            timed: Whether `seconds_since` will be asked; costs a little.

        Raises:
            DeviceError: The driver refuses.
        """
        flags = device.driver.CUevent_flags
        flag = flags.CU_EVENT_DEFAULT if timed else flags.CU_EVENT_DISABLE_TIMING
        self._device = device
        self.handle = device.call("cuEventCreate", int(flag), what="make an event")
        weakref.finalize(self, _destroy, device, "cuEventDestroy", self.handle).atexit = False

    def record(self, stream: CudaStream) -> None:
        """Let it be the moment when everything that is on the stream now is done.

        Raises:
            DeviceError: The driver refuses.
        """
        self._device.call("cuEventRecord", self.handle, stream.handle, what="mark a moment of a stream")

    def seconds_since(self, earlier: CudaEvent) -> float:
        """Seconds on the device between two recorded events with times, after waiting for this one.

        Raises:
            DeviceError: An event has no time or was not recorded, or the device failed.
        """
        self._device.call("cuEventSynchronize", self.handle, what=_FINISH)
        given = (earlier.handle, self.handle)
        milliseconds = self._device.call("cuEventElapsedTime", *given, what="tell the time between events")
        return float(milliseconds) / 1000


class CudaGraph:
    """Work of a stream, recorded once and put on it again in one call.

    What it reads and writes lies where it lay when it was recorded; whoever launches it keeps that.

    Attributes:
        nodes: How many pieces of work were recorded: none, where a library put its work elsewhere.
    """

    def __init__(self, stream: CudaStream, work: Callable[[], object]) -> None:
        """Record work; it does not run.

        Args:
            stream: Where it is recorded and will run; not the legacy one.
            work: Puts all it does on `stream`, waits for nothing and allocates nothing.

        Raises:
            DeviceError: The work cannot be recorded.
        """
        device = stream.device
        self._stream = stream
        made: list[Any] = []
        self.nodes = 0

        def instantiate(graph: Any) -> None:
            # Asked for no node, the driver tells how many there are.
            self.nodes = int(device.call("cuGraphGetNodes", graph, 0, what="count recorded work")[1])
            made.append(device.call("cuGraphInstantiate", graph, 0, what="make a graph"))

        with stream.record(instantiate):
            work()
        (self._executable,) = made
        # One that still runs is freed by the driver when it is done.
        weakref.finalize(self, _destroy, device, "cuGraphExecDestroy", made[0]).atexit = False

    def launch(self) -> None:
        """Put the work on its stream once more; does not wait.

        Raises:
            DeviceError: The driver refuses, or a launch before failed.
        """
        self._stream.device.call(
            "cuGraphLaunch", self._executable, self._stream.handle, what="launch a recorded graph"
        )


def _destroy(device: CudaDevice, call: str, handle: Any) -> None:
    """Give a handle back; a device that failed has nothing to give back to."""
    with contextlib.suppress(DeviceError):
        device.call(call, handle, what="give back what it made")
