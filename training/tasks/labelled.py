"""Real scans with labels of others: a plain U-Net, Zeus without text, Zeus with text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from runtime.errors import UsageError
from runtime.kernels import open_kernels
from training.augment import Augmentation, random_patch
from training.conditions import ConditionPool, TextModel, asked_with_foreign, text_model
from training.labelled import ChaosCase, LabelledCase, fold_of, read_chaos, read_decathlon, read_folder
from training.labelled.samples import ChannelOf, Sample, on_model_grid
from training.loop import Place, Schedule, autocast
from training.losses import presence_loss, segmentation_loss
from training.networks.conditioned import Conditioned
from training.networks.nano import PlainUNet
from training.networks.zeus import ZeusConfig

__all__ = ["LabelledData", "LabelledTask", "LabelledTraining"]


@dataclass(frozen=True)
class LabelledData:
    """Which data set, and how it is shown.

    Attributes:
        folder: Of the data set, from the project's root.
        layout: "decathlon" (MSD), "chaos", or "folder": plain NIfTI files of the same names in `images` and
            `labels`.
        channels: What the network is given, in order.
        targets: Structures to segment, in the data set's words.
        spacing_mm: Voxel size of the network.
        patch_voxels: Shape of a training patch, divisible by 2^(resolutions - 1).
        folds: Parts of the data set, by the case's (or patient's) name.
        held_out: The fold that is not trained on.
        augmentation: How patches vary.
        images: Of a "folder": modality to the folder inside `folder`.
        labels: Of a "folder": where the label maps are.
        structures: Of a "folder": label value, as text, to name.
    """

    folder: str
    layout: Literal["decathlon", "chaos", "folder"]
    channels: tuple[ChannelOf, ...]
    targets: tuple[str, ...]
    spacing_mm: float
    patch_voxels: tuple[int, int, int]
    folds: int = 5
    held_out: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)
    images: dict[str, str] = field(default_factory=dict)
    labels: str = ""
    structures: dict[str, str] = field(default_factory=dict)

    def read(self, root: Path, held_out: bool) -> list[Sample]:
        """Every case of the training folds, or of the one that is held out.

        Args:
            root: Of the project.
            held_out: Which.

        Raises:
            ImageError: The data set is damaged.
            UsageError: No case is left.
        """
        kernels = open_kernels("cpu", 0)
        shown = [
            on_model_grid(name, case.read(), self.channels, self.targets, self.spacing_mm, kernels)
            for name, patient, case in self._cases(root / self.folder)
            if (fold_of(patient, self.folds) == self.held_out) == held_out
        ]
        if not shown:
            raise UsageError(
                f"{root / self.folder}: no case in {'fold' if held_out else 'folds but'} {self.held_out}"
            )
        return shown

    def _cases(self, folder: Path) -> list[tuple[str, str, LabelledCase | ChaosCase]]:
        """Name, patient and files of every case."""
        if self.layout == "chaos":
            return [(case.name, case.patient, case) for case in read_chaos(folder)]
        if self.layout == "decathlon":
            return [(case.name, case.name, case) for case in read_decathlon(folder)]
        images = {modality: folder / name for modality, name in self.images.items()}
        structures = {int(value): name for value, name in self.structures.items()}
        return [
            (case.name, case.name, case) for case in read_folder(images, folder / self.labels, structures)[0]
        ]


@dataclass(frozen=True)
class LabelledTraining:
    """One training on a labelled data set.

    Attributes:
        name: Of the run.
        kind: "labelled".
        data: What is trained on.
        model: "unet": the encoder of Zeus with one fixed vector per target. "zeus": with its decoder.
        text: Configuration of a text encoder; empty: condition vectors are learned.
        text_modalities: Of that vocabulary, one for each channel.
        seed: Batch n is drawn from (seed, n).
        schedule: How long and how fast.
        zeus: Size of the network; `modalities` is the number of channels.
        noise: Length of the random vector that is added to a text's condition vector.
        presence: Weight of the presence's loss.
    """

    name: str
    kind: Literal["labelled"]
    data: LabelledData
    model: Literal["unet", "zeus"] = "zeus"
    text: str = ""
    text_modalities: tuple[str, ...] = ()
    seed: int = 0
    schedule: Schedule = field(default_factory=lambda: Schedule(3000, 2, 2e-3, 100, 2000))
    zeus: ZeusConfig = field(default_factory=ZeusConfig)
    noise: float = 0.3
    presence: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        channels = len(self.data.channels)
        if self.zeus.modalities != channels:
            raise ValueError(f"zeus.modalities is {self.zeus.modalities}, there are {channels} channels")
        if self.text and (self.model == "unet" or len(self.text_modalities) != channels):
            raise ValueError("text needs the model zeus, and one of text_modalities for each channel")


class LabelledTask:
    """Cross-entropy and Dice over background and targets; what is foreign must win nowhere."""

    def __init__(self, config: LabelledTraining, root: Path, runs: Path) -> None:
        """Choose the data.

        Args:
            config: What to train.
            root: Of the project.
            runs: Folder of trainings, that of the text encoder among them.
        """
        self.config, self._root, self._runs = config, root, runs

    def network(self) -> Conditioned | PlainUNet:
        """A new network with random weights."""
        config, targets = self.config, len(self.config.data.targets)
        if config.model == "unet":
            return PlainUNet(config.zeus, targets)
        return Conditioned(config.zeus, 0 if config.text else targets)

    def text_model(self) -> TextModel | None:
        """The text encoder this training is asked with, if any."""
        return text_model(self.config.text, self._runs) if self.config.text else None

    def batches(self, start: int, place: Place) -> Iterator[tuple[Tensor, ...]]:
        """Images, what is present, class counts, and condition vectors where there is a text."""
        config, data = self.config, self.config.data
        samples = data.read(self._root, held_out=False)
        asked, model = asked_with_foreign(data.targets), self.text_model()
        pool = None if model is None else ConditionPool(model, config.text_modalities, asked)
        step = start
        while True:
            random = np.random.default_rng((config.seed, step))
            chosen = [samples[int(n)] for n in random.integers(len(samples), size=config.schedule.batch)]
            patches = [
                random_patch(sample, data.patch_voxels, len(data.targets), random, data.augmentation)
                for sample in chosen
            ]
            present = torch.from_numpy(np.stack([sample.present for sample in chosen]))
            batch = (torch.stack([p[0] for p in patches]), present, torch.stack([p[1] for p in patches]))
            yield batch if pool is None else (*batch, pool.draw(len(chosen), random, config.noise))
            step += 1

    def loss(self, network: nn.Module, batch: Any, step: int, device: torch.device) -> Tensor:
        """The loss of one batch."""
        image, present, counts, *condition = (part.to(device) for part in batch)
        with autocast(device):
            scores, presence = network(image, present, *condition)
        extra = scores.shape[1] - counts.shape[1]
        counts = F.pad(counts, (0, 0, 0, 0, 0, 0, 0, extra))
        seen = torch.ones(counts[:, 0].shape, dtype=torch.bool, device=device)
        weights = torch.ones(counts.shape[1], device=device)
        loss = segmentation_loss(scores, counts, seen, weights)
        if presence is not None:
            loss = loss + self.config.presence * presence_loss(presence, counts)
        return loss
