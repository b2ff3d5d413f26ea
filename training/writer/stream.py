"""An endless, seeded stream of cases: batch n is the same on every run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import IterableDataset

from training.anatomy import Head, load_label_map
from training.dataset import HELD_OUT, load_phantom, training_maps
from training.tissues import CHANNELS
from training.writer.bodies import draw_body
from training.writer.cases import Case, CaseConfig, draw_cases
from training.writer.findings import Unclear
from training.writer.heads import Subject, draw_subject
from training.writer.sentences import sentence_of

__all__ = ["CaseStream", "HeadSource", "WriterStreamConfig", "held_out_heads", "phantom_heads"]
__all__ += ["training_heads"]

HeadSource = Callable[[], Head]
"""Reads a head from its file: so many do not fit into memory."""

_MR = [channel for channel in CHANNELS if channel != "CT"]

_HELD_OUT_PHANTOMS = range(901, 904)


@dataclass(frozen=True)
class WriterStreamConfig:
    """What the stream draws from.

    Attributes:
        seed: Batch n is drawn from (seed, n).
        subjects: Heads with their lesions that are in use at a time.
        life: Batches that one of them is used for.
        phantoms: Heads of the analytic phantom beside the real ones.
        phantom_share: Probability of drawing a phantom.
        body_share: Probability of drawing a trunk; half of its scans are CT.
        cases: How cases vary.
    """

    seed: int = 0
    subjects: int = 16
    life: int = 96
    phantoms: int = 60
    phantom_share: float = 0.25
    body_share: float = 0.06
    cases: CaseConfig = field(default_factory=CaseConfig)

    def __post_init__(self) -> None:
        """Refuse lives that nobody can divide."""
        if self.subjects < 1 or self.life < self.subjects:
            raise ValueError(
                f"life is {self.life}, less than the {self.subjects} subjects; one is drawn a batch"
            )


def training_heads(maps: Path, cache: Path, phantoms: int) -> tuple[list[HeadSource], list[HeadSource]]:
    """Real heads that are not held out, and phantoms.

    Args:
        maps: Folder of label maps.
        cache: Folder for derived maps.
        phantoms: How many.
    """
    real = [_real(path, cache) for path in training_maps(maps)]
    return real, [_phantom(seed, cache) for seed in range(1, phantoms + 1)]


def held_out_heads(maps: Path, cache: Path) -> list[HeadSource]:
    """Heads that training never sees: label maps, and as many phantoms."""
    return [*(_real(maps / f"{name}.nii.gz", cache) for name in HELD_OUT), *phantom_heads(cache)]


def phantom_heads(cache: Path) -> list[HeadSource]:
    """The phantoms among them: they need no data."""
    return [_phantom(seed, cache) for seed in _HELD_OUT_PHANTOMS]


def _real(path: Path, cache: Path) -> HeadSource:
    return lambda: load_label_map(path, cache)


def _phantom(seed: int, cache: Path) -> HeadSource:
    return lambda: load_phantom(seed, cache)


class CaseStream(IterableDataset[tuple[NDArray[np.uint8], list[str]]]):
    """Yields pictures (batch, V, size, size) uint8, 0 to 255, and an instruction for each.

    A batch shows several heads, because a head with its lesions takes as long to make as many cases: each
    slot keeps one for `life` batches, and slots change in turn.
    """

    def __init__(
        self,
        heads: tuple[Sequence[HeadSource], Sequence[HeadSource]],
        config: WriterStreamConfig,
        batch: int,
        start: int = 0,
    ) -> None:
        """Choose what is drawn.

        Args:
            heads: Real ones and phantoms.
            config: What the stream draws from.
            batch: Cases of one batch.
            start: Number of the first batch.
        """
        self._real, self._phantoms = heads
        self._config, self._batch, self._start = config, batch, start

    def __iter__(self) -> Iterator[tuple[NDArray[np.uint8], list[str]]]:
        """Endless; with several workers each takes every n-th batch."""
        torch.set_num_threads(1)
        worker = torch.utils.data.get_worker_info()
        first, every = (worker.id, worker.num_workers) if worker else (0, 1)
        held: dict[int, tuple[int, Subject]] = {}
        number = self._start + first
        while True:
            random = np.random.default_rng((self._config.seed, 1, number))
            cases: list[Case] = []
            while len(cases) < self._batch:
                slot = int(random.integers(self._config.subjects))
                subject = self._subject(held, slot, number)
                asked = ("CT", str(random.choice(_MR))) if subject.is_body else None
                with suppress(Unclear):
                    cases += draw_cases(subject, random, self._config.cases, asked)
            cases = cases[: self._batch]
            pictures = np.stack([case.pictures for case in cases])
            yield np.rint(pictures * 255).astype(np.uint8), [sentence_of(case.truth) for case in cases]
            number += every

    def _subject(self, held: dict[int, tuple[int, Subject]], slot: int, number: int) -> Subject:
        """Who is in a slot at a batch."""
        config = self._config
        turn = (number + slot * config.life // config.subjects) // config.life
        if slot not in held or held[slot][0] != turn:
            random = np.random.default_rng((config.seed, 2, slot, turn))
            held[slot] = turn, self._drawn(random)
        return held[slot][1]

    def _drawn(self, random: np.random.Generator) -> Subject:
        if random.random() < self._config.body_share:
            return draw_body(random)
        phantom = bool(self._phantoms) and random.random() < self._config.phantom_share
        heads = self._phantoms if phantom or not self._real else self._real
        return draw_subject(heads[int(random.integers(len(heads)))](), random)
