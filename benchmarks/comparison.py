"""The nouns of a comparison: a case of ours, the peers that do the same, and what agreeing means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime.kernels import Kernels

__all__ = [
    "Agreement",
    "CannotRunError",
    "Case",
    "CaseMaker",
    "Peer",
    "Run",
    "Setting",
    "largest_difference",
    "share_that_differs",
]

Run = Callable[[], Any]
"""The work that is timed: takes nothing, returns its result."""


class CannotRunError(Exception):
    """A peer is installed but cannot do this case; the message says why."""


@dataclass(frozen=True)
class Agreement:
    """How much a peer's result may differ from ours.

    Attributes:
        limit: Largest difference, in the unit of the case's `difference`.
        reason: Why it is not zero.
    """

    limit: float
    reason: str


@dataclass(frozen=True)
class Peer:
    """Somebody else's way to do the same.

    Attributes:
        name: Library and call, e.g. "torch interpolate + clamp".
        module: What it imports; where that is not installed there is no row.
        open: Imports, converts what costs nothing and returns the work to time; may raise `CannotRunError`.
        agreement: None where its maths is another, so that no agreement is expected.
        needs_bytes: Rough memory it takes; where the machine has less there is no row.
        note: What a reader of the row must know.
    """

    name: str
    module: str
    open: Callable[[], Run]
    agreement: Agreement | None
    needs_bytes: int = 0
    note: str = ""


@dataclass(frozen=True)
class Case:
    """One piece of work on one input.

    Attributes:
        ours: Our way.
        peers: The others.
        moved_bytes: What has to move at least: every input read once, every result written once.
        difference: Compares our result with a peer's; infinite where shapes differ.
        difference_is: What that number is.
    """

    ours: Run
    peers: Sequence[Peer]
    moved_bytes: int
    difference: Callable[[Any, Any], float]
    difference_is: str


@dataclass(frozen=True)
class Setting:
    """What every case of a run shares.

    Attributes:
        quick: Small arrays, to prove that everything runs and agrees.
        kernels: Ours, and how many threads both sides use.
        folder: For files; removed after the run.
    """

    quick: bool
    kernels: Kernels
    folder: Path


@dataclass(frozen=True)
class CaseMaker:
    """A case whose input is made only when it is asked for: some take gigabytes.

    Attributes:
        name: Begins with the kernel's name and says the size.
        make: Makes the input.
    """

    name: str
    make: Callable[[], Case]


def share_that_differs(ours: Any, theirs: Any) -> float:
    """Share of voxels whose values differ, 0…1."""
    if ours.shape != theirs.shape:
        return float("inf")
    return float(np.count_nonzero(ours != theirs) / ours.size)


def largest_difference(ours: Any, theirs: Any) -> float:
    """Largest absolute difference; NaN anywhere counts as infinite."""
    if ours.shape != theirs.shape:
        return float("inf")
    # Plane by plane: a case's arrays may fill most of the memory.
    worst = float(np.max([np.abs(a - b).max() for a, b in zip(ours, theirs, strict=True)]))
    return worst if np.isfinite(worst) else float("inf")
