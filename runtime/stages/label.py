"""Turn network scores or features into labels on the scanner's own voxels, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from runtime import _kernels
from runtime.bundle import Target
from runtime.errors import UsageError
from runtime.kernels import Kernels
from runtime.volume import Affine, Grid

__all__ = [
    "Gathered",
    "Window",
    "gather_table",
    "label",
    "label_features",
    "label_into",
    "mask_scores",
    "relabel_window",
]

Window = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""Voxels [first, last) along each axis."""

Value = TypeVar("Value", np.uint8, np.uint16)

_COUNT_COLUMNS, _COLUMNS = 8, 10
"""Voxels, border voxels, first (3), last (3); with confidence also the sums of margin and entropy."""


@dataclass(frozen=True)
class Gathered:
    """What was learnt about each of C classes while a grid was labelled; integers until the last division.

    A voxel belongs to the class that gave it its label, the lowest one where several have that
    label. Voxels outside the scores belong to none.

    Attributes:
        voxels: How many, (C,) int64.
        border_voxels: How many of them lie in the first or last plane of any axis, (C,) int64.
        first: Index of the first voxel along each axis, (C, 3) int64; the grid's size where there is none.
        last: One past the last such index, (C, 3) int64; 0 where there is none.
        mean_margin: Lead of the best interpolated score over the second-best, in units of score,
            each voxel at most 8192 and rounded down to 2^-16, (C,); NaN without voxels, None
            where confidence was not asked for.
        mean_entropy: Entropy of the softmax over all classes, 0 (sure) … 1 (every class alike), (C,),
            within 2^-14 bits before it is divided by log2(C); NaN and None as for `mean_margin`.
            Where the best score is not finite the margin counts as 0 and the entropy as 1.
    """

    voxels: NDArray[np.int64]
    border_voxels: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    mean_margin: NDArray[np.float64] | None
    mean_entropy: NDArray[np.float64] | None

    @classmethod
    def of(cls, table: NDArray[np.int64]) -> Gathered:
        """Read a table that `label` or `label_features` has filled.

        Args:
            table: From `gather_table`.
        """
        margin, entropy = None, None
        if table.shape[1] == _COLUMNS:
            voxels = np.where(table[:, 0] > 0, table[:, 0], np.nan)
            margin = table[:, 8] / (_kernels.MARGIN_ONE * voxels)
            entropy = table[:, 9] / (_kernels.ENTROPY_ONE * np.log2(len(table)) * voxels)
        return cls(table[:, 0], table[:, 1], table[:, 2:5], table[:, 5:8], margin, entropy)


def gather_table(classes: int, confidence: bool) -> NDArray[np.int64]:
    """A table for `label` or `label_features` to fill in the same pass.

    Args:
        classes: C.
        confidence: Whether margins and entropies are summed too, which costs a comparison of all
            classes at every voxel; counts and boxes cost almost nothing.

    Returns:
        (C, 8), or (C, 10) with confidence; not initialised.
    """
    return np.empty((classes, _COLUMNS if confidence else _COUNT_COLUMNS), np.int64)


def label(
    scores: Any,
    scores_grid: Grid,
    onto: Grid,
    values: NDArray[Value],
    kernels: Kernels,
    world: Affine | None = None,
    gathered: NDArray[np.int64] | None = None,
) -> NDArray[Value]:
    """Give every voxel of a grid the label whose interpolated score is highest.

    Exactly the argmax of float32 trilinear scores (the lowest class wins a tie, NaN never wins),
    without making the full-resolution scores. Voxels more than half a score voxel outside the
    scores get `values[0]`.

    Args:
        scores: (C, D, H, W), C-contiguous float32, float16 or bfloat16; 2…255 classes, class 0
            background. Of the host, or where `kernels` run.
        scores_grid: Where the scores lie.
        onto: Grid of the result.
        values: Label value of each class, (C,); the result has its type.
        kernels: Where to run.
        world: RAS+ of `onto` to RAS+ of `scores_grid`, (4, 4) rigid; identity when absent.
        gathered: A `gather_table` to fill.

    Returns:
        (I, J, K) of `onto`.

    Raises:
        UsageError: `scores` has another shape than its grid.
        DeviceError: The device failed.
        ValueError: The number of classes or of `values` is wrong.
        TypeError: An array has the wrong type or is not C-contiguous.
    """
    _check_shape("scores", scores, scores_grid)
    return _label(kernels.placed(scores), onto, values, onto.index_to(scores_grid, world), kernels, gathered)


