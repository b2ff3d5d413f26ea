"""Where a scan lies in a head: plane, slices, field, bend, and which pictures the runtime makes of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from runtime.language.views import HEIGHTS, MARGIN, PROFILE, SAMPLE_MM
from training.geometry import random_rotation
from training.writer.heads import OUTSIDE, Subject

__all__ = ["Scan", "ScanConfig", "Wave", "draw_scan", "field_of"]

_WAVES = 3
_LEAST_VOXELS = 3

_LEAST_BRAIN = 60
"""Points of the brain that a scan shows: 13 ml."""


@dataclass(frozen=True)
class ScanConfig:
    """How scans vary.

    Attributes:
        planes: How often slices are sagittal, coronal and axial.
        thick: Probability of thick slices.
        near: Share of slice distances near the border between thin and thick.
        partial: Probability that slices cover a part of the head only.
        slab: Probability of a few slices only.
        crop: Probability of a small box.
        stripped: Probability that everything outside the brain is gone.
        rotation_deg: Standard deviation of the head's rotation about each axis.
        scale: Standard deviation of log scale along each axis.
        bend_mm: Largest amplitude of each bending wave.
    """

    planes: tuple[float, float, float] = (0.27, 0.2, 0.53)
    thick: float = 0.55
    near: float = 0.1
    partial: float = 0.2
    slab: float = 0.06
    crop: float = 0.06
    stripped: float = 0.12
    rotation_deg: float = 8.0
    scale: float = 0.06
    bend_mm: float = 3.0


@dataclass(frozen=True)
class Wave:
    """A bend of the head: where a voxel looks is moved by `shift_mm` * sin(`turn` · place + `phase`).

    Attributes:
        shift_mm: (3,) R A S.
        turn: (3,) radians for each mm.
        phase: Radians.
    """

    shift_mm: NDArray[np.float64]
    turn: NDArray[np.float64]
    phase: float


@dataclass(frozen=True)
class Scan:
    """A scan's voxels, with axes nearly R, A, S, as they lie in a head.

    The middle of voxel (i, j, k) is at `matrix` @ (`low_mm` + ((i, j, k) + 1/2) * `spacing_mm`) mm from the
    brain's centre.

    Attributes:
        across: Axis across slices.
        shape: Voxels along each axis.
        spacing_mm: (3,).
        thickness_mm: Of a slice.
        low_mm: (3,), the outer corner of the first voxel.
        matrix: (3, 3).
        waves: How the head is bent.
        stripped: What is outside the brain is gone.
        first: (3,) first voxel of what stands out from the background.
        ends: (3,) one past the last.
        kinds: (N,) tissues of points in it, about as often as they occur.
    """

    across: int
    shape: tuple[int, int, int]
    spacing_mm: NDArray[np.float64]
    thickness_mm: float
    low_mm: NDArray[np.float64]
    matrix: NDArray[np.float64]
    waves: tuple[Wave, ...]
    stripped: bool
    first: NDArray[np.float64]
    ends: NDArray[np.float64]
    kinds: NDArray[np.uint8]

    @property
    def side_mm(self) -> float:
        """Of the square field that every picture shows."""
        return float(((self.ends - self.first) * self.spacing_mm).max()) * (1 + 2 * MARGIN)

    @property
    def middle(self) -> NDArray[np.float64]:
        """Of that field, in voxels, (3,)."""
        return (self.first + self.ends) / 2

    @property
    def places(self) -> list[tuple[int, int]]:
        """Of each picture the axis that is upright on it, and which plane of voxels it shows."""
        reach = self.ends[self.across] - self.first[self.across]
        found = [(self.across, self.first[self.across] + share * reach) for share in HEIGHTS]
        found += [(axis, self.middle[axis]) for axis in range(3) if axis != self.across]
        return [(axis, min(int(place), self.shape[axis] - 1)) for axis, place in found]

    def bend(self, places_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far places (..., 3) in the head are moved."""
        moved = np.zeros_like(places_mm)
        for wave in self.waves:
            moved += np.sin(places_mm @ wave.turn + wave.phase)[..., None] * wave.shift_mm
        return moved


def _spacing(across: int, random: Generator, config: ScanConfig) -> tuple[NDArray[np.float64], float]:
    """Voxel size, and thickness of a slice."""
    fine = float(np.exp(random.uniform(np.log(0.45), np.log(1.25))))
    if random.random() < 0.06:
        fine = float(random.uniform(1.25, 2.3))
    spacing = np.array([fine, fine, fine])
    if random.random() < config.thick:
        step = float(random.uniform(2.5, 3.0) if random.random() < config.near else random.uniform(3.0, 7.0))
    else:
        near = random.random() < config.near
        step = float(random.uniform(2.0, 2.49) if near else max(fine, random.choice([fine, 1.0, 1.2, 1.6])))
    spacing[across] = max(step, fine)
    return spacing, spacing[across] * float(random.uniform(0.65, 1.0))


