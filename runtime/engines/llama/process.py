"""One worker process: start it, send, receive, say what it died of; nothing waits longer than it was told."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from runtime.engines.llama.messages import Event, Request
from runtime.engines.llama.native_log import complaint
from runtime.engines.llama.protocol import MOST_EVENT_BYTES, FrameReader, ProtocolError, encode

__all__ = ["WorkerDiedError", "WorkerProcess", "WorkerSlowError"]

_MODULE = "runtime.engines.llama.worker"
_PIECE = 1 << 16
_KILL_S = 5.0


class WorkerDiedError(Exception):
    """The worker is gone; the message says how."""


class WorkerSlowError(Exception):
    """The worker did not answer in time; it may still be there."""


class WorkerProcess:
    """A worker that runs. A context manager that ends it.

    Args:
        threads: CPU threads that it may use.
    """

    def __init__(self, threads: int) -> None:
        self._log: IO[bytes] = os.fdopen(os.memfd_create("llama"), "w+b")  # nothing of a patient's on a disk
        isolated = ["-P"] if sys.version_info >= (3, 11) else []
        self._process = subprocess.Popen(
            [sys.executable, *isolated, "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd="/",
            env=_environment(threads),
            start_new_session=True,  # Ctrl-C is for the parent
        )
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("no pipes to the worker")
        self._sink, self._source = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._sink, False)
        os.set_blocking(self._source, False)
        self._reader = FrameReader(Event, MOST_EVENT_BYTES)
        self._events: deque[Event] = deque()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def send(self, request: Request, until: float) -> None:
        """Send a request.

        Args:
            request: What to do.
            until: When to give up, by `time.monotonic`.

        Raises:
            WorkerDiedError: Nobody reads.
            WorkerSlowError: It does not read; part of the request may be in the pipe, so it has to be ended.
        """
        left = memoryview(encode(request))
        while left:
            if not _ready({self._sink: select.POLLOUT}, until):
                raise WorkerSlowError
            try:
                left = left[os.write(self._sink, left[:_PIECE]) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self._died() from None

    def receive(self, until: float, wake: int | None = None) -> Event | None:
        """The next event.

        Args:
            until: When to give up, by `time.monotonic`.
            wake: A file descriptor; once something can be read from it, None comes back.

        Raises:
            WorkerDiedError: It ended, or sent what is no event.
            WorkerSlowError: It did not come in time, whatever else came.
        """
        if time.monotonic() > until:
            raise WorkerSlowError
        while not self._events:
            sources = (self._source,) if wake is None else (self._source, wake)
            ready = _ready(dict.fromkeys(sources, select.POLLIN), until)
            if not ready:
                raise WorkerSlowError
            if wake in ready:
                return None
            data = os.read(self._source, _PIECE)
            if not data:
                raise self._died()
            try:
                self._events.extend(self._reader.feed(data))
            except ProtocolError as error:
                raise WorkerDiedError(f"it answered with {error}") from error
        return self._events.popleft()

    def _died(self) -> WorkerDiedError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_KILL_S)
        return WorkerDiedError(self._last_words())

    def _last_words(self) -> str:
        """What it died of, without a word of what it was asked."""
        code = self._process.returncode
        if code is None:
            return "it closed its output"
        how = f"it ended with code {code}"
        if code < 0:
            with suppress(ValueError):
                how = f"it died of {signal.Signals(-code).name}"
        self._log.seek(0)
        why = complaint(self._log.read(1 << 20).decode("utf-8", "replace"))
        return f"{how}: {why}" if why else how

    def close(self) -> None:
        """End it, at once; whatever it was doing is lost."""
        with suppress(ProcessLookupError):
            self._process.kill()
        with suppress(subprocess.TimeoutExpired):  # a process in the kernel's hands dies later
            self._process.wait(_KILL_S)
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _ready(wanted: dict[int, int], until: float) -> set[int]:
    """The file descriptors that are ready in time; unlike select, poll takes any number of open files."""
    poll = select.poll()
    for descriptor, events in wanted.items():
        poll.register(descriptor, events)
    return {descriptor for descriptor, _ in poll.poll(max(0.0, until - time.monotonic()) * 1000)}


def _environment(threads: int) -> dict[str, str]:
    """The parent's, with this very package first and without what makes llama.cpp slow or chatty."""
    here = str(Path(__file__).resolve().parents[3])
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = [here, *(os.path.abspath(other) for other in others if other)]  # noqa: PTH100  (does not resolve links)
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path),
        "OMP_WAIT_POLICY": "passive",  # else idle threads burn what others need
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": "1",
        "GGML_NO_BACKTRACE": "1",  # it would start a debugger
    }
