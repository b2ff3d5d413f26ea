"""How bright a channel is shown to the network."""

from __future__ import annotations

from runtime.bundle import Channel
from runtime.errors import ImageError
from runtime.kernels import Kernels
from runtime.stages.prepare import Normalisation
from runtime.stages.statistics import statistics
from runtime.volume import Volume

__all__ = ["channel_normalisation"]

_LEAST_MEAN = 1e-30
"""Smaller (or its inverse larger) than any scan, and a gain beyond float32."""

_LEAVE_OUT = "leave it out, with --as UID=other where it is part of a study"


def channel_normalisation(volume: Volume, channel: Channel, kernels: Kernels) -> Normalisation:
    """Shift, gain and clamp of one scan for one channel.

    Args:
        volume: The scan.
        channel: What the bundle asks for.
        kernels: Where to count intensities.

    Raises:
        ImageError: The scan is constant or has no foreground; says which scan.
    """
    low, high = channel.clamp
    if channel.normalisation == "window":
        return Normalisation(channel.low, 1.0 / (channel.high - channel.low), low, high)
    try:
        counted = statistics(volume, kernels)
        mean = counted.mean(above=counted.otsu())
    except ImageError as error:
        raise ImageError(f"the {channel.modality} scan: {error}; {_LEAVE_OUT}") from None
    if not _LEAST_MEAN <= mean <= 1 / _LEAST_MEAN:
        raise ImageError(
            f"the {channel.modality} scan has no bright foreground (mean {mean:g}), so it is not a "
            f"magnitude image; {_LEAVE_OUT}"
        )
    return Normalisation(0.0, channel.high / mean, low, high)
