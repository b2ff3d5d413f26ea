"""Closed-form solids: what "inside" means for an ellipsoid, a tube and a stack of ellipses."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from training.phantom.tables import Row

__all__ = [
    "Float",
    "Points",
    "Stack",
    "Tube",
    "ellipsoid",
    "inside_ellipsoid",
    "smooth_minimum",
]

Float = NDArray[np.float32]
Points = tuple[Float, Float, Float]
"""Coordinates of N points, one (N,) array for each of R, A and S, in millimetres."""


def ellipsoid(
    points: Points,
    centre: tuple[float, float, float],
    semi_axes: tuple[float, float, float],
    power: float = 2.0,
) -> Float:
    """Approximate signed distance to a superellipsoid, negative inside, (N,) mm.

    The distance is measured along the ray from the centre, so it is exact in sign and close to
    the true distance near the surface.
    """
    offsets = [np.abs(values - np.float32(middle)) for values, middle in zip(points, centre, strict=True)]
    length = np.sqrt(sum(offset * offset for offset in offsets)) + np.float32(1e-3)
    scaled = [offset / np.float32(semi) for offset, semi in zip(offsets, semi_axes, strict=True)]
    if power == 2.0:
        level = np.sqrt(sum(value * value for value in scaled))
    else:
        level = sum(value ** np.float32(power) for value in scaled) ** np.float32(1.0 / power)
    return np.asarray(length * (1.0 - 1.0 / np.maximum(level, np.float32(1e-3))), np.float32)


def inside_ellipsoid(
    points: Points, centre: tuple[float, float, float], semi_axes: tuple[float, float, float]
) -> NDArray[np.bool_]:
    """Which points lie inside an ellipsoid, (N,)."""
    total = np.zeros(points[0].shape, np.float32)
    for values, middle, semi in zip(points, centre, semi_axes, strict=True):
        total += ((values - np.float32(middle)) * np.float32(1.0 / semi)) ** 2
    return total < 1.0


def smooth_minimum(first: Float, second: Float, width: float) -> Float:
    """Union of two distances with a rounded seam `width` mm wide.

    Source: the polynomial smooth minimum of I. Quilez, "Smooth minimum" (2013).
    """
    blend = np.maximum(width - np.abs(first - second), 0.0) * np.float32(1.0 / width)
    return np.asarray(np.minimum(first, second) - blend * blend * np.float32(width / 4), np.float32)


@dataclass(frozen=True)
class Tube:
    """A chain of rounded cones.

    Attributes:
        nodes: Axis points, (n, 3) mm, n >= 2.
        radii: Radius at each node, (n,) mm.
    """

    nodes: tuple[tuple[float, float, float], ...]
    radii: tuple[float, ...]

    def box(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper corner, (3,) mm each."""
        nodes, reach = np.array(self.nodes), max(self.radii)
        return nodes.min(axis=0) - reach, nodes.max(axis=0) + reach

    def distance(self, points: Points) -> Float:
        """Approximate signed distance, negative inside, (N,) mm."""
        best = np.full(points[0].shape, np.float32(1e6))
        pairs = list(zip(self.nodes, self.radii, strict=True))
        for (start, radius), (end, end_radius) in pairwise(pairs):
            step = [b - a for a, b in zip(start, end, strict=True)]
            along = sum(
                (values - np.float32(a)) * np.float32(s / sum(c * c for c in step))
                for values, a, s in zip(points, start, step, strict=True)
            )
            along = np.clip(np.asarray(along, np.float32), 0.0, 1.0)
            squared = sum(
                (values - np.float32(a) - along * np.float32(s)) ** 2
                for values, a, s in zip(points, start, step, strict=True)
            )
            taper = np.float32(radius) + along * np.float32(end_radius - radius)
            np.minimum(best, np.sqrt(squared) - taper, out=best)
        return best


@dataclass(frozen=True)
class Stack:
    """Ellipses along one axis, joined by straight interpolation of their parameters.

    Attributes:
        rows: (position, centre, centre, xx, xz, zz), see `training.phantom.tables`.
        axis: 1 (A) or 2 (S): the axis the positions run along.
        growth: Factor on the semi-axes.
    """

    rows: tuple[Row, ...]
    axis: int
    growth: float = 1.0

    def box(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper corner, (3,) mm each."""
        table = np.array(self.rows)
        reach = np.sqrt(table[:, [3, 5]].max(axis=0)) * self.growth
        low, high = np.empty(3), np.empty(3)
        cross = [axis for axis in range(3) if axis != self.axis]
        low[cross], high[cross] = table[:, 1:3].min(axis=0) - reach, table[:, 1:3].max(axis=0) + reach
        low[self.axis], high[self.axis] = table[0, 0], table[-1, 0]
        return low, high

    def inside(self, points: Points) -> NDArray[np.bool_]:
        """Which points lie inside, (N,)."""
        table = np.array(self.rows)
        along = points[self.axis]
        first, second = (points[axis] for axis in range(3) if axis != self.axis)
        centre_1, centre_2, xx, xz, zz = (np.interp(along, table[:, 0], table[:, n]) for n in range(1, 6))
        u, v = first - centre_1, second - centre_2
        form = zz * u * u - 2 * xz * u * v + xx * v * v
        inside = form < (xx * zz - xz * xz) * self.growth**2
        return np.asarray(inside & (along > table[0, 0]) & (along < table[-1, 0]))
