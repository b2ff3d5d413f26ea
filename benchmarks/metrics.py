"""Overlap and distance between a result and a reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.volume import Affine, Grid, Labels

__all__ = ["Score", "compare", "labels_on"]

_SLAB = 16


@dataclass(frozen=True)
class Score:
    """How well one structure agrees.

    Attributes:
        dice: 2 |A and B| / (|A| + |B|); NaN when both are empty.
        hd95_mm: The larger of the two directed 95th percentiles of surface distance; NaN when
            either is empty.
        volume_error_percent: 100 (|A| - |B|) / |B|; NaN when the reference is empty.
        reference_ml: Volume of the reference.
    """

    dice: float
    hd95_mm: float
    volume_error_percent: float
    reference_ml: float


def labels_on(labels: Labels, grid: Grid, world: Affine | None = None) -> NDArray[np.uint8]:
    """Nearest label at every voxel of another grid; 0 outside.

    Args:
        labels: The label map.
        grid: Where to look.
        world: RAS+ of `grid` to RAS+ of `labels`, (4, 4); identity when absent.
    """
    matrix = grid.index_to(labels.grid, world)
    result = np.zeros(grid.shape, np.uint8)
    size = np.array(labels.voxels.shape)
    j, k = np.meshgrid(np.arange(grid.shape[1]), np.arange(grid.shape[2]), indexing="ij")
    for i in range(grid.shape[0]):
        points = np.stack([np.full(j.shape, i), j, k]).reshape(3, -1)
        at = np.rint(matrix[:3, :3] @ points + matrix[:3, 3:]).astype(np.int64)
        inside = ((at >= 0) & (at < size[:, None])).all(axis=0)
        plane = np.zeros(at.shape[1], np.uint8)
        plane[inside] = labels.voxels[tuple(at[:, inside])]
        result[i] = plane.reshape(j.shape)
    return result


def compare(found: NDArray[np.bool_], truth: NDArray[np.bool_], grid: Grid) -> Score:
    """Score one structure on one grid.

    Args:
        found: (I, J, K) result.
        truth: (I, J, K) reference.
        grid: Their geometry.

    Source:
        Distances: signed Maurer distance maps (SimpleITK) at surface voxels.
    """
    total = int(found.sum()) + int(truth.sum())
    overlap = int((found & truth).sum())
    volume_ml = grid.voxel_volume_ml
    reference = int(truth.sum())
    error = 100.0 * (int(found.sum()) - reference) / reference if reference else float("nan")
    dice = 2.0 * overlap / total if total else float("nan")
    return Score(dice, _hd95(found, truth, grid), error, reference * volume_ml)


def _hd95(found: NDArray[np.bool_], truth: NDArray[np.bool_], grid: Grid) -> float:
    if not found.any() or not truth.any():
        return float("nan")
    box = _box(found | truth)
    pair = [np.ascontiguousarray(mask[box]) for mask in (found, truth)]
    distances = [_surface_distance(mask, grid) for mask in pair]
    surfaces = [mask & (distance == 0) for mask, distance in zip(pair, distances, strict=True)]
    forth = np.abs(distances[1])[surfaces[0]]
    back = np.abs(distances[0])[surfaces[1]]
    return float(max(np.percentile(forth, 95), np.percentile(back, 95)))


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    sides = []
    for axis in range(3):
        planes = np.flatnonzero(mask.any(axis=tuple(n for n in range(3) if n != axis)))
        sides.append(slice(max(0, int(planes[0]) - 2), int(planes[-1]) + 3))
    return tuple(sides)


def _surface_distance(mask: NDArray[np.bool_], grid: Grid) -> NDArray[np.float32]:
    """Distance of every voxel to the border voxels of a mask, mm: 0 on them, negative inside."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing([float(value) for value in grid.spacing_mm[::-1]])
    distance = sitk.SignedMaurerDistanceMap(
        image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True
    )
    return np.asarray(sitk.GetArrayFromImage(distance), np.float32)
