"""Overlap and distance between a mask and the one it is compared with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.volume import Grid

__all__ = ["Score", "compare", "dice"]


@dataclass(frozen=True)
class Score:
    """How well one structure agrees.

    Attributes:
        dice: 2 |A and B| / (|A| + |B|); NaN when both are empty. Also called DSC.
        hd95_mm: The larger of the two directed 95th percentiles of surface distance; NaN when
            either is empty.
        volume_error_percent: 100 (|A| - |B|) / |B|; NaN when the reference is empty.
        reference_ml: Volume of the reference.
    """

    dice: float
    hd95_mm: float
    volume_error_percent: float
    reference_ml: float

    @property
    def iou(self) -> float:
        """|A and B| / |A or B|, whose mean is mIoU; NaN when both are empty."""
        return self.dice / (2.0 - self.dice)


def dice(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """2 |A and B| / (|A| + |B|); NaN when both are empty."""
    total = int(found.sum()) + int(truth.sum())
    return 2.0 * int((found & truth).sum()) / total if total else float("nan")


def compare(found: NDArray[np.bool_], truth: NDArray[np.bool_], grid: Grid) -> Score:
    """Score one structure on one grid.

    Args:
        found: (I, J, K) result.
        truth: (I, J, K) reference.
        grid: Their geometry.

    Source:
        Distances: Maurer's distance maps (SimpleITK) at voxels with a face neighbour outside.
    """
    volume_ml = grid.voxel_volume_ml
    reference = int(truth.sum())
    error = 100.0 * (int(found.sum()) - reference) / reference if reference else float("nan")
    return Score(dice(found, truth), _hd95(found, truth, grid), error, reference * volume_ml)


def _hd95(found: NDArray[np.bool_], truth: NDArray[np.bool_], grid: Grid) -> float:
    if not found.any() or not truth.any():
        return float("nan")
    box = _box(found | truth)
    borders = [_border(mask[box]) for mask in (found, truth)]
    distances = [_distance_mm(border, grid) for border in borders]
    forth, back = distances[1][borders[0]], distances[0][borders[1]]
    return float(max(np.percentile(forth, 95), np.percentile(back, 95)))


def _border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels of a mask with a face neighbour outside it; the array's border is outside."""
    padded = np.pad(mask, 1)
    inner = padded.copy()
    for axis in range(3):
        inner &= np.roll(padded, 1, axis) & np.roll(padded, -1, axis)
    return np.ascontiguousarray((padded & ~inner)[1:-1, 1:-1, 1:-1])


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    sides = []
    for axis in range(3):
        planes = np.flatnonzero(mask.any(axis=tuple(n for n in range(3) if n != axis)))
        sides.append(slice(max(0, int(planes[0]) - 2), int(planes[-1]) + 3))
    return tuple(sides)


def _distance_mm(mask: NDArray[np.bool_], grid: Grid) -> NDArray[np.float32]:
    """Distance of every voxel to the nearest voxel of a thin mask, mm."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing([float(value) for value in grid.spacing_mm[::-1]])
    distance = sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True)
    return np.asarray(np.abs(sitk.GetArrayFromImage(distance)), np.float32)
