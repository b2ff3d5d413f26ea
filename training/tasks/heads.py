"""Synthetic heads for a plain network: the first training of `zeus-nano-head`'s encoder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from training.dataset import HeadStream, StreamConfig, load_heads
from training.loop import Place, Schedule, autocast
from training.losses import segmentation_loss
from training.networks.nano import NanoConfig, NanoNetwork
from training.structures import CLASS_NAMES

__all__ = ["MAPS", "HeadTask", "HeadTraining", "class_weights"]

MAPS = "../shared/data/synthseg-labels/data/training_label_maps"
"""From the project's root."""

_HEAVY = {"lesion": 2.0, "necrosis": 3.0, "oedema": 2.0, "background": 0.5, "head": 0.6}


def class_weights() -> Tensor:
    """How much a voxel of each class counts in the cross-entropy, (classes,)."""
    return torch.tensor([_HEAVY.get(name, 1.0) for name in CLASS_NAMES])


@dataclass(frozen=True)
class HeadTraining:
    """One training on synthetic heads.

    Attributes:
        name: Of the run.
        kind: "heads".
        maps: Folder of label maps, from the project's root.
        schedule: How long and how fast.
        network: Its size.
        stream: What the data looks like.
    """

    name: str
    kind: Literal["heads"]
    maps: str = MAPS
    schedule: Schedule = field(default_factory=Schedule)
    network: NanoConfig = field(default_factory=NanoConfig)
    stream: StreamConfig = field(default_factory=StreamConfig)


class HeadTask:
    """Cross-entropy and Dice of every voxel of a whole head."""

    def __init__(self, config: HeadTraining, root: Path) -> None:
        """Choose the data.

        Args:
            config: What to train.
            root: Of the project.
        """
        self._config, self._root = config, root
        self._loss = torch.compile(segmentation_loss, dynamic=True)

    def network(self) -> NanoNetwork:
        """A new network with random weights."""
        return NanoNetwork(self._config.network)

    def batches(self, start: int, place: Place) -> Iterable[Any]:
        """One head at a time: their sides differ."""
        stream = self._config.stream
        cache = place.run.parent / "heads"
        real, phantoms = load_heads(self._root / self._config.maps, cache, stream.phantoms)
        data = HeadStream(real, phantoms, stream, start=start)
        return DataLoader(data, batch_size=1, num_workers=place.workers, prefetch_factor=3)

    def loss(self, network: nn.Module, batch: Any, step: int, device: torch.device) -> Tensor:
        """The loss of one head."""
        image, counts, seen = batch
        image = image.to(device).float().contiguous(memory_format=torch.channels_last_3d)
        with autocast(device):
            scores = network(image)
        half = slice(step % 2, None, 2)  # neighbouring planes tell the same, at twice the price
        truth, seen = counts[:, :, half].to(device), seen[:, half].to(device)
        loss: Tensor = self._loss(scores[:, :, half], truth, seen, class_weights().to(device))
        return loss
