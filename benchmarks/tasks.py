"""What a kernel and its peers are both asked to do: the same arrays and the same numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.structure import ModelIdentity, Structure
from runtime.study import Series
from runtime.volume import Grid, Labels, Volume

__all__ = [
    "BlendTask",
    "ComponentsTask",
    "LabelTask",
    "NormaliseTask",
    "PackTask",
    "PercentileTask",
    "ResampleTask",
    "StatisticsTask",
    "Triple",
    "zoomed",
]

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class ResampleTask:
    """Trilinear resampling to a coarser grid with the same field of view, `low`…`high` HU becoming 0…1.

    Attributes:
        volume: A CT, stored values in HU.
        grid: Wanted grid, axes like the volume's.
        low: Becomes 0, HU.
        high: Becomes 1, HU.
        threads: CPU threads to use.
    """

    volume: Volume
    grid: Grid
    low: float
    high: float
    threads: int


@dataclass(frozen=True)
class NormaliseTask:
    """Every channel minus its mean, divided by its standard deviation, on its own voxels.

    Attributes:
        channels: (C, I, J, K) int16, some voxel not 0 at every face.
        threads: CPU threads to use.
        masked: Whether voxels of 0 take no part and stay 0; without, there are none.
    """

    channels: NDArray[np.int16]
    threads: int
    masked: bool


@dataclass(frozen=True)
class PercentileTask:
    """Two percentiles of every channel become 0 and 1, and what lies beyond is clipped.

    Attributes:
        channels: (C, I, J, K) int16.
        low: Becomes 0, 0…100.
        high: Becomes 1, 0…100.
        threads: CPU threads to use.
    """

    channels: NDArray[np.int16]
    low: float
    high: float
    threads: int


@dataclass(frozen=True)
class StatisticsTask:
    """Percentiles, mean and standard deviation of one scan, in this order.

    Attributes:
        volume: A scan, stored values as they are.
        percentiles: 0…100.
        threads: CPU threads to use.
    """

    volume: Volume
    percentiles: tuple[float, ...]
    threads: int


@dataclass(frozen=True)
class LabelTask:
    """The class of highest trilinearly interpolated score at every voxel of a finer grid.

    Attributes:
        scores: (C, D, H, W) float32 or float16.
        scores_grid: Where they lie.
        onto: Wanted grid, axes and field of view like the scores'.
        threads: CPU threads to use.
    """

    scores: NDArray[Any]
    scores_grid: Grid
    onto: Grid
    threads: int


@dataclass(frozen=True)
class BlendTask:
    """Sliding-window inference whose network costs one copy: every tile gets the same scores.

    Attributes:
        tile: Those scores, (C, d, h, w) float32.
        weight: (d, h, w) float32.
        shape: (D, H, W) of the grid; sides are a tile and whole steps.
        overlap: Share of a tile that its neighbour repeats.
        threads: CPU threads to use.
    """

    tile: NDArray[np.float32]
    weight: NDArray[np.float32]
    shape: Triple
    overlap: float
    threads: int


@dataclass(frozen=True)
class ComponentsTask:
    """Only the largest 26-connected component of every listed value stays.

    Attributes:
        labels: (I, J, K) uint8.
        values: Label values to clean, none 0; other values stay as they are.
        threads: CPU threads to use.
    """

    labels: NDArray[np.uint8]
    values: tuple[int, ...]
    threads: int


@dataclass(frozen=True)
class PackTask:
    """A label map as a DICOM SEG of type BINARY, empty frames left out.

    Attributes:
        labels: On the grid of the series; every structure has voxels.
        series: Complete headers, no pixels.
        structures: None is a union.
        identity: Which model made the labels.
        folder: Where to write.
    """

    labels: Labels
    series: Series
    structures: tuple[Structure, ...]
    identity: ModelIdentity
    folder: Path


def zoomed(grid: Grid, shape: Triple) -> Grid:
    """A grid of another shape over the same field of view (the outer faces of the border voxels).

    Source:
        The sampling positions of `scipy.ndimage.zoom(grid_mode=True)` and torch's
        `interpolate(align_corners=False)`.
    """
    scale = np.array(grid.shape) / np.array(shape)
    to_grid = np.diag([*scale, 1.0])
    to_grid[:3, 3] = (scale - 1) / 2
    return Grid(shape, np.asarray(grid.affine @ to_grid))
