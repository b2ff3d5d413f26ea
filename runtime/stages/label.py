"""Turn network scores or features into labels on the scanner's own voxels, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from runtime.bundle import Target
from runtime.errors import UsageError
from runtime.kernels import Kernels, scratch
from runtime.volume import Affine, Grid

__all__ = ["label", "label_features"]

Value = TypeVar("Value", np.uint8, np.uint16)


def label(
    scores: NDArray[Any],
    scores_grid: Grid,
    onto: Grid,
    values: NDArray[Value],
    kernels: Kernels,
    world: Affine | None = None,
) -> NDArray[Value]:
    """Give every voxel of a grid the label whose interpolated score is highest.

    Exactly the argmax of float32 trilinear scores (the lowest class wins a tie, NaN never wins),
    without making the full-resolution scores. Voxels more than half a score voxel outside the
    scores get `values[0]`.

    Args:
        scores: (C, D, H, W), C-contiguous float32 or float16; 2…255 classes, class 0 background.
        scores_grid: Where the scores lie.
        onto: Grid of the result.
        values: Label value of each class, (C,); the result has its type.
        kernels: Where to run.
        world: RAS+ of `onto` to RAS+ of `scores_grid`, (4, 4) rigid; identity when absent.

    Returns:
        (I, J, K) of `onto`.

    Raises:
        UsageError: `scores` has another shape than its grid.
        ValueError: The number of classes or of `values` is wrong.
        TypeError: An array has the wrong type or is not C-contiguous.
    """
    _check_shape("scores", scores, scores_grid)
    return _label(scores, onto, values, onto.index_to(scores_grid, world), kernels)


def label_features(
    features: NDArray[Any],
    features_grid: Grid,
    targets: Sequence[Target],
    onto: Grid,
    values: NDArray[Value],
    kernels: Kernels,
    world: Affine | None = None,
) -> NDArray[Value]:
    """Give every voxel of a grid the label of the target that its features fit best.

    The score of a target is ((f0 * v0 + f1 * v1) + …) + bias: float32, features in their order,
    every product and sum rounded. The result is that of `label` with these scores; they are made
    where they are needed and never lie in memory as a whole.

    Args:
        features: (F, D, H, W), C-contiguous float32 or float16; 1…4096 features.
        features_grid: Where the features lie.
        targets: 2…255 targets with vectors of length F; the first is the background.
        onto: Grid of the result.
        values: Label value of each target, (T,); the result has its type.
        kernels: Where to run.
        world: RAS+ of `onto` to RAS+ of `features_grid`, (4, 4) rigid; identity when absent.

    Returns:
        (I, J, K) of `onto`.

    Raises:
        UsageError: `features` has another shape than its grid.
        ValueError: The number of targets, of `values` or of a vector's entries is wrong.
        TypeError: An array has the wrong type or is not C-contiguous.
    """
    _check_shape("features", features, features_grid)
    vectors = np.array([target.vector for target in targets], np.float32)
    biases = np.array([target.bias for target in targets], np.float32)
    scores = kernels.table.mask_scores(features, vectors, biases)
    return _label(scores, onto, values, onto.index_to(features_grid, world), kernels)


def _check_shape(name: str, array: NDArray[Any], grid: Grid) -> None:
    """Refuse an array that lies elsewhere than its grid says."""
    if array.shape[1:] != grid.shape:
        raise UsageError(f"{name} have shape {array.shape}, their grid {grid.shape}; they must agree")


def _label(
    scores: Any, onto: Grid, values: NDArray[Value], matrix: Affine, kernels: Kernels
) -> NDArray[Value]:
    """Labels of `onto`; `matrix` (4, 4) maps its indices to those of the scores."""
    table, threads = kernels.table, kernels.threads
    rows = np.ascontiguousarray(matrix[:3])
    result = np.empty(onto.shape, values.dtype)
    work = scratch(table.label_scratch(scores, result, rows, threads))
    outside = int(values[0]) if len(values) else 0
    table.label(scores, result, rows, values, outside, work, threads)
    return result
