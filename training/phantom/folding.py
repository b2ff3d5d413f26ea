"""The folded sheets of the brain: gyri of a hemisphere, folia of the cerebellum.

Both are right-handed (x >= 0); the left side is the mirror image with its own phases.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.phantom.parameters import HeadParameters
from training.phantom.shapes import Float, Points, ellipsoid, smooth_minimum

__all__ = ["Cerebellum", "Hemisphere", "tentorium"]

_CENTRE = (27.0, 0.0, 10.0)
_SEMI_AXES = (36.0, 79.0, 50.0)
_WAVES = 9


def tentorium(points: Points) -> Float:
    """Height of the tent between cerebrum and cerebellum, (N,) mm along S."""
    x, y, _ = points
    return np.asarray(-9.5 - 0.35 * np.abs(x) + 0.25 * np.minimum(y + 40.0, 0.0), np.float32)


def _step(values: Float, at: float, width: float) -> Float:
    scaled = np.clip((values - np.float32(at)) * np.float32(1.0 / width) + 0.5, 0.0, 1.0)
    return np.asarray(scaled * scaled * (3.0 - 2.0 * scaled), np.float32)


@dataclass(frozen=True)
class Hemisphere:
    """One cerebral hemisphere.

    Attributes:
        vectors: Wave vectors of the folding, (n, 3) rad/mm.
        phases: Their phases, (n,) rad.
        sulcus_mm: Half width of a sulcus.
        cortex_mm: Thickness of the cortex.
        depth_mm: Mean depth of a sulcus.
        shrink_mm: How far the surface lies below the average.
    """

    vectors: NDArray[np.float64]
    phases: NDArray[np.float64]
    sulcus_mm: float
    cortex_mm: float
    depth_mm: float
    shrink_mm: float

    @staticmethod
    def of(parameters: HeadParameters, side: int) -> Hemisphere:
        """Build one side: -1 is left, 1 is right."""
        draw = np.random.default_rng([parameters.seed, 1])
        vectors = draw.normal(size=(_WAVES, 3))
        vectors *= 2 * np.pi / parameters.gyral_wavelength_mm / np.linalg.norm(vectors, axis=1)[:, None]
        phases = draw.uniform(0, 2 * np.pi, _WAVES)
        phases = phases + side * parameters.asymmetry * draw.uniform(-0.6, 0.6, _WAVES)
        return Hemisphere(
            vectors,
            phases,
            parameters.sulcus_mm,
            parameters.cortex_mm,
            parameters.gyral_depth_mm,
            parameters.subarachnoid_mm - 2.0,
        )

    def hull(self, points: Points) -> Float:
        """Approximate signed distance to the smooth envelope, negative inside, (N,) mm."""
        x, y, z = points
        whole = ellipsoid(points, (0.0, 0.0, 7.0), (65.5, 80.5, 56.0), 2.25)
        front = _step(y, 27.0, 12.0)
        back = _step(y, -22.0, 14.0)
        floor = (1 - back) * tentorium(points) + back * (-9.0 + front * (-15.0 + 0.10 * np.abs(x)))
        shrink = np.float32(self.shrink_mm)
        falx = 1.2 + 0.2 * shrink - x
        main = np.maximum(np.maximum(whole + shrink, floor + 1.0 - z), falx)
        pole = ellipsoid(points, (38.0, 18.0, -24.0), (23.5, 27.0, 19.0), 2.2)
        lobe = ellipsoid(points, (43.0, -12.0, -19.0), (21.0, 38.0, 21.0), 2.2)
        lobe = np.maximum(lobe, tentorium(points) + 1.0 - z)
        temporal = smooth_minimum(pole, lobe, 6.0)
        return smooth_minimum(np.asarray(main, np.float32), temporal + np.float32(0.7) * shrink, 4.0)

    def _bends(self, q: list[Float]) -> list[tuple[Float, Float, float]]:
        return [(q[axis], q[axis - 1], float(self.phases[axis])) for axis in range(3)]

    def sulci(self, points: Points, depth: Float) -> Float:
        """Distance to the middle of the nearest sulcus, (N,) mm.

        A sulcus is a sheet where a sum of plane waves, taken at the point's projection from the
        hemisphere's centre onto its envelope, is zero: sheets stand upright on the surface.

        Args:
            points: Right-handed coordinates.
            depth: Distance below the envelope, (N,) mm.
        """
        offsets = [
            (values - np.float32(c)) / np.float32(a)
            for values, c, a in zip(points, _CENTRE, _SEMI_AXES, strict=True)
        ]
        level = np.sqrt(sum(offset * offset for offset in offsets)) + np.float32(0.05)
        outward = 0.85 / level + np.float32(0.15)
        q = [o * outward * np.float32(a) for o, a in zip(offsets, _SEMI_AXES, strict=True)]
        bend = np.float32(0.12 * 2 * np.pi / float(np.linalg.norm(self.vectors[0])))
        q = [a + bend * np.sin(b / np.float32(5.5) + np.float32(shift)) for a, b, shift in self._bends(q)]
        value = np.zeros(level.shape, np.float32)
        slopes = [np.zeros(level.shape, np.float32) for _ in range(3)]
        for vector, phase in zip(self.vectors.astype(np.float32), self.phases, strict=True):
            angle = q[0] * vector[0] + q[1] * vector[1] + q[2] * vector[2] + np.float32(phase)
            value += np.sin(angle)
            wave = np.cos(angle)
            for slope, component in zip(slopes, vector, strict=True):
                slope += wave * component
        normal = [o / np.float32(a) for o, a in zip(offsets, _SEMI_AXES, strict=True)]
        squared = sum(n * n for n in normal) + np.float32(1e-9)
        radial = sum(s * n for s, n in zip(slopes, normal, strict=True))
        tangent = sum(s * s for s in slopes) - radial * radial / squared
        steepness = float(np.sqrt((self.vectors**2).sum() / 2))
        sheet = np.abs(value) / np.sqrt(np.maximum(tangent, 0.0) + np.float32(0.3 * steepness) ** 2)
        reach = np.float32(self.depth_mm) * (1.0 + 0.25 * np.sin(q[1] / 13.0 + q[2] / 17.0 + self.phases[0]))
        beyond = np.maximum(depth - reach, 0.0)
        sheet = np.sqrt((sheet / outward) ** 2 + beyond * beyond)
        return np.asarray(np.minimum(sheet, _sylvian(points)), np.float32)


def _sylvian(points: Points) -> Float:
    """Distance to the lateral fissure and the sheet of fluid over the insula, (N,) mm."""
    x, y, z = points
    height = (
        -7.0
        + (22.0 - y) * np.float32(0.28)
        + 2.5 * np.sin(y * np.float32(0.16)) * np.sin(x * np.float32(0.12))
    )
    beyond = np.maximum(np.maximum(-28.0 - y, 38.0 - x), 0.0)
    fissure = np.sqrt((z - height) ** 2 * np.float32(0.93) + beyond * beyond)
    past = np.maximum(np.sqrt((y - 10.0) ** 2 + (1.8 * (z + 1.0)) ** 2) - 20.0, 0.0)
    insula = np.sqrt((x - 38.5) ** 2 + past * past)
    return np.asarray(np.minimum(fissure, insula) - 0.6, np.float32)


@dataclass(frozen=True)
class Cerebellum:
    """One half of the cerebellum."""

    phase: float

    @staticmethod
    def of(parameters: HeadParameters, side: int) -> Cerebellum:
        """Build one side: -1 is left, 1 is right."""
        draw = np.random.default_rng([parameters.seed, 2])
        phase, change = draw.uniform(0, 6), draw.uniform(-1, 1)
        return Cerebellum(float(phase + side * parameters.asymmetry * change))

    def hull(self, points: Points) -> Float:
        """Approximate signed distance, negative inside, (N,) mm."""
        half = ellipsoid(points, (22.5, -41.0, -40.0), (27.5, 27.5, 21.5), 2.2)
        vermis = ellipsoid(points, (0.0, -42.0, -35.0), (14.0, 24.0, 22.0))
        both = smooth_minimum(half, vermis, 5.0)
        return np.asarray(np.maximum(both, points[2] - tentorium(points) + 1.2), np.float32)

    def tissue(self, points: Points, depth: Float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which points are white matter and which are fluid between folia, (N,) each."""
        x, y, z = points
        core = ellipsoid(points, (15.5, -30.5, -36.0), (21.0, 17.5, 7.5))
        angle = np.arctan2(z + 37.0, -(y + 16.0)) + 0.004 * x
        fold = np.sin(angle * np.float32(26.0) + np.float32(0.12) * x + np.float32(self.phase))
        branch = (fold > 0.75) & (depth > 4.5) & (core < 11.0)
        white = (core < 0) | (branch & (core < 6.0 + 3.0 * np.sin(x * np.float32(0.3))))
        fluid = (fold < -0.97) & (depth < 6.0)
        return np.asarray(white), np.asarray(fluid)
