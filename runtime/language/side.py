"""On which side of the head a mask lies, to be compared with what was written."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from runtime.language.instruction import Side
from runtime.volume import Labels

__all__ = ["MIDLINE_MM", "MOST", "mask_side", "side_of"]

MOST = 0.8
"""Share of the mask that decides."""

MIDLINE_MM = 8.0
"""How far from the middle the midline reaches."""


def side_of(in_middle: float, right: float) -> Side:
    """The side on which a finding lies.

    Args:
        in_middle: Share of it within `MIDLINE_MM` of the middle.
        right: Share of it on the patient's right.
    """
    if in_middle >= MOST:
        return "midline"
    if right >= MOST:
        return "right"
    return "left" if right <= 1 - MOST else "both"


def mask_side(labels: Labels, finding: Collection[int], brain: Collection[int]) -> Side | None:
    """The patient's side on which a finding lies, as the labels have it.

    The middle is the brain's centre of mass. Four fifths within 8 mm of it: midline; four fifths on one side:
    that side; else both.

    Args:
        labels: On the scan's own voxels.
        finding: Label values of the finding.
        brain: Label values of the brain.

    Returns:
        None where there is no voxel of one of both.
    """
    to_right = labels.affine[0, :3]
    centre = _centre(_chosen(labels, brain))
    places = np.argwhere(_chosen(labels, finding))
    if centre is None or not len(places):
        return None
    off_mm = (places - centre) @ to_right
    return side_of(float(np.mean(np.abs(off_mm) <= MIDLINE_MM)), float(np.mean(off_mm > 0)))


def _chosen(labels: Labels, values: Collection[int]) -> NDArray[np.bool_]:
    table = np.zeros(256, np.bool_)
    table[list(values)] = True
    return table[labels.voxels]


def _centre(mask: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """Centre of mass in voxels, (3,)."""
    sums = [mask.sum(axis=tuple(other for other in range(3) if other != axis)) for axis in range(3)]
    total = int(sums[0].sum())
    if not total:
        return None
    return np.array([float(counts @ np.arange(len(counts))) / total for counts in sums])
