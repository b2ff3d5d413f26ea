"""World-aligned cuts through images and label maps, whatever their own axes: the pixels of a preview."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.volume import Affine, Labels, Volume

__all__ = [
    "PLANES",
    "Plane",
    "View",
    "centre_of",
    "content_box",
    "cut_labels",
    "cut_volume",
    "display_window",
]

_LOOKED_AT_VOXELS = 250_000
"""About how many voxels are looked at to find a window, the head and the middle of the labels."""


@dataclass(frozen=True)
class Plane:
    """How a cut lies in the patient; radiological convention, RAS axes 0, 1, 2.

    Attributes:
        name: Axial, coronal or sagittal.
        across: World axis that runs from right to left of the picture (decreasing to the right).
        down: World axis that decreases downwards.
        through: World axis perpendicular to the cut.
        letters: At the left, right, top and bottom edge.
    """

    name: str
    across: int
    down: int
    through: int
    letters: tuple[str, str, str, str]


PLANES = (
    Plane("axial", 0, 1, 2, ("R", "L", "A", "P")),
    Plane("coronal", 0, 2, 1, ("R", "L", "S", "I")),
    Plane("sagittal", 1, 2, 0, ("A", "P", "S", "I")),
)


@dataclass(frozen=True)
class View:
    """What all panels show.

    Attributes:
        centre_mm: RAS point that every cut goes through, (3,).
        low_mm: Smallest RAS coordinates shown, (3,).
        high_mm: Largest RAS coordinates shown, (3,).
        pixels_per_mm: Scale of the picture.
    """

    centre_mm: NDArray[np.float64]
    low_mm: NDArray[np.float64]
    high_mm: NDArray[np.float64]
    pixels_per_mm: float

    def size(self, plane: Plane) -> tuple[int, int]:
        """Rows and columns of a panel."""
        extent = np.ceil((self.high_mm - self.low_mm) * self.pixels_per_mm).astype(int)
        return max(1, int(extent[plane.down])), max(1, int(extent[plane.across]))

    def pixel_to_world(self, plane: Plane) -> Affine:
        """Map (row, column, 0, 1) of a panel to RAS millimetres, (4, 4)."""
        step_mm = 1.0 / self.pixels_per_mm
        matrix = np.zeros((4, 4))
        matrix[plane.down, 0] = matrix[plane.across, 1] = -step_mm
        matrix[plane.through, 2] = matrix[3, 3] = 1.0
        matrix[plane.down, 3] = self.high_mm[plane.down] - step_mm / 2
        matrix[plane.across, 3] = self.high_mm[plane.across] - step_mm / 2
        matrix[plane.through, 3] = self.centre_mm[plane.through]
        return matrix


def cut_labels(labels: Labels, plane: Plane, view: View) -> NDArray[np.uint8]:
    """Label values on a plane, nearest neighbour, 0 outside; (rows, columns) uint8."""
    index = np.linalg.inv(labels.affine) @ view.pixel_to_world(plane)
    rows, columns = view.size(plane)
    nearest = np.floor(_positions(index, rows, columns) + 0.5).astype(np.intp)
    limits = np.array(labels.voxels.shape)[:, np.newaxis, np.newaxis]
    inside = ((nearest >= 0) & (nearest < limits)).all(axis=0)
    i, j, k = np.clip(nearest, 0, limits - 1)
    return np.where(inside, labels.voxels[i, j, k], 0).astype(np.uint8)


def cut_volume(volume: Volume, world: Affine | None, plane: Plane, view: View) -> NDArray[np.float32]:
    """Image values on a plane, trilinear, NaN outside the image; (rows, columns) float32.

    Args:
        volume: The image.
        world: RAS+ of the labels to RAS+ of `volume`, (4, 4); identity when absent.
        plane: Which cut.
        view: Where, and how large.
    """
    to_world = view.pixel_to_world(plane)
    moved = to_world if world is None else world @ to_world
    rows, columns = view.size(plane)
    position = _positions(np.linalg.inv(volume.affine) @ moved, rows, columns)
    limits = np.array(volume.voxels.shape)[:, np.newaxis, np.newaxis]
    inside = ((position >= -0.5) & (position <= limits - 0.5)).all(axis=0)
    position = np.clip(position, 0, limits - 1)
    lower = np.minimum(position.astype(np.intp), np.maximum(limits - 2, 0))
    upper = np.minimum(lower + 1, limits - 1)
    weight = (position - lower).astype(np.float32)
    total = np.zeros((rows, columns), np.float32)
    for corner in range(8):
        pick = [(corner >> axis) & 1 for axis in range(3)]
        i, j, k = (upper[axis] if pick[axis] else lower[axis] for axis in range(3))
        parts = [weight[axis] if pick[axis] else 1 - weight[axis] for axis in range(3)]
        total += parts[0] * parts[1] * parts[2] * volume.voxels[i, j, k].astype(np.float32)
    values = total * np.float32(volume.slope) + np.float32(volume.intercept)
    return np.asarray(np.where(inside, values, np.float32(np.nan)))


def display_window(volume: Volume, is_ct: bool) -> tuple[float, float]:
    """Values shown as black and white: the brain window for CT, percentiles of the head else."""
    if is_ct:
        return -10.0, 90.0  # brain window: level 40 HU, width 100 HU
    values = _thinned(volume)[0]
    head = values[values > _threshold(values)]
    if head.size == 0:
        return float(values.min()), float(values.min()) + 1.0
    top = float(np.percentile(head, 97))  # fat, brighter than brain on T1, may saturate
    low = min(0.0, float(values.min()))
    return low, max(top, low + 1e-6)


def content_box(
    volume: Volume, world: Affine | None, is_ct: bool, margin_mm: float = 9.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Smallest and largest RAS coordinates (of the labels' world) of what is not air, (3,) each."""
    values, step = _thinned(volume)
    found = np.argwhere(values > (-300.0 if is_ct else _threshold(values)))
    if len(found) == 0:
        found = np.array([[0, 0, 0], np.array(values.shape) - 1])
    back = np.eye(4) if world is None else np.linalg.inv(world)
    matrix = back @ volume.affine
    places = (found * step) @ matrix[:3, :3].T + matrix[:3, 3]
    # Single bright voxels of noise or a table must not widen the picture.
    low_mm, high_mm = np.percentile(places, (0.2, 99.8), axis=0)
    return low_mm - margin_mm, high_mm + margin_mm


