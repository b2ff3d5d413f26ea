"""Have an engine built by a process of its own, within limits; whatever happens there is one error here."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from runtime.engines.llama.protocol import FrameReader, ProtocolError, encode
from runtime.engines.tensorrt.build_messages import MOST_BYTES, Build, Built, Event, Phase, Refused
from runtime.engines.tensorrt.options import BuildLimits
from runtime.errors import DeviceError

__all__ = ["build_in_process"]

_MODULE = "runtime.engines.tensorrt.build_process"
_LOOK_S = 0.05
_KILL_S = 10.0
_PIECE = 1 << 20
_USE = "use another engine, or --device cpu"


def build_in_process(
    request: Build, limits: BuildLimits | None = None, progress: Callable[[str, float], None] | None = None
) -> Built:
    """Build an engine.

    Args:
        request: What to build.
        limits: What it may take.
        progress: Told the name of a phase and its finished share.

    Raises:
        DeviceError: The network or the options are refused, the process crashed, or a limit was passed.
    """
    limits = limits or BuildLimits()
    with (
        os.fdopen(os.memfd_create("network"), "w+b") as source,
        os.fdopen(os.memfd_create("log"), "w+b") as log,
    ):
        source.write(encode(request))
        source.seek(0)
        isolated = ["-P"] if sys.version_info >= (3, 11) else []
        with subprocess.Popen(
            [sys.executable, *isolated, "-m", _MODULE],
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd="/",
            env=_environment(),
            start_new_session=True,
        ) as process:
            try:
                return _follow(process, log, limits, progress)
            finally:
                process.kill()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_KILL_S)


def _follow(
    process: subprocess.Popen[bytes],
    log: IO[bytes],
    limits: BuildLimits,
    progress: Callable[[str, float], None] | None,
) -> Built:
    """Listen until there is an engine or a reason why not."""
    if process.stdout is None:
        raise RuntimeError("no pipe from the builder")
    until = time.monotonic() + limits.time_s
    reader = FrameReader(Event, MOST_BYTES)
    poll = select.poll()
    poll.register(process.stdout, select.POLLIN)
    while True:
        if time.monotonic() > until:
            raise DeviceError(
                f"TensorRT did not build the network in {limits.time_s:g} s; allow more, or {_USE}"
            )
        used = _own_bytes(process.pid)
        if used > limits.memory_bytes:
            raise DeviceError(
                f"TensorRT took {used >> 20} MB to build the network, of {limits.memory_bytes >> 20} MB; "
                f"allow more, or {_USE}"
            )
        if not poll.poll(_LOOK_S * 1000):
            continue
        data = os.read(process.stdout.fileno(), _PIECE)
        if not data:
            raise DeviceError(f"TensorRT's builder died: {_last_words(process, log)}; {_USE}")
        try:
            for event in reader.feed(data):
                if isinstance(event, Refused):
                    raise DeviceError(f"{event.why}; {_USE}")
                if isinstance(event, Built):
                    return event
                if isinstance(event, Phase) and progress is not None:
                    progress(event.name, event.share)
        except ProtocolError as error:
            raise DeviceError(f"TensorRT's builder answered with {error}; {_USE}") from error


def _own_bytes(pid: int) -> int:
    """Memory that a process has for itself; a limit of its addresses would stop CUDA, which reserves many."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    lines = [line.split() for line in status.splitlines() if line.startswith("RssAnon:")]
    return int(lines[0][1]) * 1024 if lines else 0


def _last_words(process: subprocess.Popen[bytes], log: IO[bytes]) -> str:
    """What it died of."""
    try:
        code = process.wait(_KILL_S)
    except subprocess.TimeoutExpired:
        return "it closed its output"
    how = f"code {code}"
    if code < 0:
        with suppress(ValueError):
            how = signal.Signals(-code).name
        if code == -signal.SIGKILL:
            how += ", as the kernel does where memory is short"
    log.seek(0)
    lines = log.read(1 << 20).decode("utf-8", "replace").strip().splitlines()
    last = "".join(letter for letter in lines[-1] if letter.isprintable())[:300] if lines else ""
    return f"{how} ({last})" if last else how


def _environment() -> dict[str, str]:
    """The parent's, with this very package first."""
    here = str(Path(__file__).resolve().parents[3])
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = [here, *(os.path.abspath(other) for other in others if other)]  # noqa: PTH100  (does not resolve links)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
