"""An endless, seeded stream of synthetic heads: sample n is the same on every run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from training.anatomy import Head, cached, load_label_map
from training.brightness import scan_around, strip
from training.contrast import ContrastConfig, paint
from training.field import head_box, slab, without_skull
from training.geometry import GeometryConfig, random_fractions
from training.structures import CLASS_NAMES
from training.tissues import CHANNELS, class_table

__all__ = ["HELD_OUT", "HeadStream", "StreamConfig", "class_fractions", "load_heads", "load_phantom"]
__all__ += ["training_maps"]

HELD_OUT = ("training_seg_18", "training_seg_19", "training_seg_20")
"""Label maps that training never sees."""

_STUDY = [CHANNELS.index(name) for name in ("T1", "T2", "FLAIR", "CT")]


WHOLE = GeometryConfig((128, 160, 128), offset_mm=(0.0, 0.0, -14.0), reach_mm=(5.0, 8.0, 14.0), far=0.0)
"""A field of view that holds a head; what is air goes."""

_LEAST_SLAB = 64


@dataclass(frozen=True)
class StreamConfig:
    """What the stream draws from.

    Attributes:
        seed: Sample n is drawn from (seed, n).
        looks: Samples painted from one deformed shape before the next is drawn.
        phantoms: Heads of the analytic phantom beside the real ones.
        phantom_share: Probability of drawing a phantom.
        phantom_study: Probability that a phantom is shown in the four contrasts of the demo study.
        whole: Probability of a whole head, cut out as the runtime does, and not a patch of it.
        partial: Probability that a whole head is scanned in part only.
        stripped: Probability that everything outside the brain is air.
        geometry: How patches vary.
        whole_geometry: How whole heads vary.
        contrast: How looks vary.
        study_contrast: The same for a phantom in the demo study's contrasts.
    """

    seed: int = 0
    looks: int = 3
    phantoms: int = 60
    phantom_share: float = 0.4
    phantom_study: float = 0.6
    whole: float = 0.9
    partial: float = 0.25
    stripped: float = 0.12
    geometry: GeometryConfig = field(default_factory=GeometryConfig)
    whole_geometry: GeometryConfig = field(default_factory=lambda: WHOLE)
    contrast: ContrastConfig = field(default_factory=ContrastConfig)
    study_contrast: ContrastConfig = field(default_factory=lambda: ContrastConfig(clinical=0.8))


def class_fractions(fractions: Tensor) -> Tensor:
    """Tissue counts (tissues, I, J, K) uint8 to class counts (classes, I, J, K) uint8."""
    counts = torch.zeros(len(CLASS_NAMES), *fractions.shape[1:], dtype=torch.uint8)
    for tissue, index in enumerate(class_table().tolist()):
        counts[index] += fractions[tissue]
    return counts


def training_maps(maps: Path) -> list[Path]:
    """Label maps of a folder that are not held out."""
    return [path for path in sorted(maps.glob("*.nii.gz")) if path.name.split(".")[0] not in HELD_OUT]


def load_heads(maps: Path, cache: Path, phantoms: int) -> tuple[list[Head], list[Head]]:
    """Load the training heads: real label maps that are not held out, and analytic phantoms.

    Args:
        maps: Folder with `training_seg_*.nii.gz`.
        cache: Folder for derived maps.
        phantoms: How many random phantoms.
    """
    real = [load_label_map(path, cache) for path in training_maps(maps)]
    return real, [load_phantom(seed, cache) for seed in range(1, phantoms + 1)]


def load_phantom(seed: int, cache: Path) -> Head:
    """One head of the analytic phantom.

    Args:
        seed: Of its random parameters.
        cache: Folder for its map.
    """
    from runtime.volume import Grid
    from training.phantom import HeadParameters, sample_labels

    affine = np.eye(4)
    affine[:3, 3] = (-96.0, -120.0, -130.0)
    grid = Grid((193, 241, 241), affine)
    return cached(cache / f"phantom_{seed:03d}", lambda: sample_labels(HeadParameters.random(seed), grid))


class HeadStream(IterableDataset[tuple[Tensor, Tensor, Tensor]]):
    """Yields channels (5, I, J, K) float16, class counts (classes, I, J, K) uint8, seen (I, J, K) bool.

    Sides differ between shapes and are divisible by 16.
    """

    def __init__(self, real: list[Head], phantoms: list[Head], config: StreamConfig, start: int = 0) -> None:
        self._real, self._phantoms, self._config, self._start = real, phantoms, config, start

    def _heads(self, random: np.random.Generator) -> list[Head]:
        phantom = bool(self._phantoms) and random.random() < self._config.phantom_share
        return self._phantoms if phantom else self._real

    def _shape(self, head: Head, random: np.random.Generator) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Fractions of one deformed head or patch, and what cuts their air away."""
        config = self._config
        if random.random() >= config.whole:
            return random_fractions(head, random, config.geometry), lambda given: given

        def cut(given: Tensor) -> Tensor:
            i, j, k = head_box(given, random, config.whole_geometry.spacing_mm)
            return given[:, i, j, k]

        fractions = cut(random_fractions(head, random, config.whole_geometry))
        if random.random() < config.partial:
            k = slab(fractions.shape[3], random, _LEAST_SLAB)
            fractions = fractions[..., k]
        return fractions.contiguous(), cut

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
            fractions, cut = self._shape(head, random)
            patch = fractions.sum((1, 2, 3)).double().numpy()
            for _ in range(config.looks):
                scan, shown = scan_around(head.cubes, patch, random), fractions
                if random.random() < config.stripped:
                    scan, shown = strip(scan), cut(without_skull(fractions))
                study = heads is self._phantoms and random.random() < config.phantom_study
                chosen, contrast = (_STUDY, config.study_contrast) if study else (None, config.contrast)
                image, seen = paint(shown, random, config.geometry.spacing_mm, contrast, chosen, scan)
                yield image.half(), class_fractions(shown), seen
            shape += step
