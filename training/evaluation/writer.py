"""A writer of instructions on heads that training never saw: is what it writes true, and does it look?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from runtime.errors import InstructionError, UsageError
from runtime.language.instruction import Statement
from runtime.language.sentence import parse
from runtime.language.views import views
from runtime.volume import Volume
from training.evaluation.writer_series import evaluate_series
from training.loop import load_average
from training.networks.writer import WriterNetwork
from training.tasks.writer import AFTER, BEFORE, WriterTask, WriterTraining
from training.writer.cases import Case, CaseConfig, draw_cases
from training.writer.findings import Unclear
from training.writer.heads import draw_subject
from training.writer.sentences import VOCABULARY, statement_of
from training.writer.stream import HeadSource, held_out_heads
from training.writer.words import END

__all__ = ["Author", "evaluate_writer", "held_out_cases", "open_author"]

_SUBJECTS, _SCANS = 60, 10
"""Heads with a disease or none that are drawn, and scans of each."""

_TOGETHER = 50
"""Series that are written about at a time."""

_LIMITS = {"modality": 0.99, "plane": 0.99, "lesion present or absent": 0.95, "side": 0.95}

Right = Callable[[Statement, Statement], bool | None]
"""Whether an answer is right about one thing; None where nothing was asked."""


class Author:
    """A trained network with its tokenizer."""

    def __init__(self, task: WriterTask, network: WriterNetwork, step: int) -> None:
        """Keep what belongs together; `step` is that of the weights."""
        self.task, self.network, self.step = task, network, step
        self._before, self._after = torch.tensor(BEFORE), torch.tensor(AFTER)

    @torch.inference_mode()
    def look(self, pictures: Tensor) -> Tensor:
        """Visual tokens (N, tokens, width) of pictures (N, V, size, size), 0 to 1."""
        return torch.cat([self.network.vision(part) for part in torch.split(pictures, _TOGETHER)])

    def write(self, visual: Tensor) -> list[str]:
        """Sentences for visual tokens, the likeliest word again and again."""
        written: list[list[int]] = []
        for part in torch.split(visual, _TOGETHER):
            written += self.network.write(part, self._before, self._after, END)
        return [self.task.tokenizer.decode(row) for row in written]

    def say(self, volume: Volume) -> str:
        """A sentence about a scan."""
        pictures = views(volume, self.network.vision.config.size)
        return self.write(self.look(torch.from_numpy(pictures)[None]))[0]


def open_author(config: WriterTraining, root: Path, runs: Path) -> Author:
    """A run's averaged weights.

    Raises:
        UsageError: It was not trained yet.
    """
    checkpoint = runs / config.name / "last.pt"
    if not checkpoint.is_file():
        raise UsageError(f"{checkpoint} is not there; run python -m training.train --config {config.name}")
    task = WriterTask(config, root, runs / config.name)
    network = task.network()
    return Author(task, network, load_average(checkpoint, network))


def held_out_cases(
    sources: Sequence[HeadSource], config: CaseConfig, subjects: int, scans: int
) -> Iterator[Case]:
    """Cases of heads that training never saw; the same on every run.

    Args:
        sources: Heads.
        config: How cases vary.
        subjects: How many with a disease or none are drawn from them, in turn.
        scans: Of each.
    """
    for number in range(subjects):
        random = np.random.default_rng((50, number))
        subject = draw_subject(sources[number % len(sources)](), random)
        for _ in range(scans):
            with suppress(Unclear):
                yield from draw_cases(subject, random, config)


def evaluate_writer(config: WriterTraining, root: Path, runs: Path) -> list[dict[str, Any]]:
    """Rows: what is right on held-out heads, whether answers follow the image, and every real series.

    Args:
        config: The training.
        root: Of the project.
        runs: Folder of trainings.

    Raises:
        UsageError: It was not trained yet.
    """
    author = open_author(config, root, runs)
    sources = held_out_heads(root / config.maps, runs / "heads")
    cases = config.stream.cases
    heads = replace(cases, scan=replace(cases.scan, crop=0.0, slab=0.0))
    pieces = replace(cases, scan=replace(cases.scan, crop=0.5, slab=0.5, partial=0.0))
    rows: list[dict[str, Any]] = []
    for kind, drawn, subjects in (("heads", heads, _SUBJECTS), ("slabs and boxes", pieces, _SUBJECTS // 4)):
        made = list(held_out_cases(sources, drawn, subjects, _SCANS))
        truths = [statement_of(case.truth) for case in made]
        visual = author.look(torch.from_numpy(np.stack([case.pictures for case in made])))
        written = [_read(text) for text in author.write(visual)]
        rows += [
            {"run": config.name, "steps": author.step, **row} for row in _measured(kind, written, truths)
        ]
        if kind == "heads":
            rows += [{"run": config.name, **row} for row in _blind(author, visual, written, truths)]
    return [*rows, *evaluate_series(author.say, root.parent / "shared" / "data")]


def _read(text: str) -> Statement | None:
    try:
        return parse(text, VOCABULARY)
    except InstructionError:
        return None


def _about_findings(about: str) -> Right:
    def right(found: Statement, truth: Statement) -> bool | None:
        if not truth.findings:
            return None
        if not found.findings:
            return False
        return bool(getattr(found.findings[0], about) == getattr(truth.findings[0], about))

    return right


def _side(found: Statement, truth: Statement) -> bool | None:
    """Where both see a lesion: that one is missed is counted elsewhere."""
    if not truth.findings or not found.findings:
        return None
    return found.findings[0].side == truth.findings[0].side


_RIGHT: dict[str, Right] = {
    "modality": lambda found, truth: found.modality == truth.modality,
    "plane": lambda found, truth: found.plane == truth.plane,
    "thickness": lambda found, truth: found.thickness == truth.thickness,
    "visible structures, all": lambda found, truth: found.visible == truth.visible,
    "lesion present or absent": lambda found, truth: bool(found.findings) == bool(truth.findings),
    "side": _side,
    "size": _about_findings("size"),
    "brightness": _about_findings("brightness"),
}


def _measured(
    kind: str, written: Sequence[Statement | None], truths: Sequence[Statement]
) -> Iterator[dict[str, Any]]:
    """One row for each thing that is said; what is no sentence is wrong about everything."""
    whole = [answer is not None for answer in written]
    yield _row(kind, "a sentence of the vocabulary", whole)
    for measure, right in _RIGHT.items():
        judged = [_judge(right, answer, truth) for answer, truth in zip(written, truths, strict=True)]
        yield _row(kind, measure, [one for one in judged if one is not None])


def _judge(right: Right, answer: Statement | None, truth: Statement) -> bool | None:
    return right(answer, truth) if answer is not None else False


def _row(kind: str, measure: str, judged: Sequence[bool]) -> dict[str, Any]:
    share = float(np.mean(judged)) if judged else float("nan")
    limit = _LIMITS.get(measure) if kind == "heads" else None
    return {"on": kind, "measure": measure, "cases": len(judged), "right": share, "limit": limit or ""}


def _blind(
    author: Author, visual: Tensor, written: list[Statement | None], truths: list[Statement]
) -> Iterator[dict[str, Any]]:
    """Visual tokens of another series: answers must be those of the other, and no longer of one's own."""
    order = np.random.default_rng(3).permutation(len(truths))
    swapped = [_read(text) for text in author.write(visual[torch.from_numpy(order)])]
    right = _RIGHT["modality"]
    straight = np.arange(len(truths))
    for measure, whose in (("its own", straight), ("the other's", order)):
        judged = [bool(_judge(right, answer, truths[n])) for answer, n in zip(swapped, whose, strict=True)]
        same = [answer == written[n] for answer, n in zip(swapped, whose, strict=True)]
        yield {
            "measure": f"image swapped, {measure}",
            "cases": len(judged),
            "modality right": float(np.mean(judged)),
            "same answer": float(np.mean(same)),
        }
