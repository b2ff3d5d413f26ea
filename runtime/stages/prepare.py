"""Bring a scan onto the network's grid: resample, rescale, shift, scale and clamp in one pass."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime import _kernels
from runtime._kernels import Intensity
from runtime.errors import ImageError, UsageError
from runtime.kernels import Kernels
from runtime.volume import Affine, Grid, Volume

__all__ = ["Normalisation", "prepare"]

_LARGEST_FLOAT = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Normalisation:
    """`clamp((value - shift) * gain, clamp_low, clamp_high)`, `value` in rescaled units (HU for CT).

    Attributes:
        shift: Subtracted first, in rescaled units.
        gain: Multiplied next.
        clamp_low: Smallest result.
        clamp_high: Largest result.
        outside: Result where a voxel's centre lies outside the scan.
        empty: What a voxel stored as 0 counts as, in rescaled units; as `shift` it adds nothing to
            its neighbours and becomes 0. None: it counts as what it is.

    Raises:
        UsageError: A number is NaN, shift or gain is infinite, or the bounds are the wrong way round.
    """

    shift: float
    gain: float
    clamp_low: float = -_LARGEST_FLOAT
    clamp_high: float = _LARGEST_FLOAT
    outside: float = 0.0
    empty: float | None = None

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.shift, self.gain, self.outside, self.empty or 0.0))):
            raise UsageError(f"shift, gain, outside and empty must be finite numbers: {self}")
        if not self.clamp_low <= self.clamp_high:
            raise UsageError(f"clamp_low must not be above clamp_high: {self}")


def prepare(
    volume: Volume,
    grid: Grid,
    into: Any,
    normalisation: Normalisation,
    kernels: Kernels,
    world: Affine | None = None,
    most_samples: int | None = None,
) -> None:
    """Fill one network channel from a scan.

    Trilinear. Where the new voxels are larger than the scan's, each is the mean of trilinear samples
    spread evenly over it, at most one scan voxel apart (and a thousandth more): so every voxel of the
    scan has its share, and small structures fade instead of flickering. Up to half a voxel beyond the
    border the edge voxel is repeated; farther out is `normalisation.outside`. Voxels stored as NaN or
    infinity count as a stored 0 does. Interpolation is float32 (so is a stored int32): the result is
    within 2e-6 of the float64 one, relative to the largest of |stored * slope| and |intercept - shift|,
    times gain; beyond 4 samples along an axis, within 2^-24 for each voxel that is averaged.

    Args:
        volume: The scan.
        grid: Where the channel lies.
        into: (I, J, K) of `grid`, C-contiguous float32, float16 or bfloat16 (to nearest, ties to even),
            where `kernels` run; overwritten.
        normalisation: What to do with the rescaled values.
        kernels: Where to run.
        world: RAS+ of `grid` to RAS+ of `volume`, (4, 4) rigid; identity when absent.
        most_samples: Take no more samples along an axis; what lies between them is then lost.

    Raises:
        ImageError: The grid's voxels are so much larger than the scan's that samples would lie farther
            apart: more than 256 times where their axes run along each other, 16 times where not.
        UsageError: `into` has another shape than `grid`.
        TypeError: `into` is not writable, C-contiguous and of one of these types.
    """
    if into.shape != grid.shape:
        raise UsageError(f"into has shape {into.shape}, the grid {grid.shape}; allocate it from the grid")
    to_source = grid.index_to(volume.grid, world)
    matrix = np.ascontiguousarray(to_source[:3])
    empty = 0.0 if normalisation.empty is None else (normalisation.empty - volume.intercept) / volume.slope
    intensity = Intensity(
        slope=volume.slope,
        intercept=volume.intercept,
        shift=normalisation.shift,
        gain=normalisation.gain,
        clamp_low=normalisation.clamp_low,
        clamp_high=normalisation.clamp_high,
        outside=normalisation.outside,
        empty=empty,
    )
    source, table, threads = kernels.placed(volume.voxels), kernels.table, kernels.threads
    samples = _samples(matrix, grid.shape, most_samples)
    work = kernels.scratch(table.prepare_scratch(source, into, matrix, samples, threads))
    table.prepare(source, into, matrix, samples, intensity, work, threads)


def _samples(
    matrix: NDArray[np.float64], shape: tuple[int, int, int], most: int | None
) -> tuple[int, int, int]:
    """Samples along each result axis: source voxels per result voxel, rounded up.

    Args:
        matrix: Result index to source index, (3, 4).
        shape: Of the result.
        most: See `prepare`.
    """
    needed = np.ceil(np.linalg.norm(matrix[:, :3], axis=0) - 1e-3)
    limit = _kernels.most_samples(shape, matrix)
    if most is None and needed.max() > limit:
        raise ImageError(
            f"{needed.max():.0f} voxels of the scan lie across one of the grid's, more than {limit}; "
            "check its voxel size, or resample it to larger voxels first"
        )
    i, j, k = np.clip(needed, 1, limit if most is None else min(most, limit)).astype(int).tolist()
    return i, j, k
