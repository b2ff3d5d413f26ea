"""Texts that training never saw: which target does the encoder think they ask for?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from training.conditions import TextModel
from training.instructions import Writer
from training.networks.text import MOST_TOKENS
from training.tasks.text import TextTraining
from training.tokens import padded

__all__ = ["evaluate_text"]

_TEXTS = 200
_SEEDS = 10


def evaluate_text(config: TextTraining, runs: Path) -> list[dict[str, Any]]:
    """Rows of both parts: how many of 200 texts are nearest to the anchor of their own target.

    Args:
        config: The training.
        runs: Folder of trainings.

    Raises:
        UsageError: It was not trained yet.
    """
    model = TextModel(config, runs / config.name)
    rows = []
    for part in ("training", "evaluation"):
        shares = []
        for seed in range(_SEEDS):
            random = np.random.default_rng((1000 + seed, 9))
            writer = Writer(part, model.task.vocabulary)
            texts = [writer.write(random) for _ in range(_TEXTS)]
            shares.append(_share(model, [t.text for t in texts], [t.target for t in texts]))
        rows.append(
            {
                "run": config.name,
                "measure": f"right target, {part} texts",
                "texts": _TEXTS * _SEEDS,
                "mean": float(np.mean(shares)),
                f"worst of {_SEEDS}": float(min(shares)),
            }
        )
    return rows


@torch.no_grad()
def _share(model: TextModel, texts: list[str], targets: list[str]) -> float:
    ids = padded(model.task.tokenizer, texts, MOST_TOKENS)
    cosines = model.network.encoder(torch.from_numpy(ids)) @ F.normalize(model.network.anchors, dim=1).T
    found = cosines.argmax(dim=1).tolist()
    return float(np.mean([model.task.targets[n] == t for n, t in zip(found, targets, strict=True)]))
