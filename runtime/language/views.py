"""What the vision network sees of a scan: small pictures, the same however the voxels are stored.

Only voxels and their affine are looked at, no tag. Training makes its pictures with this very code.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ImageError
from runtime.volume import Affine, Spacing, Volume

__all__ = ["PLANES", "VIEWS", "Plane", "looks_like_ct", "sheet", "slice_axis", "slice_plane", "views"]
__all__ += ["CT_WINDOW_HU", "HEIGHTS", "MARGIN", "MR_FOREGROUND", "PROFILE", "SAMPLE_MM", "SHEET"]

Plane = Literal["sagittal", "coronal", "axial"]
"""Of a picture; in the order of the world axis that stands upright on it: R, A, S."""

PLANES: tuple[Plane, ...] = get_args(Plane)

VIEWS = 6
"""Four slices, and two pictures across all slices."""

HEIGHTS = (0.30, 0.45, 0.60, 0.72)
"""Where the slices lie in the head's extent, from its right, back or lower end."""

SHEET = 3
"""Pictures in a row of a sheet."""

_EQUAL = 1.01
"""Spacings within this ratio are equal: headers round."""

SAMPLE_MM = 4.0
"""Between the samples that say where the head is."""

_MOST_SAMPLES = 96
"""Along each axis."""

_AIR_HU, _LEAST_AIR = -500.0, 0.01
_CT_FOREGROUND_HU = -300.0

CT_WINDOW_HU = (-100.0, 200.0)
"""What becomes 0 and 1."""

MR_FOREGROUND = 0.15
"""Of the 99th percentile of all samples."""

PROFILE = 0.05
"""Planes with less than this share of the fullest plane's foreground are no part of the head."""

MARGIN = 0.04
"""Around the foreground, of its longest side."""


