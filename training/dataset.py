"""An endless, seeded stream of synthetic heads: sample n is the same on every run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from training.anatomy import Head, cached, load_label_map
from training.brightness import scan_around
from training.contrast import ContrastConfig, paint
from training.geometry import GeometryConfig, random_fractions
from training.structures import CLASS_NAMES
from training.tissues import CHANNELS, class_table

__all__ = ["HeadStream", "StreamConfig", "class_fractions", "load_heads"]

HELD_OUT = ("training_seg_18", "training_seg_19", "training_seg_20")
"""Label maps that training never sees."""

_STUDY = [CHANNELS.index(name) for name in ("T1", "T2", "FLAIR", "CT")]


@dataclass(frozen=True)
class StreamConfig:
    """What the stream draws from.

    Attributes:
        seed: Sample n is drawn from (seed, n).
        looks: Samples painted from one deformed shape before the next is drawn.
        phantoms: Heads of the analytic phantom beside the real ones.
        phantom_share: Probability of drawing a phantom.
        phantom_study: Probability that a phantom is shown in the four contrasts of the demo study.
        geometry: How shapes vary.
        contrast: How looks vary.
    """

    seed: int = 0
    looks: int = 3
    phantoms: int = 60
    phantom_share: float = 0.35
    phantom_study: float = 0.5
    geometry: GeometryConfig = field(default_factory=GeometryConfig)
    contrast: ContrastConfig = field(default_factory=ContrastConfig)


def class_fractions(parts: Tensor) -> Tensor:
    """Tissue fractions (tissues, I, J, K) float32 to class counts of 0…8, (classes, I, J, K) uint8."""
    table = torch.from_numpy(class_table().astype(np.int64))
    onehot = torch.nn.functional.one_hot(table, len(CLASS_NAMES)).T.float()
    counts = (onehot @ parts.flatten(1)).mul_(8).round_().to(torch.uint8)
    return counts.view(len(CLASS_NAMES), *parts.shape[1:])


def load_heads(maps: Path, cache: Path, phantoms: int) -> tuple[list[Head], list[Head]]:
    """Load the training heads: real label maps that are not held out, and analytic phantoms.

    Args:
        maps: Folder with `training_seg_*.nii.gz`.
        cache: Folder for derived maps.
        phantoms: How many random phantoms.
    """
    paths = [path for path in sorted(maps.glob("*.nii.gz")) if path.name.split(".")[0] not in HELD_OUT]
    real = [load_label_map(path, cache) for path in paths]
    return real, [_phantom(seed, cache) for seed in range(1, phantoms + 1)]


def _phantom(seed: int, cache: Path) -> Head:
    from runtime.volume import Grid
    from training.phantom import HeadParameters, sample_labels

    affine = np.eye(4)
    affine[:3, 3] = (-96.0, -120.0, -130.0)
    grid = Grid((193, 241, 241), affine)
    return cached(cache / f"phantom_{seed:03d}", lambda: sample_labels(HeadParameters.random(seed), grid))


class HeadStream(IterableDataset[tuple[Tensor, Tensor, Tensor]]):
    """Yields channels (5, I, J, K) float16, class counts (classes, I, J, K) uint8, seen (I, J, K) bool."""

    def __init__(self, real: list[Head], phantoms: list[Head], config: StreamConfig, start: int = 0) -> None:
        self._real, self._phantoms, self._config, self._start = real, phantoms, config, start

    def _heads(self, random: np.random.Generator) -> list[Head]:
        phantom = bool(self._phantoms) and random.random() < self._config.phantom_share
        return self._phantoms if phantom else self._real

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Endless; with several workers each takes every n-th shape."""
        torch.set_num_threads(1)
        worker = torch.utils.data.get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        config = self._config
        shape = self._start // config.looks + first
        while True:
            random = np.random.default_rng((config.seed, shape))
            heads = self._heads(random)
            head = heads[int(random.integers(len(heads)))]
            fractions = random_fractions(head, random, config.geometry)
            patch = fractions.sum((1, 2, 3)).double().numpy()
            for _ in range(config.looks):
                scan = scan_around(head.cubes, patch, random)
                whole = heads is self._phantoms and random.random() < config.phantom_study
                chosen = _STUDY if whole else None
                image, parts, seen = paint(
                    fractions, random, config.geometry.spacing_mm, config.contrast, chosen, scan
                )
                yield image.half(), class_fractions(parts), seen
            shape += step
