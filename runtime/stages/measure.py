"""How large each structure is, and whether the scan shows what the bundle is for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from runtime.bundle import Bundle
from runtime.content import SliceContent
from runtime.structure import Structure
from runtime.volume import Labels

__all__ = ["Measurement", "coverage", "measure"]

_LEAST_BRAIN_ML = 60.0
_SMALL_BRAIN_ML = 600.0
_LARGE_BRAIN_ML = 2300.0


@dataclass(frozen=True)
class Measurement:
    """One structure of a result.

    Attributes:
        structure: What was measured.
        voxels: How many voxels it has.
        volume_ml: Its volume.
        touches_border: Whether it reaches the border of the scan, so that part may be missing.
    """

    structure: Structure
    voxels: int
    volume_ml: float
    touches_border: bool


def measure(
    labels: Labels, content: SliceContent, bundle: Bundle, structures: tuple[Structure, ...]
) -> tuple[Measurement, ...]:
    """Volume and border contact of structures, unions included.

    Args:
        labels: Every structure the bundle knows, on the input grid.
        content: Of `labels`.
        bundle: Says what unions are made of.
        structures: What to measure.
    """
    counts = content.counts.sum(axis=0)
    border = np.zeros(256, np.bool_)
    for axis in range(3):
        for end in (0, -1):
            border[np.unique(np.take(labels.voxels, end, axis=axis))] = True
    volume_ml = labels.grid.voxel_volume_ml
    results = []
    for structure in structures:
        parts = list(bundle.parts(structure))
        voxels = int(counts[parts].sum())
        results.append(Measurement(structure, voxels, voxels * volume_ml, bool(border[parts].any())))
    return tuple(results)


def coverage(brain: Measurement) -> tuple[bool, tuple[str, ...]]:
    """Whether a result shows a head at all, and warnings where it shows only part of one.

    Args:
        brain: Measurement of the union "brain".

    Returns:
        Whether there is a brain (at least 60 ml of it), and warnings.
    """
    if brain.volume_ml < _LEAST_BRAIN_ML:
        return False, (f"only {brain.volume_ml:.0f} ml look like brain",)
    warnings = []
    if not _SMALL_BRAIN_ML <= brain.volume_ml <= _LARGE_BRAIN_ML:
        warnings.append(
            f"brain volume {brain.volume_ml:.0f} ml is outside "
            f"{_SMALL_BRAIN_ML:.0f}…{_LARGE_BRAIN_ML:.0f} ml: the scan shows part of a head, or the result "
            "is wrong"
        )
    if brain.touches_border:
        warnings.append("the brain reaches the border of the scan: part of it was not scanned")
    return True, tuple(warnings)
