"""Look up the tissues that a scan's pictures show, and nothing else of the scan."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from training.tissues import TISSUES
from training.writer.heads import OUTSIDE, Subject
from training.writer.scan import Scan

__all__ = ["FINE", "NOTHING", "Slices", "enlarge", "look_up", "mean_of_fine"]

FINE = 2
"""Samples along each side of a pixel."""

NOTHING = len(TISSUES)
"""What is no part of the scan, or was taken out of it; one more than the tissues."""

_KNOTS = 9
"""Along each side of a picture, where the bend is computed; it is linear between them."""


@dataclass(frozen=True)
class Slices:
    """What pictures show.

    Attributes:
        tissues: (2, V, fine, fine) index into `TISSUES` or `NOTHING`: two samples across a voxel.
        right_mm: (V, fine, fine) how far right of the middle the first sample lies; None without lesions.
        size: Pixels along a side; fine is `FINE` times that.
        pixel_mm: Side of a pixel.
    """

    tissues: NDArray[np.uint8]
    right_mm: NDArray[np.float32] | None
    size: int
    pixel_mm: float


@lru_cache(maxsize=8)
def enlarge(size: int, knots: int) -> NDArray[np.float32]:
    """(size, knots): linear interpolation between values at knots, the outer ones at both ends."""
    at = np.linspace(0, knots - 1, size)
    return np.asarray(np.maximum(0, 1 - np.abs(at[:, None] - np.arange(knots))), np.float32)


def _line(scan: Scan, axis: int, size: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Middle in mm of the voxel that each sample along an axis falls into, and whether there is one."""
    fine = FINE * size
    step = scan.side_mm / scan.spacing_mm[axis] / fine
    voxel = np.floor(scan.middle[axis] + (np.arange(fine) + 0.5 - fine / 2) * step)
    voxel = voxel[::-1]  # pictures show the left and the lower end last
    return scan.low_mm[axis] + (voxel + 0.5) * scan.spacing_mm[axis], (voxel >= 0) & (
        voxel < scan.shape[axis]
    )


def _shift(scan: Scan) -> NDArray[np.float64]:
    """From the middle of a voxel to the second quarter of it, in mm along the scan's axes."""
    reach = scan.spacing_mm.copy()
    reach[scan.across] = scan.thickness_mm
    return np.asarray(reach / 4)


def look_up(subject: Subject, scan: Scan, size: int) -> Slices:
    """Tissues of every picture.

    Args:
        subject: The head.
        scan: Of it.
        size: Pixels along a side.
    """
    fine = FINE * size
    bend_to_fine = enlarge(fine, _KNOTS)
    lines = [_line(scan, axis, size) for axis in range(3)]
    count = len(scan.places)
    found = np.empty((3, count, fine, fine), np.float32)
    covered = np.empty((count, fine, fine), np.bool_)
    knots = np.linspace(0, fine - 1, _KNOTS).round().astype(int)
    for n, (axis, place) in enumerate(scan.places):
        across, up = (other for other in range(3) if other != axis)
        depth = scan.low_mm[axis] + (place + 0.5) * scan.spacing_mm[axis]
        coarse = np.empty((_KNOTS, _KNOTS, 3))
        coarse[..., axis], coarse[..., across] = depth, lines[across][0][knots]
        coarse[..., up] = lines[up][0][knots][:, None]
        bend = scan.bend(coarse @ scan.matrix.T).astype(np.float32)
        for side in range(3):
            columns = (scan.matrix[side, across] * lines[across][0]).astype(np.float32)
            rows = scan.matrix[side, up] * lines[up][0] + scan.matrix[side, axis] * depth
            rows += subject.centre[side] + 0.5
            out = found[side, n]
            np.matmul(bend_to_fine @ bend[..., side], bend_to_fine.T, out=out)
            out += rows.astype(np.float32)[:, None]
            out += columns
        np.logical_and(lines[up][1][:, None], lines[across][1], out=covered[n])
    return _gathered(subject, scan, found, covered, size)


def _gathered(
    subject: Subject,
    scan: Scan,
    places: NDArray[np.float32],
    covered: NDArray[np.bool_],
    size: int,
) -> Slices:
    """Tissues at places (3, V, fine, fine), in voxels of the head counted from their faces."""
    shape = subject.tissues.shape
    flat = subject.tissues.reshape(-1)
    shift = scan.matrix @ _shift(scan)
    tissues = np.empty((2, *covered.shape), np.uint8)
    for sample, sign in enumerate((-1, 1)):
        index = np.zeros(covered.shape, np.int32)
        for side, length in enumerate(shape):
            at = places[side] + np.float32(sign * shift[side])
            np.clip(at, 0, length - 1, out=at)
            index *= length
            index += at.astype(np.int32)
        np.take(flat, index, out=tissues[sample])
    tissues[:, ~covered] = NOTHING
    if scan.stripped:
        tissues = _stripped_table()[tissues]
    right_mm = None if subject.lesion_ml == 0 else places[0] - np.float32(subject.centre[0] + 0.5)
    return Slices(tissues, right_mm, size, scan.side_mm / size)


@lru_cache(maxsize=1)
def _stripped_table() -> NDArray[np.uint8]:
    table = np.arange(NOTHING + 1, dtype=np.uint8)
    table[:NOTHING][OUTSIDE] = NOTHING
    return table


def mean_of_fine(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(V, fine, fine) to (V, size, size)."""
    rows = values[:, ::FINE] + values[:, 1::FINE]
    return np.asarray((rows[:, :, ::FINE] + rows[:, :, 1::FINE]) / np.float32(FINE**2))
