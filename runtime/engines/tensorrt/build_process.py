"""The process that builds an engine: TensorRT may crash, and takes memory that only an end gives back.

    python -m runtime.engines.tensorrt.build_process < request > events

Not for people: `builder.py` starts it.
"""

from __future__ import annotations

import importlib
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

from runtime.engines.isolated import place
from runtime.engines.llama.protocol import FrameReader, ProtocolError, encode
from runtime.engines.tensorrt.build import build_engine
from runtime.engines.tensorrt.build_messages import MOST_BYTES, Build, Built, Event, Phase, Refused
from runtime.errors import DeviceError

__all__ = ["main"]

_PIECE = 1 << 20
_EVERY_S = 0.2
"""Phases inside phases come by the thousand."""


class _Sink:
    """Where events go."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._told = 0.0

    def say(self, event: Event) -> None:
        left = memoryview(encode(event))
        while left:
            left = left[os.write(self._descriptor, left[:_PIECE]) :]

    def phase(self, name: str, share: float) -> None:
        now = time.monotonic()
        if now - self._told >= _EVERY_S:
            self._told = now
            self.say(Phase(name[:200], share))


def _build(request: Build, sink: _Sink) -> Built | Refused:
    try:
        module = importlib.import_module(request.module)
    except Exception as error:  # whatever a broken installation raises
        line = (str(error).splitlines() or [""])[0]
        return Refused(f"the module {request.module} cannot be imported ({type(error).__name__}: {line})")
    # Where the parser looks for weights lies nothing else: a network may read no file that nobody checked.
    with tempfile.TemporaryDirectory() as folder:
        beside = ""
        if request.weights:
            place(Path(request.weights), Path(folder))
            beside = str(Path(folder) / "network.onnx")
        started = time.monotonic()
        os.chdir(folder)
        try:
            made = build_engine(
                module, request.onnx, request.options, request.timing_cache, beside, sink.phase
            )
        except DeviceError as error:
            return Refused(str(error))
        except MemoryError:
            return Refused("there is not so much memory")
        except (AttributeError, RuntimeError, TypeError, ValueError) as error:
            return Refused(f"{request.module} {module.__version__} failed ({type(error).__name__}: {error})")
        finally:
            os.chdir("/")
    seconds = time.monotonic() - started
    return Built(made.engine, made.timing_cache, str(module.__version__), seconds, _peak_bytes())


def _peak_bytes() -> int:
    """The most memory this process ever had."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    lines = [line.split() for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0][1]) * 1024 if lines else 0


def main() -> int:
    """Answer one request."""
    sink = _Sink(os.dup(1))
    os.dup2(2, 1)  # a library that prints shall not print into events
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    reader = FrameReader(tuple[Build], MOST_BYTES)
    with open(0, "rb", closefd=False) as source:
        data = source.read()
    try:
        (request,) = reader.feed(data)
    except (ProtocolError, ValueError) as error:
        sink.say(Refused(f"the request cannot be read ({error})"))
        return 1
    try:
        sink.say(_build(request, sink))
    except BrokenPipeError:  # nobody reads
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
