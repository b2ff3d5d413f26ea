"""Turn network scores into labels on the scanner's own voxels, in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import UsageError
from runtime.kernels import Kernels, scratch
from runtime.volume import Affine, Grid

__all__ = ["label"]


def label(
    scores: NDArray[Any],
    scores_grid: Grid,
    onto: Grid,
    values: NDArray[np.uint8],
    kernels: Kernels,
    world: Affine | None = None,
) -> NDArray[np.uint8]:
    """Give every voxel of a grid the label whose interpolated score is highest.

    Exactly the argmax of float32 trilinear scores (the lowest class wins a tie, NaN never wins),
    without making the full-resolution scores. Voxels more than half a score voxel outside the
    scores get `values[0]`.

    Args:
        scores: (C, D, H, W), C-contiguous float32 or float16; 2…255 classes, class 0 background.
        scores_grid: Where the scores lie.
        onto: Grid of the result.
        values: Label value of each class, (C,).
        kernels: Where to run.
        world: RAS+ of `onto` to RAS+ of `scores_grid`, (4, 4) rigid; identity when absent.

    Returns:
        (I, J, K) of `onto`.

    Raises:
        UsageError: `scores` has another shape than its grid.
        ValueError: The number of classes or of `values` is wrong.
        TypeError: An array has the wrong type or is not C-contiguous.
    """
    if scores.shape[1:] != scores_grid.shape:
        raise UsageError(f"scores have shape {scores.shape}, their grid {scores_grid.shape}; they must agree")
    matrix = np.ascontiguousarray(onto.index_to(scores_grid, world)[:3])
    result = np.empty(onto.shape, np.uint8)
    table = kernels.table
    work = scratch(table.label_scratch(scores, result, matrix))
    outside = int(values[0]) if len(values) else 0
    table.label(scores, result, matrix, values, outside, work, kernels.threads)
    return result