def _field(
    low: NDArray[np.float64], high: NDArray[np.float64], across: int, random: Generator, config: ScanConfig
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What of the head lies in the scan, in mm, where all of it lies between `low` and `high`."""
    kind = random.random()
    if kind < config.crop:
        side = random.uniform(28, 90) * np.exp(random.uniform(-0.25, 0.25, 3))
        middle = low + (high - low) * random.uniform(0.3, 0.7, 3)
        return middle - side / 2, middle + side / 2
    given = low - random.uniform(-4, 25, 3), high + random.uniform(-4, 25, 3)
    first, last = given[0].copy(), given[1].copy()
    if kind < config.crop + config.slab:
        length = float(random.uniform(0.03, 0.2)) * (high[across] - low[across])
        first[across] = random.uniform(low[across] + 0.2 * (high - low)[across], high[across] - length)
        last[across] = first[across] + length
    elif kind < config.crop + config.slab + config.partial:
        reach = (high - low)[across]
        length = random.uniform(0.45, 0.9) * reach
        first[across] = low[across] + random.uniform(0, 1) * (reach - length)
        last[across] = first[across] + length
    return first, last


def field_of(
    points: NDArray[np.float64], shape: tuple[int, ...], spacing_mm: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """First voxel of the head and one past its last, as `runtime.language.views` finds them.

    Args:
        points: (N, 3) voxel coordinates of what stands out, about 4 mm apart.
        shape: Of the scan.
        spacing_mm: (3,).

    Returns:
        None where nothing is in the scan.
    """
    seen = points[((points >= 0) & (points < shape)).all(1)]
    if len(seen) < _LEAST_VOXELS:
        return None
    first, ends = np.zeros(3), np.zeros(3)
    for axis in range(3):
        step = max(1, round(SAMPLE_MM / spacing_mm[axis]))
        area = np.bincount((seen[:, axis] // step).astype(np.int64)).astype(float)
        planes = np.flatnonzero(area >= PROFILE * area.max())
        first[axis], ends[axis] = planes[0] * step, min((planes[-1] + 1) * step, shape[axis])
    return first, ends


def _waves(random: Generator, config: ScanConfig) -> tuple[Wave, ...]:
    made = []
    for _ in range(_WAVES):
        along = random.standard_normal(3)
        turn = along / np.linalg.norm(along) * 2 * np.pi / random.uniform(70, 180)
        shift = random.uniform(-config.bend_mm, config.bend_mm, 3)
        made.append(Wave(shift, turn, float(random.uniform(0, 2 * np.pi))))
    return tuple(made)


def draw_scan(subject: Subject, random: Generator, config: ScanConfig) -> Scan:
    """Draw a scan; of a head it shows some of the brain."""
    while True:
        across = int(random.choice(3, p=config.planes))
        scale = np.exp(random.normal(0, config.scale, 3)) * np.exp(random.normal(0, config.scale))
        matrix = random_rotation(random, config.rotation_deg) * scale
        spacing, thickness = _spacing(across, random, config)
        inside = ~OUTSIDE[subject.kinds]
        stripped = bool(random.random() < config.stripped) and bool(inside.any())
        shown = inside if stripped else np.ones_like(inside)
        points = subject.points[shown] @ np.linalg.inv(matrix).T
        brain = points[inside[shown]]
        low, high = points.min(0).astype(float), points.max(0).astype(float)
        if len(brain):
            low[2] = max(low[2], brain[:, 2].min() - random.uniform(5, 90))
        first_mm, last_mm = _field(low, high, across, random, config)
        shape = np.maximum(np.round((last_mm - first_mm) / spacing), _LEAST_VOXELS).astype(int)
        in_voxels = (points - first_mm) / spacing
        found = field_of(in_voxels, tuple(shape), spacing)
        in_brain = ((brain >= first_mm) & (brain < last_mm)).all(1).sum()
        if found is None or in_brain < min(_LEAST_BRAIN, len(brain)):
            continue
        i, j, k = (int(n) for n in shape)
        return Scan(
            across=across,
            shape=(i, j, k),
            spacing_mm=spacing,
            thickness_mm=thickness,
            low_mm=first_mm,
            matrix=matrix,
            waves=_waves(random, config),
            stripped=stripped,
            first=found[0],
            ends=found[1],
            kinds=subject.kinds[shown][((in_voxels >= 0) & (in_voxels < shape)).all(1)],
        )
