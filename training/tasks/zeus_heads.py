"""Synthetic heads for Zeus: every target is asked for with texts, each modality with its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from runtime.errors import UsageError
from training.conditions import ConditionPool, asked_with_foreign, text_model
from training.dataset import HeadStream, StreamConfig, load_heads
from training.loop import Place, Schedule, autocast, load_average
from training.losses import presence_loss, segmentation_loss
from training.networks.conditioned import Conditioned
from training.networks.mask_decoder import MaskDecoder
from training.networks.nano import NanoConfig, NanoNetwork
from training.networks.zeus import ZeusConfig
from training.structures import CLASS_NAMES
from training.tasks.heads import MAPS, class_weights
from training.tissues import CHANNELS

__all__ = ["ZeusHeadTask", "ZeusHeadTraining", "coarser"]


_NEVER = -8.0
"""Score of what a bundle cannot segment, against a background of 0."""


@dataclass(frozen=True)
class ZeusHeadTraining:
    """One training of Zeus on synthetic heads.

    Attributes:
        name: Of the run.
        kind: "zeus-heads".
        text: Configuration of the text encoder.
        maps: Folder of label maps, from the project's root.
        start_from: Run of a plain network whose encoder this one starts with, and whose vectors are its
            drafts; empty: from random weights.
        frozen: For this many steps only the decoder learns, while the encoder stays as it was.
        coarser: Model voxels along each axis that become one.
        seed: Wordings of step n are drawn from (seed, n).
        schedule: How long and how fast.
        zeus: Size of the network.
        stream: What the data looks like.
        noise: Length of the random vector that is added to a text's condition vector.
        presence: Weight of the presence's loss.
    """

    name: str
    kind: Literal["zeus-heads"]
    text: str = "zeus-text-head"
    maps: str = MAPS
    start_from: str = ""
    frozen: int = 0
    coarser: int = 1
    seed: int = 0
    schedule: Schedule = field(default_factory=Schedule)
    zeus: ZeusConfig = field(default_factory=ZeusConfig)
    stream: StreamConfig = field(default_factory=StreamConfig)
    noise: float = 0.3
    presence: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if self.zeus.modalities != len(CHANNELS):
            raise ValueError(f"zeus.modalities is {self.zeus.modalities}, heads have {len(CHANNELS)}")
        if (self.start_from or self.frozen) and self.zeus.fusion != "early":
            raise ValueError("a plain network's encoder fits early fusion only")
        if self.frozen and not self.start_from:
            raise ValueError("frozen needs start_from")


def coarser(image: Tensor, counts: Tensor, seen: Tensor, factor: int) -> tuple[Tensor, Tensor, Tensor]:
    """Make one voxel of `factor`³.

    Args:
        image: (N, M, I, J, K), sides divisible by `factor`.
        counts: (N, classes, I, J, K) uint8 of 0…8.
        seen: (N, I, J, K) bool.
        factor: Along each axis.
    """
    if factor == 1:
        return image, counts, seen
    parts = torch.round(F.avg_pool3d(counts.float(), factor))
    parts[:, 0] += 8 - parts.sum(1)  # rounding: the background has what is left, or gives it
    parts[:, 0].clamp_(0)
    return (
        F.avg_pool3d(image, factor),
        parts.to(torch.uint8),
        F.avg_pool3d(seen[:, None].float(), factor)[:, 0] > 0.5,
    )


class ZeusHeadTask:
    """Cross-entropy and Dice over background and targets; what is foreign must win nowhere."""

    def __init__(self, config: ZeusHeadTraining, root: Path, runs: Path) -> None:
        """Choose the data.

        Args:
            config: What to train.
            root: Of the project.
            runs: Folder of trainings.
        """
        self.config, self._root, self._runs = config, root, runs
        self._loss = torch.compile(segmentation_loss, dynamic=True)
        self._classes = F.pad(class_weights(), (0, 1), value=1.0)

    def network(self) -> Conditioned:
        """A new network; where `start_from` is named, it scores every request as that one did."""
        made = Conditioned(self.config.zeus, 0)
        if self.config.start_from:
            plain = NanoNetwork(
                NanoConfig(widths=self.config.zeus.widths, features=self.config.zeus.features)
            )
            load_average(self._runs / self.config.start_from / "last.pt", plain)
            made.zeus.encoder.load_state_dict(plain.encoder.state_dict())
            self._set_drafts(made.zeus.decoder, plain)
        return made

    @torch.no_grad()
    def _set_drafts(self, decoder: MaskDecoder, plain: NanoNetwork) -> None:
        """Vectors over the background's, keyed by where texts for them lie; what is foreign never wins."""
        model = text_model(self.config.text, self._runs)
        asked = asked_with_foreign(CLASS_NAMES[1:])
        keys = model.network.anchors[[model.task.targets.index(name) for name in asked]]
        vectors = torch.cat([plain.vectors, plain.bias[:, None]], dim=1)
        never = F.pad(vectors.new_full((1, 1), _NEVER), (vectors.shape[1] - 1, 0))
        if len(keys) > len(decoder.keys):
            raise UsageError(f"{len(keys)} requests need as many drafts; raise zeus.decoder.drafts")
        used, rest = slice(len(keys)), slice(len(keys), None)
        apart = torch.linalg.qr(torch.cat([keys, decoder.keys]).T)[0].T  # what is left, at right angles
        decoder.keys[used], decoder.keys[rest] = keys, apart[rest][: len(decoder.keys) - len(keys)]
        decoder.drafts[used], decoder.drafts[rest] = torch.cat([vectors[1:] - vectors[0], never]), 0.0

    def batches(self, start: int, place: Place) -> Iterator[tuple[Tensor, ...]]:
        """One head at a time: image, presence, counts, seen, condition vectors."""
        config, stream = self.config, self.config.stream
        cache = place.run.parent / "heads"
        real, phantoms = load_heads(self._root / config.maps, cache, stream.phantoms)
        model = text_model(config.text, self._runs)
        pool = ConditionPool(model, CHANNELS, asked_with_foreign(CLASS_NAMES[1:]))
        data = HeadStream(real, phantoms, stream, start=start)
        loader = DataLoader(data, batch_size=1, num_workers=place.workers, prefetch_factor=3)
        for step, (image, counts, seen) in enumerate(loader, start=start):
            image, counts, seen = coarser(image.float(), counts, seen, config.coarser)
            present = image.flatten(2).any(dim=2)
            random = np.random.default_rng((config.seed, step))
            yield image, present, counts, seen, pool.draw(1, random, config.noise)

    def loss(self, network: nn.Module, batch: Any, step: int, device: torch.device) -> Tensor:
        """The loss of one head."""
        assert isinstance(network, Conditioned)
        image, present, counts, seen, condition = (part.to(device) for part in batch)
        image = image.contiguous(memory_format=torch.channels_last_3d)
        zeus = network.zeus
        with autocast(device):
            with torch.set_grad_enabled(step >= self.config.frozen):
                features, bottom = zeus.encode(image, present)
            masks = zeus.decode(bottom, condition, present)
            half = slice(step % 2, None, 2)  # neighbouring planes tell the same, at twice the price
            scores = F.pad(masks.scores(features[:, :, half]), (0, 0, 0, 0, 0, 0, 1, 0))
        truth = F.pad(counts[:, :, half], (0, 0, 0, 0, 0, 0, 0, 1))
        loss: Tensor = self._loss(scores, truth, seen[:, half], self._classes.to(device))
        return loss + self.config.presence * presence_loss(masks.presence, counts)
