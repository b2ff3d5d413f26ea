"""Resample an array along its own axes: a matrix product for each of them."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from runtime.errors import UsageError
from runtime.volume import Grid

__all__ = ["axis_positions", "linear_matrix", "nearest_index", "regrid", "spline_matrix"]

_ROUNDING = 1e-6
"""Of positions, in voxels: halfway must be halfway, whatever the geometry's last bits."""
_PADDED = 12
"""Edge voxels repeated before a spline is fitted: 0.268 to this power is below float32's last bit."""


def axis_positions(onto: Grid, source: Grid) -> tuple[NDArray[np.float64], ...]:
    """Where the voxels of a grid lie along each axis of another, in its voxel indices.

    Args:
        onto: The grid to come.
        source: The grid that is there.

    Raises:
        UsageError: The grids' axes do not run along each other.
    """
    matrix = onto.index_to(source)
    aside = matrix[:3, :3] - np.diag(np.diag(matrix[:3, :3]))
    if np.abs(aside).max() * max(onto.shape) > 1e-3:
        raise UsageError("these grids are turned against each other; resample with `prepare`")
    return tuple(np.arange(onto.shape[n]) * matrix[n, n] + matrix[n, 3] for n in range(3))


def nearest_index(length: int, positions: NDArray[np.float64]) -> NDArray[np.intp]:
    """Index of the nearest of `length` voxels, the higher of two; the first or last beyond the border."""
    return np.clip(np.floor(positions + (0.5 + _ROUNDING)), 0, length - 1).astype(np.intp)


def linear_matrix(length: int, positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of `length` voxels at each position, (N, length); edge voxels are repeated."""
    inside = np.clip(positions, 0, length - 1)
    low = np.minimum(np.floor(inside).astype(np.intp), max(length - 2, 0))
    share = inside - low
    rows = np.arange(len(positions))
    matrix = np.zeros((len(positions), length))
    matrix[rows, low] = 1 - share
    matrix[rows, np.minimum(low + 1, length - 1)] += share
    return matrix


def spline_matrix(length: int, positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of `length` voxels in the cubic spline through them, (N, length); edge voxels are repeated.

    Args:
        length: Voxels that are there.
        positions: At most half a voxel outside.

    Source:
        `scipy.ndimage.zoom(order=3, mode="nearest", grid_mode=True)`, which `skimage.transform.resize` calls.
    """
    padded = length + 2 * _PADDED
    # Values to coefficients: (c[n - 1] + 4 c[n] + c[n + 1]) / 6 = v[n], mirrored at the ends.
    bands = np.diag(np.full(padded, 4.0)) + np.diag(np.ones(padded - 1), 1) + np.diag(np.ones(padded - 1), -1)
    bands[0, 1] = bands[-1, -2] = 2.0
    repeated = np.zeros((padded, length))
    repeated[np.arange(padded), np.clip(np.arange(padded) - _PADDED, 0, length - 1)] = 6.0
    coefficients = np.linalg.solve(bands, repeated)
    inside = positions + _PADDED
    low = np.floor(inside).astype(np.intp)
    t = inside - low
    weights = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    return np.asarray(sum((weights[n] / 6)[:, None] * coefficients[low - 1 + n] for n in range(4)))


def regrid(
    values: NDArray[np.float32],
    source: Grid,
    onto: Grid,
    kind: Literal["linear", "spline"],
    held: int | None = None,
) -> NDArray[np.float32]:
    """Resample to a grid whose axes run along those of the source.

    Args:
        values: (I, J, K) on `source`; not changed.
        source: Where they lie.
        onto: The grid to come.
        kind: Splines are kept between the smallest and the largest of what they go through.
        held: An axis along which the nearest voxel is taken; splines then go through one slice each.

    Returns:
        (I, J, K) of `onto`; the same array where both grids have the same voxels.
    """
    positions = axis_positions(onto, source)
    made = values
    for axis in sorted(range(3), key=lambda n: onto.shape[n] / source.shape[n]):
        same = len(positions[axis]) == made.shape[axis]
        if axis == held or (same and np.allclose(positions[axis], np.arange(made.shape[axis]), atol=1e-6)):
            continue
        weigh = spline_matrix if kind == "spline" else linear_matrix
        made = _along(weigh(made.shape[axis], positions[axis]).astype(np.float32), made, axis)
    if made is values and held is None:
        return values
    if kind == "spline" and made is not values:
        _limit(made, values, held)
    if held is not None:
        made = np.take(made, nearest_index(made.shape[held], positions[held]), axis=held)
    return np.ascontiguousarray(made)


def _along(matrix: NDArray[np.float32], values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """A matrix applied to every line along an axis."""
    i, j, k = values.shape
    if axis == 0:
        return np.asarray(matrix @ values.reshape(i, j * k)).reshape(-1, j, k)
    if axis == 1:
        return np.asarray(np.matmul(matrix, values))
    return np.asarray(values.reshape(i * j, k) @ matrix.T).reshape(i, j, -1)


def _limit(made: NDArray[np.float32], values: NDArray[np.float32], held: int | None) -> None:
    """Keep what was made, in place, within what there was: as a whole, or slice by slice along `held`."""
    rest = None if held is None else tuple(n for n in range(3) if n != held)
    low, high = (f(values, axis=rest, keepdims=True) for f in (np.min, np.max))
    np.clip(made, low, high, out=made)
