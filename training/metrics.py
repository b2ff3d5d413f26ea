"""Overlap and distance between a result and a reference, perhaps on another grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runtime.stages.overlap import Score, compare, dice
from runtime.volume import Affine, Grid, Labels

__all__ = ["Score", "compare", "dice", "labels_on"]


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
