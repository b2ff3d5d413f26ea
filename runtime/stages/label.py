"""Turn network scores into labels on the scanner's own voxels, in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import UsageError
from runtime.kernels import Kernels
from runtime.volume import Affine, Grid

__all__ = ["label", "label_into"]


def label(
    scores: Any,
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
        scores: (C, D, H, W), C-contiguous float32 or float16; 2…255 classes, class 0 background. Of the
            host, or where `kernels` run.
        scores_grid: Where the scores lie.
        onto: Grid of the result.
        values: Label value of each class, (C,).
        kernels: Where to run.
        world: RAS+ of `onto` to RAS+ of `scores_grid`, (4, 4) rigid; identity when absent.

    Returns:
        (I, J, K) of `onto`.

    Raises:
        UsageError: `scores` has another shape than its grid.
        DeviceError: The device failed.
        ValueError: The number of classes or of `values` is wrong.
        TypeError: An array has the wrong type or is not C-contiguous.
    """
    result = kernels.empty(onto.shape, np.uint8)
    label_into(result, scores, scores_grid, onto, values, kernels, world)
    return kernels.to_host(result)


def label_into(
    result: Any,
    scores: Any,
    scores_grid: Grid,
    onto: Grid,
    values: NDArray[np.uint8],
    kernels: Kernels,
    world: Affine | None = None,
) -> None:
    """As `label`, into an array where `kernels` run; on a device it does not wait.

    Args:
        result: (I, J, K) of `onto`, C-contiguous uint8; overwritten.
        scores: As for `label`.
        scores_grid: As for `label`.
        onto: As for `label`.
        values: As for `label`.
        kernels: As for `label`.
        world: As for `label`.

    Raises:
        UsageError: `scores` or `result` has another shape than its grid.
    """
    if result.shape != onto.shape:
        raise UsageError(f"result has shape {result.shape}, its grid {onto.shape}; allocate it from the grid")
    if scores.shape[1:] != scores_grid.shape:
        raise UsageError(f"scores have shape {scores.shape}, their grid {scores_grid.shape}; they must agree")
    matrix = np.ascontiguousarray(onto.index_to(scores_grid, world)[:3])
    table, scores = kernels.table, kernels.placed(scores)
    work = kernels.scratch(table.label_scratch(scores, result, matrix))
    outside = int(values[0]) if len(values) else 0
    table.label(scores, result, matrix, kernels.placed(values), outside, work, kernels.threads)
