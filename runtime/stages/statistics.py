"""Find out how bright a scan is: percentiles, means and a threshold from one pass over it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ImageError
from runtime.kernels import Kernels
from runtime.volume import Volume

__all__ = ["Statistics", "statistics"]

_BINS = 65536
_LOWEST = {"int8": -128, "uint8": 0, "int16": -32768, "uint16": 0}
_ZERO_BINS = (0x7FFF, 0x8000)
"""Of a float: -0 and 0, with nothing else but subnormal values up to 9e-41."""


@dataclass(frozen=True)
class Statistics:
    """How often each value occurs, in rescaled units (HU for CT).

    Scans of up to 16 bits have one bin per stored value, so everything below is exact. For int32
    and float32 a bin is 2^-8 to 2^-7 of its stored value wide and values spread evenly inside it.

    Attributes:
        counts: Voxels in each bin, (N,) uint64; none is zero.
        lower: Smallest value of each bin, (N,), ascending.
        upper: Largest value of each bin, (N,); equal to `lower` where bins are exact.
        not_finite: Voxels that are NaN or infinite; counted in no bin.
    """

    counts: NDArray[np.uint64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    not_finite: int = 0

    @property
    def centre(self) -> NDArray[np.float64]:
        """Middle of each bin, (N,)."""
        return np.asarray((self.lower + self.upper) / 2)

    def percentile(self, q: float, above: float | None = None) -> float:
        """The value that q % of the voxels do not exceed, between neighbours interpolated.

        Args:
            q: 0…100.
            above: Only count bins whose centre is greater.

        Raises:
            ImageError: No voxel is counted.
            ValueError: `q` is out of range.

        Source:
            `numpy.percentile(..., method="linear")`.
        """
        if not 0 <= q <= 100:
            raise ValueError(f"a percentile is 0 to 100, got {q}")
        chosen = self._chosen(above)
        total = int(chosen.counts.sum())
        rank = q / 100 * (total - 1)
        low = chosen._value_of_rank(int(rank))
        high = chosen._value_of_rank(min(int(rank) + 1, total - 1))
        return low + (high - low) * (rank - int(rank))

    def mean(self, above: float | None = None) -> float:
        """Mean of the voxels in bins whose centre is greater than `above`.

        Raises:
            ImageError: No voxel is counted.
        """
        chosen = self._chosen(above)
        return float(np.average(chosen.centre, weights=chosen.counts.astype(np.float64)))

    def deviation(self) -> float:
        """Standard deviation of all voxels, divided by their number.

        Raises:
            ImageError: No voxel is counted.

        Source:
            `numpy.std(..., ddof=0)`, from the middle of each bin.
        """
        off = self.centre - self.mean()
        return math.sqrt(float(np.average(off * off, weights=self.counts.astype(np.float64))))

    def resolution(self, value: float) -> float:
        """Width of the bin around `value`, in rescaled units: closer values are one. 0 where bins are exact.

        Raises:
            ImageError: No voxel is counted.
        """
        chosen = self._chosen(None)
        n = min(int(np.searchsorted(chosen.upper, value)), len(chosen.counts) - 1)
        return float(chosen.upper[n] - chosen.lower[n])

    def otsu(self) -> float:
        """The threshold that best splits the voxels in two: the upper class is greater than it.

        Lies on the largest value of the lower class. A scan of one value has that value.

        Source:
            Otsu, "A threshold selection method from gray-level histograms", IEEE SMC 9(1), 1979.
        """
        chosen = self._chosen(None)
        if len(chosen.counts) == 1:
            return float(chosen.upper[0])
        weight = chosen.counts.astype(np.float64)
        below = np.cumsum(weight)[:-1]
        over = weight.sum() - below
        moment = np.cumsum(weight * chosen.centre)
        gap = moment[:-1] / below - (moment[-1] - moment[:-1]) / over
        return float(chosen.upper[np.argmax(below * over * gap**2)])

    def _chosen(self, above: float | None) -> Statistics:
        """The bins whose centre is greater than `above`."""
        keep = slice(None) if above is None else self.centre > above
        chosen = Statistics(self.counts[keep], self.lower[keep], self.upper[keep])
        if len(chosen.counts) == 0:
            limit = "" if above is None else f" above {above}"
            raise ImageError(f"the scan has no finite voxel{limit}; it is empty or damaged")
        return chosen

    def _value_of_rank(self, rank: int) -> float:
        """The value of the voxel number `rank` in ascending order."""
        ends = np.cumsum(self.counts)
        n = int(np.searchsorted(ends, rank, side="right"))
        count = int(self.counts[n])
        part = (rank - (int(ends[n]) - count) + 0.5) / count
        return float(self.lower[n] + (self.upper[n] - self.lower[n]) * part)


def statistics(volume: Volume, kernels: Kernels, nonzero: bool = False) -> Statistics:
    """Count the values of a scan in one pass.

    Args:
        volume: The scan; its slope may be negative.
        kernels: Where to run.
        nonzero: Leave out voxels stored as 0 (whatever value the intercept gives them): what a mask,
            a skull stripper or the scanner's own reconstruction blanked.
    """
    counted = kernels.empty((_BINS,), np.uint64)
    table, threads = kernels.table, kernels.threads
    work = kernels.scratch(table.histogram_scratch(threads))
    not_finite = table.histogram(kernels.placed(volume.voxels), counted, work, threads)

    counts = kernels.to_host(counted)
    bins = np.flatnonzero(counts)
    kind = volume.voxels.dtype.name
    if nonzero:
        zero = (-_LOWEST[kind],) if kind in _LOWEST else _ZERO_BINS
        bins = bins[~np.isin(bins, zero)]
    if kind in _LOWEST:
        first = last = bins.astype(np.float64) + _LOWEST[kind]
    else:
        first, last = _float_bounds(bins)
    ends = np.sort(np.stack([first, last]) * volume.slope + volume.intercept, axis=0)
    order = slice(None, None, -1 if volume.slope < 0 else 1)
    return Statistics(counts[bins][order], ends[0][order], ends[1][order], int(not_finite))


def _float_bounds(bins: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """First and last float32 whose order-preserving bits start with each bin number."""
    keys = bins.astype(np.uint32) << np.uint32(16)
    bounds = []
    for key in (keys, keys | np.uint32(0xFFFF)):
        bits = np.where(key >> np.uint32(31), key ^ np.uint32(0x80000000), ~key)
        bounds.append(bits.astype(np.uint32).view(np.float32).astype(np.float64))
    return bounds[0], bounds[1]