@dataclass(frozen=True)
class _Window:
    """Stored values to brightness: `stored * slope + intercept`, clipped to 0…1."""

    slope: float
    intercept: float

    def __call__(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        values = np.nan_to_num(stored.astype(np.float64) * self.slope + self.intercept)
        return np.clip(values, 0, 1).astype(np.float32)


def slice_axis(volume: Volume) -> int:
    """The array axis across slices: that of the largest spacing; of equal ones, the first."""
    spacing = volume.spacing_mm
    return min(axis for axis in range(3) if spacing[axis] * _EQUAL >= spacing.max())


def slice_plane(volume: Volume) -> Plane:
    """The anatomical plane that its slices are nearest to."""
    return PLANES[_world_axes(volume.affine)[slice_axis(volume)]]


def looks_like_ct(volume: Volume) -> bool:
    """Whether values look like Hounsfield units: some of them are air, far below zero."""
    voxels, spacing = _in_world_order(volume)
    return _holds_air(_rescaled(volume, voxels[_samples(_steps(voxels.shape, spacing))]))


def views(volume: Volume, size: int) -> NDArray[np.float32]:
    """Pictures of a scan of a head.

    Four slices at 30, 45, 60 and 72 % of the head, then the two middle planes across the slices, in the
    order of `PLANES`. All show the same square field, centred on the head. Axial: front up, patient's left
    on the right; coronal: top up, patient's left on the right; sagittal: top up, front on the left. A voxel
    is a block of one brightness, a pixel the mean of what it covers. Values that look like Hounsfield
    units: -100 to 200 HU become 0 to 1; others: 0 to the head's 99.5th percentile.

    Args:
        volume: The scan.
        size: Pixels along a side.

    Returns:
        (VIEWS, size, size) float32, 0 to 1.

    Raises:
        ImageError: Nothing stands out from the background.
    """
    across = _world_axes(volume.affine)[slice_axis(volume)]
    voxels, spacing = _in_world_order(volume)
    steps = _steps(voxels.shape, spacing)
    low, high, window = _head(volume, voxels[_samples(steps)], steps)
    ends = np.minimum(high, voxels.shape)
    middle, side = (low + ends) / 2, float(((ends - low) * spacing).max()) * (1 + 2 * MARGIN)
    weights = [
        _weights(n, mm, centre, side, size)
        for n, mm, centre in zip(voxels.shape, spacing, middle, strict=True)
    ]
    heights = [(across, low[across] + share * (ends[across] - low[across])) for share in HEIGHTS]
    heights += [(axis, middle[axis]) for axis in range(3) if axis != across]
    pictures = [_picture(voxels, axis, int(place), weights, window) for axis, place in heights]
    return np.stack(pictures)


def sheet(pictures: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Pictures of `views` on one, for models that look at a picture at a time.

    Two rows of three, and a black row below: a square, since some models stretch what is none.

    Args:
        pictures: (VIEWS, size, size), 0 to 1.

    Returns:
        (3 size, 3 size, 3) uint8, red, green and blue alike.
    """
    size = pictures.shape[1]
    made = np.zeros((SHEET * size, SHEET * size), np.uint8)
    for number, picture in enumerate(pictures):
        row, column = divmod(number, SHEET)
        made[row * size : (row + 1) * size, column * size : (column + 1) * size] = np.round(picture * 255)
    return np.repeat(made[:, :, np.newaxis], 3, axis=2)


def _world_axes(affine: Affine) -> tuple[int, ...]:
    """World axis that each array axis is nearest to; each is taken once."""
    cosines = np.abs(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
    return max(
        itertools.permutations(range(3)),
        key=lambda order: float(np.round(sum(cosines[order[axis], axis] for axis in range(3)), 6)),
    )


def _in_world_order(volume: Volume) -> tuple[NDArray[Any], Spacing]:
    """The voxels seen with axes nearly R, A, S; nothing is copied."""
    world = _world_axes(volume.affine)
    order = [world.index(axis) for axis in range(3)]
    turned = tuple(slice(None, None, -1 if volume.affine[axis, order[axis]] < 0 else 1) for axis in range(3))
    return volume.voxels.transpose(order)[turned], volume.spacing_mm[order]


def _steps(shape: tuple[int, ...], spacing_mm: Spacing) -> tuple[int, ...]:
    """Voxels between samples, along each axis."""
    wanted = np.minimum(np.maximum(np.round(SAMPLE_MM / spacing_mm), 1), shape)
    least = np.ceil(np.array(shape) / _MOST_SAMPLES)
    return tuple(int(step) for step in np.maximum(wanted, least))


def _samples(steps: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(step // 2, None, step) for step in steps)


def _rescaled(volume: Volume, samples: NDArray[Any]) -> NDArray[np.float64]:
    """Values of some voxels; 0 where there is none."""
    values: NDArray[np.float64] = samples.astype(np.float64) * volume.slope + volume.intercept
    values[~np.isfinite(values)] = 0
    return values


def _holds_air(values: NDArray[np.float64]) -> bool:
    return bool(np.mean(values <= _AIR_HU) >= _LEAST_AIR)


def _head(
    volume: Volume, samples: NDArray[Any], steps: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64], _Window]:
    """First voxel of the head and one past its last, (3,) each, and how bright it is.

    Raises:
        ImageError: Nothing stands out from the background.
    """
    values = _rescaled(volume, samples)
    is_ct = _holds_air(values)
    threshold = _CT_FOREGROUND_HU if is_ct else MR_FOREGROUND * np.percentile(values, 99)
    foreground = values > threshold
    if values.max() == values.min() or not foreground.any() or (not is_ct and threshold <= 0):
        raise ImageError("nothing stands out from the background of this scan; give a scan of a head")
    low, high = np.zeros(3), np.zeros(3)
    for axis in range(3):
        area = foreground.sum(axis=tuple(n for n in range(3) if n != axis))
        planes = np.flatnonzero(area >= PROFILE * area.max())
        low[axis], high[axis] = planes[0] * steps[axis], (planes[-1] + 1) * steps[axis]
    dark, bright = CT_WINDOW_HU if is_ct else (0.0, float(np.percentile(values[foreground], 99.5)))
    return low, high, _Window(volume.slope / (bright - dark), (volume.intercept - dark) / (bright - dark))


def _weights(voxels: int, spacing_mm: float, centre: float, side_mm: float, size: int) -> NDArray[np.float32]:
    """Share of each voxel in each pixel along one axis, (size, voxels); outside the scan lies 0.

    Args:
        voxels: How many there are.
        spacing_mm: Between them.
        centre: Of the field, in voxels from the outer face of the first.
        side_mm: Of the field.
        size: Pixels.
    """
    edges = centre + (np.arange(size + 1) / size - 0.5) * side_mm / spacing_mm
    faces = np.arange(voxels)
    covered = np.minimum(edges[1:, None], faces + 1) - np.maximum(edges[:-1, None], faces)
    return np.asarray(np.maximum(covered, 0) / (edges[1] - edges[0]), np.float32)


def _picture(
    voxels: NDArray[Any], axis: int, place: int, weights: list[NDArray[np.float32]], window: _Window
) -> NDArray[np.float32]:
    """One plane of R, A, S voxels, upright to `axis`, as it is shown."""
    across, up = [other for other in range(3) if other != axis]
    plane = window(np.ascontiguousarray(np.moveaxis(voxels, axis, 0)[place]))
    shown = (weights[up] @ (plane.T @ weights[across].T))[::-1, ::-1]
    return np.ascontiguousarray(shown)