def label_features(
    features: NDArray[Any],
    features_grid: Grid,
    targets: Sequence[Target],
    onto: Grid,
    values: NDArray[Value],
    kernels: Kernels,
    world: Affine | None = None,
    gathered: NDArray[np.int64] | None = None,
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
        gathered: A `gather_table` to fill.

    Returns:
        (I, J, K) of `onto`.

    Raises:
        UsageError: `features` has another shape than its grid.
        ValueError: The number of targets, of `values` or of a vector's entries is wrong.
        TypeError: An array has the wrong type or is not C-contiguous.
    """
    _check_shape("features", features, features_grid)
    scores = mask_scores(features, targets, kernels)
    return _label(scores, onto, values, onto.index_to(features_grid, world), kernels, gathered)


def mask_scores(features: Any, targets: Sequence[Target], kernels: Kernels) -> Any:
    """What stands for the scores of features until a kernel makes them, where it needs them.

    Args:
        features: (F, D, H, W), C-contiguous float32 or float16; of the host, or where `kernels` run.
        targets: 2…255 targets with vectors of length F.
        kernels: Where to run.
    """
    vectors = np.array([target.vector for target in targets], np.float32)
    biases = np.array([target.bias for target in targets], np.float32)
    placed = kernels.placed
    return kernels.table.mask_scores(placed(features), placed(vectors), placed(biases))


def relabel_window(
    labels: NDArray[Value],
    window: Window,
    scores: Any,
    scores_grid: Grid,
    onto: Grid,
    values: NDArray[Value],
    kernels: Kernels,
) -> None:
    """Label a part of a grid in place: there the bits of a whole call, all else stays.

    Args:
        labels: (I, J, K) of `onto`, C-contiguous, of the host; overwritten in the window.
        window: Not empty, inside the grid.
        scores: Of `mask_scores`, or as for `label`, where `kernels` run.
        scores_grid: Where the scores lie.
        onto: Grid of the labels.
        values: Label value of each class, (C,).
        kernels: Where to run.

    Raises:
        UsageError: `labels` has another shape than its grid.
        ValueError: The window is empty or reaches outside.
    """
    _check_shape("labels", labels[None], onto)
    table, threads, result = kernels.table, kernels.threads, kernels.placed(labels)
    rows = np.ascontiguousarray(onto.index_to(scores_grid)[:3])
    work = kernels.scratch(table.label_scratch(scores, result, rows, threads))
    table.label_window(scores, result, rows, kernels.placed(values), int(values[0]), work, threads, window)
    if result is not labels:
        labels[...] = kernels.to_host(result)


def _check_shape(name: str, array: NDArray[Any], grid: Grid) -> None:
    """Refuse an array that lies elsewhere than its grid says."""
    if array.shape[1:] != grid.shape:
        raise UsageError(f"{name} have shape {array.shape}, their grid {grid.shape}; they must agree")


def label_into(
    result: Any,
    scores: Any,
    scores_grid: Grid,
    onto: Grid,
    values: NDArray[Value],
    kernels: Kernels,
    world: Affine | None = None,
) -> None:
    """As `label`, into an array where `kernels` run; on a device it does not wait.

    Args:
        result: (I, J, K) of `onto`, C-contiguous, of the type of `values`; overwritten.
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
    _check_shape("scores", scores, scores_grid)
    _label_into(result, kernels.placed(scores), values, onto.index_to(scores_grid, world), kernels, None)


def _label(
    scores: Any,
    onto: Grid,
    values: NDArray[Value],
    matrix: Affine,
    kernels: Kernels,
    gathered: NDArray[np.int64] | None,
) -> NDArray[Value]:
    """Labels of `onto`; `matrix` (4, 4) maps its indices to those of the scores."""
    result = kernels.empty(onto.shape, values.dtype)
    table = None if gathered is None else kernels.placed(gathered)
    _label_into(result, scores, values, matrix, kernels, table)
    if gathered is not None and table is not gathered:
        gathered[...] = kernels.to_host(table)
    labels: NDArray[Value] = kernels.to_host(result)
    return labels


def _label_into(
    result: Any, scores: Any, values: NDArray[Any], matrix: Affine, kernels: Kernels, gathered: Any
) -> None:
    """Everything lies where `kernels` run, but for `values`."""
    table, threads = kernels.table, kernels.threads
    rows = np.ascontiguousarray(matrix[:3])
    work = kernels.scratch(table.label_scratch(scores, result, rows, threads))
    outside = int(values[0]) if len(values) else 0
    table.label(scores, result, rows, kernels.placed(values), outside, work, threads, gathered)
