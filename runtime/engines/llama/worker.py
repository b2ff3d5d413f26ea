"""The process that llama.cpp may crash: requests come by standard input, events leave by standard output.

Whatever the library prints goes to standard error, a file of the parent's, so that nothing mixes with frames.
The process is started anew, never forked (llama.cpp hangs in a fork), limits its own memory, writes no core
dump (it would hold patient data) and ends when its parent does: the parent's end of the pipe closes then, or
another process has become its parent.
"""

from __future__ import annotations

import os
import queue
import resource
import select
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from runtime.engines.llama.answering import Answerer, Halt
from runtime.engines.llama.binding import LlamaModel, StoppedError
from runtime.engines.llama.gguf_header import FileIdentity
from runtime.engines.llama.messages import (
    Cancel,
    CheckedFile,
    Done,
    Event,
    Failed,
    FailureKind,
    Generate,
    Load,
    Logits,
    LogitsReady,
    Ready,
    Request,
    TokenReady,
)
from runtime.engines.llama.native_library import library_version
from runtime.engines.llama.options import StopReason
from runtime.engines.llama.protocol import MOST_REQUEST_BYTES, FrameReader, ProtocolError, encode
from runtime.errors import BundleError, DeviceError, UsageError, ZeusEdgeError

__all__ = ["main"]

_LOG_BYTES = 1 << 20
_LOOK_S = 1.0
_KINDS: dict[type[ZeusEdgeError], FailureKind] = {
    BundleError: "bundle",
    DeviceError: "device",
    UsageError: "usage",
}


class _Inbox:
    """Reads requests in a thread of its own, so that one can be cancelled while it is computed."""

    def __init__(self, source: int) -> None:
        self.requests: queue.SimpleQueue[Load | Generate | Logits] = queue.SimpleQueue()
        self._source = source
        self._parent = os.getppid()
        self._cancelled = 0
        threading.Thread(target=self._read, daemon=True).start()

    def is_cancelled(self, number: int) -> bool:
        """Whether this request need not be answered in full."""
        return self._cancelled >= number

    def _read(self) -> None:
        reader = FrameReader(Request, MOST_REQUEST_BYTES)
        try:
            while data := self._next():
                for request in reader.feed(data):
                    if isinstance(request, Cancel):
                        self._cancelled = max(self._cancelled, request.number)
                    else:
                        self.requests.put(request)
        except ProtocolError as error:
            os.write(2, f"request refused: {error}\n".encode())
        finally:  # also where memory does not suffice for a request
            os._exit(0)

    def _next(self) -> bytes:
        while not select.select([self._source], [], [], _LOOK_S)[0]:
            if os.getppid() != self._parent:  # it died, and somebody else holds the pipe open
                return b""
        return os.read(self._source, 1 << 16)


class _Worker:
    """Answers requests one after the other."""

    def __init__(self, inbox: _Inbox, sink: int) -> None:
        self._inbox = inbox
        self._sink = sink
        self._model: LlamaModel | None = None
        self._answerer: Answerer | None = None

    def run(self) -> None:
        """For ever: the inbox ends the process."""
        while True:
            request = self._inbox.requests.get()
            number = 0 if isinstance(request, Load) else request.number
            try:
                self._do(request, time.monotonic())
            except ZeusEdgeError as error:
                self._say(Failed(number, _KINDS.get(type(error), "language"), str(error)))
            except MemoryError:
                self._say(Failed(number, "device", "the worker's memory does not suffice; give it more"))

    def _do(self, request: Load | Generate | Logits, received: float) -> None:
        if isinstance(request, Load):
            self._load(request, received)
            return
        if self._answerer is None:
            raise UsageError("no language model is loaded")
        if isinstance(request, Logits):
            halt = self._halt(request.number, received + request.deadline_s)
            try:
                self._say(LogitsReady(request.number, self._answerer.logits(request.prompt, halt)))
            except StoppedError:
                self._say(
                    Failed(request.number, "language", "stopped before there were logits; allow more time")
                )
            return
        halt = self._halt(request.number, received + request.options.deadline_s)
        answers = self._answerer.answer(
            request.prompts,
            request.options,
            lambda sequence, token, text: self._say(TokenReady(request.number, sequence, token, text)),
            halt,
        )
        self._say(Done(request.number, answers, _peak_bytes()))

    def _halt(self, number: int, deadline: float) -> Halt:
        def why() -> StopReason | None:
            if self._inbox.is_cancelled(number):
                return "cancelled"
            return "deadline" if time.monotonic() > deadline else None

        return why

    def _load(self, request: Load, started: float) -> None:
        if self._model is not None:
            self._model.close()
            self._model = self._answerer = None
        resource.setrlimit(resource.RLIMIT_DATA, (request.settings.memory_bytes,) * 2)
        with ExitStack() as held:
            model = _Held(CheckedFile(request.path, request.identity), held)
            seeing = None if request.projector is None else _Held(request.projector, held)
            inner = None if seeing is None else seeing.inner
            self._model = LlamaModel(model.inner, request.settings, inner)
            self._answerer = Answerer(self._model)
            for file in (model, seeing):
                if file is not None:
                    file.compare()
        self._say(Ready(library_version(), time.monotonic() - started, _peak_bytes()))

    def _say(self, event: Event) -> None:
        left = memoryview(encode(event))
        while left:
            left = left[os.write(self._sink, left) :]


class _Held:
    """A file that is held open, so that llama.cpp cannot open another one than was compared.

    Raises:
        BundleError: It cannot be read, or is not the one that was checked.
    """

    def __init__(self, file: CheckedFile, until: ExitStack) -> None:
        self._path, self._identity = Path(os.fsdecode(file.path)), file.identity
        try:
            self._number = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise BundleError(
                f"{self._path} cannot be read ({error.strerror}); copy the model again"
            ) from error
        until.callback(os.close, self._number)
        self.inner = Path(f"/proc/self/fd/{self._number}")
        self.compare()

    def compare(self) -> None:
        """Whether it still is the one that was checked."""
        if FileIdentity.of(os.fstat(self._number)) != self._identity:
            raise BundleError(f"{self._path} was changed or replaced after it was checked; open it again")


def _peak_bytes() -> int:
    """The most memory this process ever had; getrusage would count what its parent had before."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    lines = [line.split() for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0][1]) * 1024 if lines else 0


def main() -> int:
    """Answer requests until there is nobody to ask."""
    sink = os.dup(1)
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_LOG_BYTES, _LOG_BYTES))
    try:
        _Worker(_Inbox(0), sink).run()
    except BrokenPipeError:  # nobody reads
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
