"""Turn slice positions into one affine, or say why the slices are not a regular volume.

DICOM speaks LPS millimetres; LPS becomes RAS here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ImageError
from runtime.formats.limits import plausible_spacing
from runtime.volume import Affine

__all__ = ["SAME_POSITION_MM", "Stack", "slice_positions", "stack_slices"]

SAME_POSITION_MM = 0.01
"""Two slices closer than this along the normal lie on one another."""

_UNIT_TOLERANCE = 1e-3
"""How far the two directions may be from unit length and from perpendicular (DICOM writes 6 digits)."""

_GAP_TOLERANCE_MM, _GAP_TOLERANCE = 0.02, 0.01
"""A gap may differ from the median gap by 0.02 mm + 1 %: scanners round positions."""

_GRID_TOLERANCE_MM, _GRID_TOLERANCE = 0.05, 0.05
"""A slice may lie 0.05 mm or 5 % of the spacing off the regular grid: small gap errors must not add up."""

_TILT_TOLERANCE_DEG = 0.2
"""Angle between the slice step and the normal; 0.2 degrees shear a 200 mm stack by 0.7 mm."""


@dataclass(frozen=True)
class Stack:
    """Slices in order and where they lie.

    Attributes:
        order: Indices of the given slices by increasing position along the normal.
        affine: (4, 4), (slice, row, column) index to RAS+ millimetres.
    """

    order: tuple[int, ...]
    affine: Affine


def _normal(orientation: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.cross(orientation[:3], orientation[3:])


def slice_positions(
    positions_mm: NDArray[np.float64], orientation: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distance of each slice along the slice normal.

    Args:
        positions_mm: ImagePositionPatient of each slice, (N, 3), LPS millimetres.
        orientation: ImageOrientationPatient, (6,).

    Returns:
        (N,), millimetres.
    """
    return np.asarray(positions_mm @ _normal(orientation))


def _gap_problems(distances_mm: NDArray[np.float64], names: Sequence[str]) -> list[str]:
    gaps = np.diff(distances_mm)
    if gaps.min() < SAME_POSITION_MM:
        at = int(gaps.argmin())
        return [f"{names[at]} and {names[at + 1]} lie at the same position"]
    median = float(np.median(gaps))
    tolerance = _GAP_TOLERANCE_MM + _GAP_TOLERANCE * median
    irregular = np.flatnonzero(np.abs(gaps - median) > tolerance)
    if not irregular.size:
        return []
    steps = np.rint(gaps[irregular] / median)
    if np.all((steps >= 2) & (np.abs(gaps[irregular] - steps * median) <= steps * tolerance)):
        places = [
            f"{step - 1} between {names[at]} and {names[at + 1]} (after {distances_mm[at]:.1f} mm)"
            for step, at in zip(steps.astype(int).tolist(), irregular.tolist(), strict=True)
        ]
        more = f" and {len(places) - 3} more places" if len(places) > 3 else ""
        return [f"slices are missing: {', '.join(places[:3])}{more}; send the whole series"]
    first = int(irregular[0])
    return [
        f"slice spacing is uneven, {gaps.min():.2f} to {gaps.max():.2f} mm "
        f"(first odd gap between {names[first]} and {names[first + 1]})"
    ]


def stack_slices(
    positions_mm: NDArray[np.float64],
    orientation: NDArray[np.float64],
    pixel_spacing_mm: NDArray[np.float64],
    names: Sequence[str],
) -> Stack:
    """Order slices along their normal and build the affine.

    Args:
        positions_mm: ImagePositionPatient of each slice, (N, 3), LPS millimetres, N >= 2.
        orientation: ImageOrientationPatient, (6,): direction of a row, then of a column.
        pixel_spacing_mm: PixelSpacing, (2,): between rows, then between columns.
        names: What a message calls each slice, N entries.

    Raises:
        ImageError: The directions are not orthonormal, slices are missing, unevenly spaced or
            tilted against their step (gantry tilt). Nothing is repaired.

    Source:
        DICOM PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1.
    """
    row, column = orientation[:3], orientation[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(row @ column)) > _UNIT_TOLERANCE:
        raise ImageError(
            "ImageOrientationPatient is not two perpendicular unit vectors; the header is damaged"
        )
    distances = slice_positions(positions_mm, orientation)
    order = np.argsort(distances, kind="stable")
    points, distances = positions_mm[order], distances[order]
    step = (points[-1] - points[0]) / (len(points) - 1)
    step_mm = float(np.linalg.norm(step))
    sizes = (step_mm, float(pixel_spacing_mm[0]), float(pixel_spacing_mm[1]))
    if not plausible_spacing(sizes):
        shown = " x ".join(f"{size:g}" for size in sizes)
        raise ImageError(
            f"voxel size {shown} mm is not plausible; check ImagePositionPatient and PixelSpacing"
        )

    normal = _normal(orientation) / np.linalg.norm(_normal(orientation))
    problems = _gap_problems(distances, [names[at] for at in order])
    tilt_deg = float(np.degrees(np.arccos(min(1.0, abs(step @ normal) / step_mm))))
    if tilt_deg > _TILT_TOLERANCE_DEG:
        problems.append(
            f"slices are shifted against each other by {tilt_deg:.1f} degrees (gantry tilt); "
            "reconstruct the series without tilt"
        )
    regular = points[0] + np.arange(len(points))[:, None] * step
    off_grid_mm = np.linalg.norm(points - regular, axis=1)
    if not problems and off_grid_mm.max() > max(_GRID_TOLERANCE_MM, _GRID_TOLERANCE * step_mm):
        worst = int(order[int(off_grid_mm.argmax())])
        problems.append(f"{names[worst]} lies {off_grid_mm.max():.2f} mm off a regular grid")
    if problems:
        raise ImageError("; ".join(problems))

    lps = np.eye(4)
    lps[:3, 0] = step
    lps[:3, 1] = column * pixel_spacing_mm[0]
    lps[:3, 2] = row * pixel_spacing_mm[1]
    lps[:3, 3] = points[0]
    return Stack(tuple(int(at) for at in order), np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps)
