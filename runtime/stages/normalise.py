"""How bright a channel is shown to the network."""

from __future__ import annotations

from runtime.bundle import Channel
from runtime.errors import ImageError
from runtime.kernels import Kernels
from runtime.stages.prepare import Normalisation
from runtime.stages.statistics import Statistics, statistics
from runtime.volume import Volume

__all__ = ["channel_normalisation"]

_LEAST_MEAN = 1e-30
"""Smaller (or its inverse larger) than any scan, and a gain beyond float32."""

_LEAVE_OUT = "leave it out, with --as UID=other where it is part of a study"


def channel_normalisation(volume: Volume, channel: Channel, kernels: Kernels) -> Normalisation:
    """Shift, gain and clamp of one scan for one channel.

    What is measured comes from one count of the stored voxels: exact for integers of up to 16 bits,
    otherwise as exact as the bins of `Statistics`.

    Args:
        volume: The scan.
        channel: What the bundle asks for.
        kernels: Where to count intensities.

    Raises:
        ImageError: The scan is constant, empty or has no foreground; says which scan.

    Source:
        `z_score` is MONAI's `NormalizeIntensity(nonzero=True)`, for which voxels of value 0 take no
        part and stay 0; here they are those stored as 0, which is the same without an intercept.
        `percentile` is MONAI's `ScaleIntensityRangePercentiles(low, high, 0, 1)`; a `clamp` of 0…1
        is its `clip=True`.
    """
    if channel.normalisation == "window":
        return Normalisation(channel.low, 1.0 / (channel.high - channel.low), *channel.clamp)
    try:
        counted = statistics(volume, kernels, nonzero=channel.normalisation == "z_score")
        if channel.normalisation == "z_score":
            return _z_score(counted, channel)
        if channel.normalisation == "percentile":
            return _percentile(counted, channel)
        return _foreground_mean(counted, channel)
    except ImageError as error:
        raise ImageError(f"the {channel.modality} scan: {error}; {_LEAVE_OUT}") from None


def _foreground_mean(counted: Statistics, channel: Channel) -> Normalisation:
    mean = counted.mean(above=counted.otsu())
    if not _LEAST_MEAN <= mean <= 1 / _LEAST_MEAN:
        raise ImageError(f"no bright foreground (mean {mean:g}), so it is not a magnitude image")
    return Normalisation(0.0, channel.high / mean, *channel.clamp)


def _z_score(counted: Statistics, channel: Channel) -> Normalisation:
    if len(counted.counts) == 0:
        raise ImageError("no voxel that is finite and not stored as 0; it is empty or damaged")
    mean, deviation = counted.mean(), counted.deviation()
    if len(counted.counts) == 1 or not _is_distinct(deviation, counted, mean):
        raise ImageError(f"its voxels not stored as 0 are all {mean:g}, or too close to it; it shows nothing")
    return Normalisation(mean, 1.0 / deviation, *channel.clamp, empty=mean)


def _percentile(counted: Statistics, channel: Channel) -> Normalisation:
    low, high = counted.percentile(channel.low), counted.percentile(channel.high)
    if not _is_distinct(high - low, counted, low):
        raise ImageError(
            f"its percentiles {channel.low:g} and {channel.high:g} are both {low:g}, or too close to it; "
            "it shows nothing"
        )
    return Normalisation(low, 1.0 / (high - low), *channel.clamp)


def _is_distinct(span: float, counted: Statistics, value: float) -> bool:
    """Whether a distance from `value` is a gain in float32, and more than the histogram's bins blur."""
    return _LEAST_MEAN <= span <= 1 / _LEAST_MEAN and span > counted.resolution(value)
