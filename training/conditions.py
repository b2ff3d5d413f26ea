"""Condition vectors of many wordings of every request, from a trained text encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from runtime.errors import UsageError
from training.instructions import NO_TARGET, Writer
from training.loop import load_average
from training.networks.text import MOST_TOKENS
from training.tasks.text import TextTask, TextTraining
from training.tokens import padded

__all__ = ["ConditionPool", "TextModel", "asked_with_foreign", "text_model"]


class TextModel:
    """A trained text encoder with its tokenizer."""

    def __init__(self, config: TextTraining, run: Path) -> None:
        """Load it.

        Args:
            config: Its training.
            run: Folder of that training.

        Raises:
            UsageError: It was not trained yet.
        """
        checkpoint = run / "last.pt"
        if not checkpoint.is_file():
            raise UsageError(
                f"{checkpoint} is not there; run python -m training.train --config {config.name}"
            )
        self.task = TextTask(config, run)
        self.network = self.task.network()
        load_average(checkpoint, self.network)

    @torch.no_grad()
    def embed(self, texts: list[str]) -> Tensor:
        """Texts to condition vectors (N, condition) of length 1."""
        rows = []
        for at in range(0, len(texts), 256):
            ids = padded(self.task.tokenizer, texts[at : at + 256], MOST_TOKENS)
            rows.append(self.network.encoder(torch.from_numpy(ids)))
        return torch.cat(rows)

    def plain(self, modality: str, target: str) -> str:
        """The plainest instruction there is: what the bank of a bundle answers with."""
        known = self.task.vocabulary
        name = known.targets[target][0].removeprefix("the ")
        return f"Segment the {name} on the {known.modalities[modality][0]}."


class ConditionPool:
    """Vectors to draw from in training: (modality, target, wording)."""

    def __init__(
        self,
        model: TextModel,
        modalities: tuple[str, ...],
        targets: tuple[str, ...],
        part: Literal["training", "evaluation"] = "training",
        wordings: int = 200,
        seed: int = 0,
    ) -> None:
        """Write and encode the texts.

        Args:
            model: The text encoder.
            modalities: M of its vocabulary.
            targets: T of its vocabulary; `NO_TARGET` is everything else.
            part: Which texts.
            wordings: W, of each request.
            seed: Of the texts.
        """
        writer = Writer(part, model.task.vocabulary)
        random = np.random.default_rng((seed, 4))
        texts = [
            writer.write(random, target, modality).text
            for modality in modalities
            for target in targets
            for _ in range(wordings)
        ]
        self.vectors = model.embed(texts).reshape(len(modalities), len(targets), wordings, -1)
        """(M, T, W, condition)."""

    def draw(self, count: int, random: np.random.Generator, noise: float) -> Tensor:
        """Draw one wording for each modality and target of each sample.

        Args:
            count: N.
            random: Where chance comes from.
            noise: Length of a random vector that is added before the length becomes 1 again.

        Returns:
            (N, M, T, condition).
        """
        modalities, targets, wordings, width = self.vectors.shape
        chosen = torch.from_numpy(random.integers(wordings, size=(count, modalities, targets)))
        index = chosen[..., None, None].expand(-1, -1, -1, 1, width)
        drawn = self.vectors.expand(count, -1, -1, -1, -1).gather(3, index)[..., 0, :]
        shaken = torch.from_numpy(random.standard_normal(drawn.shape, np.float32)) * (noise / width**0.5)
        return F.normalize(drawn + shaken, dim=-1)


def asked_with_foreign(targets: tuple[str, ...]) -> tuple[str, ...]:
    """Targets, and what is none of them: it must give an empty mask."""
    return (*targets, NO_TARGET)


def text_model(name: str, runs: Path) -> TextModel:
    """The trained text encoder of a configuration.

    Args:
        name: Of the configuration.
        runs: Folder of trainings.

    Raises:
        UsageError: It trains no text encoder, or was not trained yet.
    """
    from training.config import read_config  # which knows trainings that need this

    config = read_config(name)
    if not isinstance(config, TextTraining):
        raise UsageError(f"{name} is no training of a text encoder")
    return TextModel(config, runs / config.name)
