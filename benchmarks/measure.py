"""Seconds, memory and bandwidth: how every figure of a comparison is taken."""

from __future__ import annotations

import ctypes
import gc
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.comparison import Run

__all__ = ["Effort", "Seconds", "available_bytes", "copy_bytes_per_s", "extra_bytes", "interleaved"]

_LEAST_ROUNDS = 3
_COPIES = 7


@dataclass(frozen=True)
class Effort:
    """How much time a comparison may take.

    Attributes:
        repeats: Rounds at most; a round runs ours, then the peer's.
        seconds: No new round begins after this, once there are three.
        copied_bytes: Size of the array whose copying measures the bandwidth; larger than any cache.
    """

    repeats: int
    seconds: float
    copied_bytes: int


@dataclass(frozen=True)
class Seconds:
    """Wall time of one side of a comparison, one value a round."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle round."""
        return statistics.median(self.rounds)

    @property
    def least(self) -> float:
        """The fastest round."""
        return min(self.rounds)


def interleaved(ours: Run, theirs: Run, effort: Effort) -> tuple[Seconds, Seconds]:
    """Time both in turns, so that what else the machine does falls on both.

    The clock includes the allocation of the result, not its release. Both have run before.
    """
    rounds: tuple[list[float], list[float]] = ([], [])
    started = time.perf_counter()
    for done in range(effort.repeats):
        if done >= _LEAST_ROUNDS and time.perf_counter() - started > effort.seconds:
            break
        for run, seconds in zip((ours, theirs), rounds, strict=True):
            seconds.append(_timed(run))
    return Seconds(tuple(rounds[0])), Seconds(tuple(rounds[1]))


def _timed(run: Run) -> float:
    gc.collect()
    started = time.perf_counter()
    result = run()
    elapsed = time.perf_counter() - started
    del result
    return elapsed


def extra_bytes(run: Run) -> int | None:
    """Largest resident memory while `run` runs, above what was resident before; its result counts.

    The kernel's own high-water mark (VmHWM) is reset before and read after, so no sample is
    missed and memory of every allocator counts. Freed memory is given back to the system first,
    or reuse would hide what a run takes.

    Returns:
        None where the system cannot reset its mark (not Linux, or forbidden).

    Source:
        Linux Documentation/filesystems/proc.rst: writing 5 to clear_refs resets the peak.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before = _status_bytes("VmRSS")
    except OSError:
        return None
    result = run()
    peak = _status_bytes("VmHWM")
    del result
    return max(0, peak - before)


def _status_bytes(name: str) -> int:
    return _kibibytes(Path("/proc/self/status"), name) * 1024


def _kibibytes(path: Path, name: str) -> int:
    for line in path.read_text(encoding="ascii", errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0])
    raise OSError(f"{path} has no {name}; peak memory cannot be measured on this system")


def available_bytes() -> int | None:
    """Memory that can be had without swapping; None where the system does not say."""
    try:
        return _kibibytes(Path("/proc/meminfo"), "MemAvailable") * 1024
    except OSError:
        return None


def copy_bytes_per_s(copied_bytes: int, threads: int) -> float:
    """Bytes read plus bytes written per second while an array is copied; the best of several tries.

    Args:
        copied_bytes: Size of the array.
        threads: Each copies its part, as the kernels do.
    """
    source = np.ones(copied_bytes, np.uint8)
    target = np.zeros(copied_bytes, np.uint8)
    bounds = [copied_bytes * n // threads for n in range(threads + 1)]
    parts = [slice(first, last) for first, last in pairwise(bounds)]

    def copy(part: slice) -> None:
        np.copyto(target[part], source[part])

    with ThreadPoolExecutor(threads) as pool:
        best = min(_elapsed(lambda: list(pool.map(copy, parts))) for _ in range(_COPIES))
    return 2 * copied_bytes / best


def _elapsed(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
