"""Everything inside the skull: fluid first, then hemispheres, cerebellum and deep structures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.phantom.folding import Cerebellum, Hemisphere
from training.phantom.parameters import HeadParameters
from training.phantom.shapes import Points, Stack, Tube, inside_ellipsoid
from training.phantom.tables import ALONG_S, STACKS

__all__ = ["Brain"]

_FLUID = 24
_ORDER: tuple[tuple[str, int, int], ...] = (
    ("ventral_diencephalon", 28, 60),
    ("brain_stem", 16, 16),
    ("thalamus", 10, 49),
    ("putamen", 12, 51),
    ("pallidum", 13, 52),
    ("caudate", 11, 50),
    ("accumbens", 26, 58),
    ("lateral_ventricle", 4, 43),
    ("hippocampus", 17, 53),
    ("amygdala", 18, 54),
    ("inferior_ventricle", 5, 44),
    ("third_ventricle", 14, 14),
    ("fourth_ventricle", 15, 15),
)
"""Structure, its left and its right label, in the order they are painted."""

_CALLOSUM = Tube(
    (
        (0.0, -22.0, 4.0),
        (0.0, -20.0, 11.0),
        (0.0, -11.0, 18.0),
        (0.0, 4.0, 21.5),
        (0.0, 20.0, 21.0),
        (0.0, 35.0, 16.5),
        (0.0, 44.0, 9.0),
        (0.0, 46.0, 1.0),
        (0.0, 39.0, -5.0),
    ),
    (4.8, 3.2, 2.4, 2.6, 2.8, 3.2, 4.0, 3.0, 1.6),
)
_CORE = ((14.0, 12.0, 2.0), (23.0, 38.0, 17.0))
"""Around the basal ganglia: white matter wherever no structure is, never cortex."""


@dataclass(frozen=True)
class Brain:
    """The shapes of one brain in the average head's frame."""

    hemispheres: dict[int, Hemisphere]
    cerebella: dict[int, Cerebellum]
    stacks: dict[str, Stack]

    @staticmethod
    def of(parameters: HeadParameters) -> Brain:
        """Build the shapes from the parameters."""
        stacks = {}
        for name, rows in STACKS.items():
            ventricle = name.endswith("ventricle")
            growth = parameters.ventricle_size if ventricle else parameters.structure_size
            if name == "brain_stem":
                growth = 1.0
            stacks[name] = Stack(rows, 2 if name in ALONG_S else 1, growth)
        return Brain(
            {side: Hemisphere.of(parameters, side) for side in (-1, 1)},
            {side: Cerebellum.of(parameters, side) for side in (-1, 1)},
            stacks,
        )

    def paint(self, points: Points) -> NDArray[np.int16]:
        """Label points that lie inside the skull.

        Args:
            points: Coordinates in the average head's frame.
        """
        x, y, z = points
        labels = np.full(x.shape, _FLUID, np.int16)
        for side in (-1, 1):
            chosen = np.flatnonzero(x * side >= 0)
            if chosen.size:
                local = (x[chosen] * np.float32(side), y[chosen], z[chosen])
                labels[chosen] = self._paint_side(local, side)
        # The fornix's roof and the callosum join the sides.
        near = np.flatnonzero((np.abs(x) < 14) & (y > -30) & (y < 52) & (z > -8) & (z < 26))
        if near.size:
            flat = (np.zeros(near.size, np.float32), y[near], z[near])
            bridge = near[_CALLOSUM.distance(flat) < 0]
            labels[bridge] = np.where(x[bridge] < 0, 2, 41)
        for name, left, right in _ORDER:
            self._paint_stack(name, (left, right), points, labels)
        return labels

    def _paint_side(self, local: Points, side: int) -> NDArray[np.int16]:
        white, cortex = (2, 3) if side < 0 else (41, 42)
        cerebellar_white, cerebellar_cortex = (7, 8) if side < 0 else (46, 47)
        labels = np.full(local[0].shape, _FLUID, np.int16)

        half = self.cerebella[side]
        low = np.flatnonzero((local[2] < -8) & (local[1] < -5))
        if low.size:
            part = _take(local, low)
            depth = -half.hull(part)
            inner, fluid = half.tissue(part, depth)
            tissue = np.where(inner, cerebellar_white, np.where(fluid, _FLUID, cerebellar_cortex))
            labels[low] = np.where(depth > 0, tissue, _FLUID)
            # Peduncles tie the cerebellum to the brain stem.
            peduncle = inside_ellipsoid(part, (13.5, -14.0, -36.0), (7.0, 13.0, 8.5))
            labels[low[peduncle]] = cerebellar_white

        sphere = self.hemispheres[side]
        depth = -sphere.hull(local)
        inside = np.flatnonzero(depth > 0)
        if inside.size == 0:
            return labels
        labels[inside] = white
        part, below = _take(local, inside), depth[inside]
        core = inside_ellipsoid(part, *_CORE)
        outer = np.flatnonzero((below < sphere.depth_mm * 1.25 + sphere.cortex_mm + 10) & ~core)
        inside, part, below = inside[outer], _take(part, outer), below[outer]
        gap = sphere.sulci(part, below) - sphere.sulcus_mm * (0.7 + 1.1 * np.exp(below * np.float32(-0.4)))
        labels[inside[(below < sphere.cortex_mm) | (gap < sphere.cortex_mm)]] = cortex
        labels[inside[gap < 0]] = _FLUID
        return labels

    def _paint_stack(
        self, name: str, values: tuple[int, int], points: Points, labels: NDArray[np.int16]
    ) -> None:
        stack = self.stacks[name]
        paired = values[0] != values[1]
        x = np.abs(points[0]) if paired else points[0]
        local: Points = (x, points[1], points[2])
        low, high = stack.box()
        for axis in range(3):
            if local[axis].max() < low[axis] or local[axis].min() > high[axis]:
                return
        near = np.ones(x.shape, bool)
        for axis in range(3):
            near &= (local[axis] > low[axis]) & (local[axis] < high[axis])
        chosen = np.flatnonzero(near)
        if chosen.size == 0:
            return
        chosen = chosen[stack.inside(_take(local, chosen))]
        labels[chosen] = np.where(points[0][chosen] < 0, values[0], values[1])


def _take(points: Points, chosen: NDArray[np.intp]) -> Points:
    return points[0][chosen], points[1][chosen], points[2][chosen]
