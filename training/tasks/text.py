"""Instructions for the text encoder: a text lands near what it asks for, whatever the words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from runtime.errors import UsageError
from training.instructions import NO_TARGET, VOCABULARIES, Writer
from training.loop import Place, Schedule
from training.networks.text import MOST_TOKENS, TextConfig, TextEncoder
from training.tokens import make_tokenizer, padded, read_tokenizer, unknown_id

__all__ = ["TextNetwork", "TextSize", "TextTask", "TextTraining"]


@dataclass(frozen=True)
class TextSize:
    """Size of a text encoder; its vocabulary follows from the texts.

    Attributes:
        tokens: Most entries of the vocabulary.
        width: Inside the encoder.
        layers: Transformer layers.
        heads: Of each attention.
        condition: Length of a condition vector.
    """

    tokens: int = 1000
    width: int = 64
    layers: int = 2
    heads: int = 4
    condition: int = 64


@dataclass(frozen=True)
class TextTraining:
    """One training of a text encoder.

    Attributes:
        name: Of the run.
        kind: "text".
        vocabulary: Name in `training.instructions.VOCABULARIES`.
        seed: Texts of step n are drawn from (seed, n).
        unclear: Share of texts that ask for two things alike, and are to lie between both.
        sharpness: Cosines are multiplied by this before the softmax.
        dropped: Probability that a token is replaced by the unknown one.
        schedule: How long and how fast.
        size: Of the encoder.
    """

    name: str
    kind: Literal["text"]
    vocabulary: str = "head"
    seed: int = 0
    unclear: float = 0.06
    sharpness: float = 16.0
    dropped: float = 0.04
    schedule: Schedule = field(default_factory=lambda: Schedule(4000, 128, 2e-3, 100, 2500))
    size: TextSize = field(default_factory=TextSize)

    def __post_init__(self) -> None:
        """Refuse a vocabulary that nobody wrote."""
        if self.vocabulary not in VOCABULARIES:
            raise ValueError(f"vocabulary is {self.vocabulary!r}; use one of {', '.join(VOCABULARIES)}")


class TextNetwork(nn.Module):
    """The encoder, and one anchor for each target (and for everything else) that its texts gather around.

    Anchors (targets, condition) are fixed and at right angles to each other: no two targets can come close,
    whatever the texts.
    """

    anchors: Tensor

    def __init__(self, config: TextConfig, targets: int) -> None:
        """Build it with random weights.

        Args:
            config: Size of the encoder.
            targets: Anchors, that of "nothing of ours" included.

        Raises:
            UsageError: A condition is too short for so many right angles.
        """
        super().__init__()
        if targets > config.condition:
            raise UsageError(f"{targets} targets need a condition of as many numbers, not {config.condition}")
        self.encoder = TextEncoder(config)
        mixed = np.linalg.qr(np.random.default_rng(0).standard_normal((config.condition, targets)))[0]
        self.register_buffer("anchors", torch.from_numpy(np.ascontiguousarray(mixed.T, np.float32)))

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids (N, L) to cosines with every anchor (N, targets)."""
        return self.encoder(ids) @ self.anchors.T  # type: ignore[no-any-return]


class TextTask:
    """Softmax over cosines with the anchors, and a pull towards the right one."""

    def __init__(self, config: TextTraining, run: Path, fresh: bool = False) -> None:
        """Take the run's tokenizer, or make it from the texts of training.

        Args:
            config: What to train.
            run: Folder of the training; its `tokenizer.json` belongs to the weights: made again from the
                same texts it would number some words otherwise.
            fresh: Make it again.
        """
        self._config = config
        self.vocabulary = VOCABULARIES[config.vocabulary]
        self.writer = Writer("training", self.vocabulary)
        self.targets = (*self.vocabulary.targets, NO_TARGET)
        path = run / "tokenizer.json"
        if fresh or not path.is_file():
            run.mkdir(parents=True, exist_ok=True)
            make_tokenizer(self.writer, config.size.tokens, config.seed).save(str(path))
        self.tokenizer = read_tokenizer(path)

    def network(self) -> TextNetwork:
        """A new network with random weights."""
        size = self._config.size
        known = self.tokenizer.get_vocab_size()
        config = TextConfig(known, size.width, size.layers, size.heads, size.condition)
        return TextNetwork(config, len(self.targets))

    def batches(self, start: int, place: Place) -> Iterator[tuple[Tensor, Tensor]]:
        """Token ids (N, L), and how much each of T targets is asked for (N, T), 1 in all."""
        step, unknown = start, unknown_id(self.tokenizer)
        while True:
            random = np.random.default_rng((self._config.seed, step))
            count = self._config.schedule.batch
            unclear = round(self._config.unclear * count)
            texts = [self.writer.write(random) for _ in range(count - unclear)]
            texts += [self.writer.write_unclear(random) for _ in range(unclear)]
            ids = padded(self.tokenizer, [text.text for text in texts], MOST_TOKENS)
            ids[(ids != 0) & (random.random(ids.shape) < self._config.dropped)] = unknown
            asked = np.zeros((count, len(self.targets)), np.float32)
            for row, text in zip(asked, texts, strict=True):
                for name in (text.target, text.target if text.also is None else text.also):
                    row[self.targets.index(name)] += 0.5
            yield torch.from_numpy(ids), torch.from_numpy(asked)
            step += 1

    def loss(self, network: nn.Module, batch: object, step: int, device: torch.device) -> Tensor:
        """The loss of one batch."""
        assert isinstance(batch, tuple)
        ids, asked = (part.to(device) for part in batch)
        cosines = network(ids)
        pull: Tensor = 1 - (cosines * F.normalize(asked, dim=1)).sum(1).mean()
        right: Tensor = F.cross_entropy(self._config.sharpness * cosines, asked)
        return right + pull
