"""A language model that looks at a series and learns to write its instruction, word by word."""

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

from runtime.language.sentence import parse
from training.loop import Place, Schedule, autocast
from training.networks.writer import WriterNetwork, WriterSize
from training.tasks.heads import MAPS
from training.writer.facts import FACTS, NOT_ASKED, facts_of
from training.writer.sentences import VOCABULARY, longest_sentences
from training.writer.stream import CaseStream, WriterStreamConfig, training_heads
from training.writer.words import BEGIN, IMAGE_END, IMAGE_START, answers, make_tokenizer, read_tokenizer

__all__ = ["AFTER", "BEFORE", "WriterTask", "WriterTraining"]

BEFORE, AFTER = (BEGIN, IMAGE_START), (IMAGE_END,)
"""Tokens of the prompt before the image and after it."""

_PREFETCHED = 3

_CHOICES = [len(choices) for choices in FACTS.values()]


@dataclass(frozen=True)
class WriterTraining:
    """One training of a writer.

    Attributes:
        name: Of the run.
        kind: "writer".
        maps: Folder of label maps, from the project's root.
        schedule: How long and how fast.
        size: Of the network.
        stream: What the data looks like.
        facts: Weight of what is asked of the visual tokens directly, for each of `training.writer.facts`.
    """

    name: str
    kind: Literal["writer"]
    maps: str = MAPS
    schedule: Schedule = field(
        default_factory=lambda: Schedule(16_000, 32, 1e-3, 400, 6_000, average=0.998, decay=0.02)
    )
    size: WriterSize = field(default_factory=WriterSize)
    stream: WriterStreamConfig = field(default_factory=WriterStreamConfig)
    facts: float = 0.2

    def __post_init__(self) -> None:
        """Refuse pictures that the network does not take."""
        if self.stream.cases.size != self.size.vision.size:
            raise ValueError(
                f"pictures have {self.stream.cases.size} pixels along a side, the network takes "
                f"{self.size.vision.size}"
            )


class WriterTask:
    """Cross-entropy of each token of the answer, and of what the visual tokens are asked directly."""

    def __init__(self, config: WriterTraining, root: Path, run: Path, fresh: bool = False) -> None:
        """Take the run's tokenizer, or make it.

        Args:
            config: What to train.
            root: Of the project.
            run: Folder of the training; its `tokenizer.json` belongs to the weights.
            fresh: Make it again.
        """
        self.config, self._root = config, root
        path = run / "tokenizer.json"
        if fresh or not path.is_file():
            run.mkdir(parents=True, exist_ok=True)
            make_tokenizer(VOCABULARY).save(str(path))
        self.tokenizer = read_tokenizer(path)

    def longest_answer(self) -> int:
        """Tokens of the longest instruction that is taught, and its end."""
        return max(len(self.tokenizer.encode(text).ids) for text in longest_sentences()) + 1

    def network(self) -> WriterNetwork:
        """A new network with random weights."""
        return WriterNetwork(self.config.size, self.tokenizer.get_vocab_size(), sum(_CHOICES))

    def batches(self, start: int, place: Place) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Pictures (N, V, size, size) uint8, token ids of answers (N, L), -1 after the end, facts (N, F)."""
        config = self.config
        cache = place.run.parent / "heads"
        heads = training_heads(self._root / config.maps, cache, config.stream.phantoms)
        data = CaseStream(heads, config.stream, config.schedule.batch, start)
        ahead = _PREFETCHED if place.workers else None
        for pictures, texts in DataLoader(
            data, batch_size=None, num_workers=place.workers, prefetch_factor=ahead
        ):
            facts = torch.tensor([facts_of(parse(text, VOCABULARY)) for text in texts])
            wanted = torch.from_numpy(answers(self.tokenizer, texts))
            yield torch.as_tensor(np.asarray(pictures)), wanted, facts

    def loss(self, network: nn.Module, batch: Any, step: int, device: torch.device) -> Tensor:
        """The loss of one batch."""
        assert isinstance(network, WriterNetwork)
        pictures, wanted, facts = (part.to(device) for part in batch)
        before = torch.tensor(BEFORE, device=device)
        after = torch.tensor(AFTER, device=device).expand(len(wanted), -1)
        given = torch.cat([after, wanted[:, :-1].clamp_min(0)], dim=1)
        with autocast(device):
            logits, judged = network(pictures.float() / 255, before, given)
        logits = logits[:, len(AFTER) - 1 :].float().transpose(1, 2)
        loss = F.cross_entropy(logits, wanted, ignore_index=-1)
        for number, scores in enumerate(judged.float().split(_CHOICES, dim=1)):
            asked = facts[:, number] != NOT_ASKED
            right = F.cross_entropy(scores, facts[:, number].clamp_min(0), reduction="none") * asked
            loss = loss + self.config.facts * right.sum() / asked.sum().clamp_min(1)
        return loss
