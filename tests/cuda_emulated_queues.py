"""Streams, events and graphs of the emulated driver: work waits in queues, as on a device."""

from __future__ import annotations

import itertools
import math
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from cuda.bindings import driver as real

_FINE = real.CUresult.CUDA_SUCCESS
_LEGACY, _PER_THREAD = 1, 2

Work = Callable[[], None]


class EmulatedQueues:
    """Work on a stream runs when somebody waits for it and not before: a missing wait gives wrong bits.

    Attributes:
        handles: Streams, events, pools, graphs and executables that are not destroyed.
        depth: Contexts pushed and not popped.
    """

    CUstream_flags, CUevent_flags = real.CUstream_flags, real.CUevent_flags
    CUstreamCaptureMode = real.CUstreamCaptureMode

    def __init__(self) -> None:
        self.handles: dict[int, str] = {}
        self.depth = 0
        self._queues: dict[int, deque[Work]] = {0: deque(), _LEGACY: deque(), _PER_THREAD: deque()}
        self._recordings: dict[int, list[Work]] = {}
        self._graphs: dict[int, list[Work]] = {}
        self._done: Counter[int] = Counter()  # works of each stream
        self._happened: dict[int, tuple[int, int] | None] = {}  # stream, works that come before the event
        self._names = itertools.count(1000)

    def _named(self, kind: str) -> int:
        assert self.depth > 0
        name = next(self._names)
        self.handles[name] = kind
        return name

    def _destroyed(self, name: int, kind: str) -> Any:
        assert self.handles.pop(int(name)) == kind
        return (_FINE,)

    def _put(self, stream: int, work: Work) -> None:
        (self._recordings[stream] if stream in self._recordings else self._queues[stream]).append(work)

    def _drain(self, stream: int, most: float = math.inf) -> None:
        while self._queues[stream] and self._done[stream] < most:
            self._done[stream] += 1
            self._queues[stream].popleft()()

    def cuStreamCreate(self, flags: int) -> Any:
        assert flags == real.CUstream_flags.CU_STREAM_NON_BLOCKING
        name = self._named("stream")
        self._queues[name] = deque()
        return _FINE, real.CUstream(name)

    def cuStreamDestroy(self, stream: int) -> Any:
        self._drain(stream)
        del self._queues[stream]
        return self._destroyed(stream, "stream")

    def cuStreamSynchronize(self, stream: int) -> Any:
        assert stream not in self._recordings
        self._drain(stream)
        return (_FINE,)

    def cuStreamWaitEvent(self, stream: int, event: int, flags: int) -> Any:
        recorded = self._happened[event]

        def wait() -> None:
            if recorded is not None:
                self._drain(*recorded)

        self._put(stream, wait)
        return (_FINE,)

    def cuEventCreate(self, flags: int) -> Any:
        name = self._named("event")
        self._happened[name] = None
        return _FINE, name

    def cuEventDestroy(self, event: int) -> Any:
        return self._destroyed(event, "event")

    def cuEventRecord(self, event: int, stream: int) -> Any:
        assert stream not in self._recordings
        self._happened[event] = (stream, self._done[stream] + len(self._queues[stream]))
        return (_FINE,)

    def cuEventSynchronize(self, event: int) -> Any:
        recorded = self._happened[event]
        assert recorded is not None
        self._drain(*recorded)
        return (_FINE,)

    def cuEventElapsedTime(self, earlier: int, later: int) -> Any:
        assert self._happened[earlier] is not None
        assert self._happened[later] is not None
        return _FINE, 0.5

    def cuStreamBeginCapture(self, stream: int, mode: Any) -> Any:
        assert stream not in (0, _LEGACY), "the legacy stream cannot be recorded"
        assert stream not in self._recordings
        self._recordings[stream] = []
        return (_FINE,)

    def cuStreamEndCapture(self, stream: int) -> Any:
        name = self._named("graph")
        self._graphs[name] = self._recordings.pop(stream)
        return _FINE, name

    def cuGraphGetNodes(self, graph: int, most: int) -> Any:
        assert most == 0
        return _FINE, [], len(self._graphs[graph])

    def cuGraphDestroy(self, graph: int) -> Any:
        return self._destroyed(graph, "graph")

    def cuGraphInstantiate(self, graph: int, flags: int) -> Any:
        name = self._named("executable")
        self._graphs[name] = self._graphs[graph]
        return _FINE, name

    def cuGraphExecDestroy(self, executable: int) -> Any:
        return self._destroyed(executable, "executable")

    def cuGraphLaunch(self, executable: int, stream: int) -> Any:
        assert self.handles[executable] == "executable"
        for work in self._graphs[executable]:
            self._put(stream, work)
        return (_FINE,)