def centre_of(labels: Labels, table: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """The middle of the chosen label values in RAS millimetres, (3,); None when there is no voxel.

    Of several separate pieces the cuts must show one, not the gap between them, so each
    coordinate is moved to the nearest plane that has at least half as many voxels as the fullest.
    """
    found = np.flatnonzero(table[labels.voxels.ravel()]) if table.any() else np.empty(0, np.intp)
    if len(found) == 0:
        return None
    found = found[:: max(1, len(found) // _LOOKED_AT_VOXELS)]
    index = np.stack(np.unravel_index(found, labels.voxels.shape), axis=-1)
    places = index @ labels.affine[:3, :3].T + labels.affine[:3, 3]
    step_mm = max(1.0, float(labels.grid.spacing_mm.max()))
    centre = np.asarray(places.mean(axis=0))
    for axis in range(3):
        bins = np.round((places[:, axis] - centre[axis]) / step_mm).astype(np.intp)
        counts = np.bincount(bins - bins.min())
        full = np.flatnonzero(2 * counts >= counts.max()) + bins.min()
        centre[axis] += step_mm * full[np.abs(full).argmin()]
    return centre


def _positions(index: Affine, rows: int, columns: int) -> NDArray[np.float64]:
    """Voxel positions of all pixels, (3, rows, columns)."""
    row = np.arange(rows)[np.newaxis, :, np.newaxis] * index[:3, 0, np.newaxis, np.newaxis]
    column = np.arange(columns)[np.newaxis, np.newaxis, :] * index[:3, 1, np.newaxis, np.newaxis]
    return np.asarray(row + column + index[:3, 3, np.newaxis, np.newaxis])


def _thinned(volume: Volume) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Every n-th voxel along each axis, as real values, and n for each axis."""
    shape = np.array(volume.voxels.shape)
    # Finer axes are thinned first, so that a thick-slice series keeps every slice.
    step_mm = (volume.voxels.size / _LOOKED_AT_VOXELS) ** (1 / 3) * np.cbrt(np.prod(volume.spacing_mm))
    step = np.clip(np.round(step_mm / volume.spacing_mm), 1, shape).astype(np.intp)
    values = volume.voxels[:: step[0], :: step[1], :: step[2]].astype(np.float32)
    values = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    return values * np.float32(volume.slope) + np.float32(volume.intercept), step


def _threshold(values: NDArray[np.float32]) -> float:
    """A value between air and tissue: a tenth of the bright end."""
    low, top = np.percentile(values, (1, 99))
    return float(low + 0.1 * (top - low))
