"""The grids of a recipe: the scan's voxels in the order of the network's axes, and the network's own."""

from __future__ import annotations

import numpy as np

from runtime.bundle import Recipe
from runtime.errors import ImageError
from runtime.stages.label import Window
from runtime.volume import Affine, Grid, Spacing

__all__ = ["cut", "held_axis", "oriented", "resampled"]

_MOST_VOXELS = 1 << 30
_ANISOTROPIC = 3.0
"""Times the others' voxel size, from which an axis is resampled by itself."""


def oriented(grid: Grid, recipe: Recipe) -> Grid:
    """The same voxels with the axes of the network's image.

    Args:
        grid: Of the scan.
        recipe: Says which axes those are.

    Source:
        For letters, which axis is nearest to which direction: `nibabel.orientations.io_orientation`.
    """
    if recipe.axes == "stored":
        order: tuple[int, ...] = recipe.order
        flipped: tuple[bool, ...] = (False, False, False)
    else:
        order, flipped = _lettered(grid.affine, recipe.axes)
    affine = np.eye(4)
    affine[:3, 3] = grid.affine[:3, 3]
    for axis, (source, flip) in enumerate(zip(order, flipped, strict=True)):
        column = grid.affine[:3, source]
        affine[:3, axis] = -column if flip else column
        if flip:
            affine[:3, 3] += column * (grid.shape[source] - 1)
    i, j, k = (grid.shape[source] for source in order)
    return Grid((i, j, k), affine)


def _lettered(affine: Affine, letters: str) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Axis of the scan for each letter, and whether it runs the other way."""
    # The nearest rotation to the axes' directions: for an oblique scan as fair to one axis as to another.
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    u, _, v = np.linalg.svd(directions, full_matrices=False)
    turned = u @ v
    free = np.abs(turned)
    source_of: dict[int, int] = {}
    for source in range(3):
        world = int(np.argmax(free[:, source]))
        source_of[world] = source
        free[world] = -1.0
    order, flipped = [], []
    for letter in letters:
        world, forward = "RASLPI".index(letter) % 3, letter in "RAS"
        order.append(source_of[world])
        flipped.append(bool((turned[world, source_of[world]] > 0) != forward))
    return tuple(order), tuple(flipped)


def cut(grid: Grid, window: Window) -> Grid:
    """A part of a grid as one of its own."""
    first = np.array([low for low, _ in window], np.float64)
    affine: Affine = grid.affine.copy()
    affine[:3, 3] += grid.affine[:3, :3] @ first
    i, j, k = (high - low for low, high in window)
    return Grid((i, j, k), affine)


def resampled(grid: Grid, recipe: Recipe, spacing_mm: tuple[float, float, float]) -> Grid:
    """The network's grid over a scan.

    Args:
        grid: Of the scan, in the network's axes.
        recipe: Says whether both fill the same box or have the same first centre.
        spacing_mm: Wanted voxel size; 0 keeps the scan's. Where the box is to be kept, it is met as closely
            as whole voxels can.

    Raises:
        ImageError: The grid would be absurdly large.

    Source:
        nnU-Net's `compute_new_shape`; MONAI's `compute_shape_offset`.
    """
    old, shape = grid.spacing_mm, np.array(grid.shape)
    wanted = np.where(np.array(spacing_mm) > 0, spacing_mm, old)
    if recipe.resampling == "field":
        sides = np.round(old / wanted * shape)
        sides = np.maximum(sides, 1)
        step = shape / sides  # voxels of the scan
        first = step / 2 - 0.5
    else:
        sides = np.round((shape - 1) * old / wanted + 1)
        step, first = wanted / old, np.zeros(3)
    if not np.prod(sides) <= _MOST_VOXELS:
        text = " x ".join(f"{side:.0f}" for side in sides)
        raise ImageError(f"on the network's grid the scan has {text} voxels; cut it first")
    affine: Affine = grid.affine.copy()
    affine[:3, :3] = grid.affine[:3, :3] * step
    affine[:3, 3] += grid.affine[:3, :3] @ first
    i, j, k = (int(side) for side in sides)
    return Grid((i, j, k), affine)


def held_axis(current_mm: Spacing, other_mm: Spacing) -> int | None:
    """The axis that is resampled by nearest voxels because it is so much coarser than the others.

    Args:
        current_mm: Voxel size before resampling; it decides, if it is anisotropic.
        other_mm: Voxel size afterwards.

    Returns:
        None where none is, or where two are equally coarse.

    Source:
        nnU-Net's `determine_do_sep_z_and_axis`.
    """
    for spacing in (current_mm, other_mm):
        if spacing.max() / spacing.min() > _ANISOTROPIC:
            coarse = np.flatnonzero(spacing == spacing.max())
            return int(coarse[0]) if len(coarse) == 1 else None
    return None
