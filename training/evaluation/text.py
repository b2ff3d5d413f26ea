"""Texts that training never saw: which target does the encoder think they ask for?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.conditions import TextModel
from training.instructions import Instruction, Writer
from training.instructions.wordings import Part
from training.tasks.text import TextTraining

__all__ = ["evaluate_text"]

_TEXTS = 200
_SEEDS = 10
_LIMITS = (0.1, 0.2, 0.3)


def evaluate_text(config: TextTraining, runs: Path) -> list[dict[str, Any]]:
    """Rows of both parts: how many of 200 texts are nearest to the anchor of their own target.

    Of limits to the margin over the second target: how many texts that ask for one target, and how many that
    ask for two alike, are below it.

    Args:
        config: The training.
        runs: Folder of trainings.

    Raises:
        UsageError: It was not trained yet.
    """
    model = TextModel(config, runs / config.name)
    rows = []
    parts: tuple[Part, ...] = ("training", "evaluation")
    for part in parts:
        writer = Writer(part, model.task.vocabulary)
        shares, margins, unclear = [], [], []
        for seed in range(_SEEDS):
            random = np.random.default_rng((1000 + seed, 9))
            texts = [writer.write(random) for _ in range(_TEXTS)]
            found, margin = _found(model, texts)
            shares.append(np.mean([f == t.target for f, t in zip(found, texts, strict=True)]))
            margins.append(margin)
            unclear.append(_found(model, [writer.write_unclear(random) for _ in range(_TEXTS // 10)])[1])
        row = {"run": config.name, "measure": f"right target, {part} texts", "texts": _TEXTS * _SEEDS}
        rows.append({**row, "mean": float(np.mean(shares)), f"worst of {_SEEDS}": float(min(shares))})
        for limit in _LIMITS:
            clear_below, unclear_below = (
                float(np.mean(np.concatenate(kind) < limit)) for kind in (margins, unclear)
            )
            named = {"run": config.name, "measure": f"margin below {limit}, {part} texts"}
            rows.append({**named, "of one target": clear_below, "of two alike": unclear_below})
    return rows


def _found(model: TextModel, texts: list[Instruction]) -> tuple[list[str], NDArray[np.float32]]:
    """The nearest target of each text, and how much nearer it is than the next."""
    cosines = model.embed([text.text for text in texts]) @ model.network.anchors.T
    cosines, order = cosines.sort(dim=1, descending=True)
    margins = (cosines[:, 0] - cosines[:, 1]).numpy()
    return [model.task.targets[n] for n in order[:, 0].tolist()], margins
