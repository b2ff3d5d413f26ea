"""Cases as the network sees them: prepared by the runtime's kernels, on RAS-aligned voxels of one size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from runtime.bundle import Channel
from runtime.errors import ImageError
from runtime.kernels import Kernels
from runtime.stages.locate import bounding_grid
from runtime.stages.normalise import channel_normalisation
from runtime.stages.prepare import prepare
from runtime.volume import Grid, Labels, Volume
from training.metrics import labels_on

__all__ = ["ChannelOf", "Sample", "on_model_grid"]


@dataclass(frozen=True)
class ChannelOf:
    """One input channel.

    Attributes:
        modality: In the data set's own words.
        normalisation: As in a bundle's channel: `z_score` for MR; `window` for CT.
        low: Start of a `window`, HU.
        high: Its end.
    """

    modality: str
    normalisation: Literal["z_score", "window"] = "z_score"
    low: float = 0.0
    high: float = 1.0

    def as_channel(self) -> Channel:
        """What the runtime's normalisation reads; the modality's name plays no part in it."""
        clamp = (-5.0, 5.0) if self.normalisation == "z_score" else (0.0, 1.0)
        return Channel("T1", self.normalisation, self.low, self.high, clamp)


@dataclass(frozen=True)
class Sample:
    """One case on the model's grid.

    Attributes:
        name: Of the case.
        image: (M, I, J, K) float32, a missing modality 0.
        present: (M,) bool.
        labels: (I, J, K) uint8: 0 background, 1… the configuration's targets in their order.
        grid: Where both lie.
        truth: Labels as they were given.
    """

    name: str
    image: NDArray[np.float32]
    present: NDArray[np.bool_]
    labels: NDArray[np.uint8]
    grid: Grid
    truth: Labels


def on_model_grid(
    name: str,
    read: tuple[Mapping[str, Volume], Labels],
    channels: Sequence[ChannelOf],
    targets: Sequence[str],
    spacing_mm: float,
    kernels: Kernels,
) -> Sample:
    """Prepare one case.

    Args:
        name: Of the case.
        read: What the case's `read` gives: images by modality, and labels.
        channels: What the network is given, in order.
        targets: Structures in the order of the network's targets; labels of others are background.
        spacing_mm: Voxel size.
        kernels: Where to run.

    Raises:
        ImageError: The case has none of the channels, or a target that its labels do not name.
    """
    images, labels = read
    values = {structure: value for value, structure in labels.names.items()}
    if missing := [target for target in targets if target not in values]:
        raise ImageError(f"{name}: its labels name {', '.join(values)} and not {missing[0]}")
    grid = bounding_grid(labels.grid, spacing_mm)
    image = np.zeros((len(channels), *grid.shape), np.float32)
    present = np.zeros(len(channels), np.bool_)
    for index, channel in enumerate(channels):
        if channel.modality in images:
            volume = images[channel.modality]
            normalisation = channel_normalisation(volume, channel.as_channel(), kernels)
            prepare(volume, grid, image[index], normalisation, kernels)
            present[index] = True
    if not present.any():
        wanted = ", ".join(channel.modality for channel in channels)
        raise ImageError(f"{name} has {', '.join(images)} and none of {wanted}")
    table = np.zeros(256, np.uint8)
    table[[values[target] for target in targets]] = np.arange(1, len(targets) + 1)
    return Sample(name, image, present, table[labels_on(labels, grid)], grid, labels)
