"""How bright a channel is shown to the network."""

from __future__ import annotations

from runtime.bundle import Channel
from runtime.errors import ImageError
from runtime.kernels import Kernels
from runtime.stages.prepare import Normalisation
from runtime.stages.statistics import statistics
from runtime.volume import Volume

__all__ = ["channel_normalisation"]


def channel_normalisation(volume: Volume, channel: Channel, kernels: Kernels) -> Normalisation:
    """Shift, gain and clamp of one scan for one channel.

    Args:
        volume: The scan.
        channel: What the bundle asks for.
        kernels: Where to count intensities.

    Raises:
        ImageError: The scan is constant or has no foreground.
    """
    low, high = channel.clamp
    if channel.normalisation == "window":
        return Normalisation(channel.low, 1.0 / (channel.high - channel.low), low, high)
    counted = statistics(volume, kernels)
    mean = counted.mean(above=counted.otsu())
    if mean <= 0:
        raise ImageError(
            f"the {channel.modality} scan has no bright foreground (mean {mean:g}); is it a magnitude image?"
        )
    return Normalisation(0.0, channel.high / mean, low, high)
