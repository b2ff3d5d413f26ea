"""Labels on the scanner's voxels from the scores of a network of others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runtime.bundle import Manifest
from runtime.errors import BundleError
from runtime.kernels import Kernels
from runtime.stages.frame import held_axis, oriented
from runtime.stages.label import label, label_features
from runtime.stages.regrid import axis_positions, nearest_index
from runtime.volume import Grid

__all__ = ["label_scores"]


def label_scores(
    scores: NDArray[np.float32],
    grid: Grid,
    onto: Grid,
    values: NDArray[np.uint8],
    manifest: Manifest,
    kernels: Kernels,
) -> NDArray[np.uint8]:
    """Give every voxel of a scan the label whose score is highest there.

    Args:
        scores: (maps, I, J, K), contiguous; scores of the targets, or what their vectors make scores of.
        grid: Where they lie, with the scan's axes in the network's order.
        onto: The scan's grid.
        values: Label value of each target, (T,).
        manifest: Targets, voxel size, and the recipe, which says how scores are interpolated.
        kernels: Where to run.

    Returns:
        (I, J, K) of `onto`; 0 outside of what the network saw.

    Raises:
        BundleError: There is no recipe.
    """
    recipe = manifest.recipe
    if recipe is None:
        raise BundleError(f"{manifest.name} has no recipe to read scores by; label its features")
    whole = oriented(onto, recipe)
    wanted = np.array(manifest.grid.spacing_mm)
    wanted = np.where(wanted > 0, wanted, whole.spacing_mm)
    held = held_axis(wanted, whole.spacing_mm) if recipe.resampling == "field" else None
    along = None if held is None else axis_positions(whole, grid)[held]
    if held is None or along is None or _whole_steps(along):
        return _label(scores, grid, onto, values, manifest, kernels)
    labels = _label(scores, grid, _slices(whole, grid, held), values, manifest, kernels)
    taken = np.take(labels, nearest_index(grid.shape[held], along), axis=held)
    beyond = (along < -0.5) | (along > grid.shape[held] - 0.5)
    taken[tuple(beyond if n == held else slice(None) for n in range(3))] = values[0]
    return _returned(taken, whole, onto)


def _whole_steps(positions: NDArray[np.float64]) -> bool:
    """Whether every position is that of a voxel, so that nearest and linear interpolation are one."""
    return bool(np.abs(positions - np.round(positions)).max() < 1e-6)


def _label(
    scores: NDArray[np.float32],
    grid: Grid,
    onto: Grid,
    values: NDArray[np.uint8],
    manifest: Manifest,
    kernels: Kernels,
) -> NDArray[np.uint8]:
    if manifest.targets[0].vector:
        return label_features(scores, grid, manifest.targets, onto, values, kernels)
    return label(scores, grid, onto, values, kernels)


def _slices(whole: Grid, grid: Grid, held: int) -> Grid:
    """The scan's grid with the slices of the scores along one axis."""
    matrix = grid.index_to(whole)
    affine = whole.affine.copy()
    affine[:3, held] = whole.affine[:3, held] * matrix[held, held]
    affine[:3, 3] += whole.affine[:3, held] * matrix[held, 3]
    shape = [grid.shape[n] if n == held else whole.shape[n] for n in range(3)]
    return Grid((shape[0], shape[1], shape[2]), affine)


def _returned(labels: NDArray[np.uint8], whole: Grid, onto: Grid) -> NDArray[np.uint8]:
    """Labels with the axes of the scan again."""
    turn = np.round(whole.index_to(onto)[:3, :3]).astype(int)
    order = [int(np.flatnonzero(row)[0]) for row in turn]  # axis of `whole` along each of the scan's
    flipped = tuple(axis for axis in range(3) if turn[axis, order[axis]] < 0)
    return np.ascontiguousarray(np.flip(labels.transpose(order), flipped))
