"""The instructions of a study while they are written, and what is known of them in the end."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYetError
from dataclasses import dataclass
from functools import cached_property

from runtime.bundle import Bundle
from runtime.language.agreement import Agreement, agree
from runtime.language.instruction import Instruction
from runtime.language.rules import doubts, rule_instruction
from runtime.language.side import mask_side
from runtime.language.vocabulary import vocabulary_of
from runtime.study import Series
from runtime.volume import Labels

__all__ = ["Draft", "Settled"]


@dataclass(frozen=True)
class Settled:
    """What is known of a study's instructions in the end.

    Attributes:
        agreements: Of each series, by modality.
        warnings: What went wrong and what contradicts itself.
    """

    agreements: dict[str, Agreement]
    warnings: tuple[str, ...]


class Draft:
    """The instructions of a study, while they are written.

    Args:
        channels: Series by modality.
        bundle: Has the vocabulary.
        until: After this, by `time.monotonic`, the rule answers.
    """

    def __init__(self, channels: Mapping[str, Series], bundle: Bundle, until: float) -> None:
        self.channels, self._bundle, self.until = dict(channels), bundle, until
        self._vocabulary = vocabulary_of(bundle.manifest)
        self._told: dict[str, Instruction] = {}
        self._warnings: list[str] = []
        self._task: Future[None] | None = None

    def start(self, task: Future[None]) -> None:
        """Know when writing has ended."""
        self._task = task

    def on_written(self, modality: str, instruction: Instruction) -> None:
        """Take an instruction of the language model; called in its thread."""
        self._told[modality] = instruction

    def on_trouble(self, warning: str) -> None:
        """Take a warning; called in its thread."""
        self._warnings.append(warning)

    def agreements(self, asked: Collection[str] | None) -> dict[str, Agreement]:
        """What there is now; waits for nothing.

        Args:
            asked: Structures that may be asked for; None where all may.
        """
        told = dict(self._told)
        return {
            modality: agree(
                rule_instruction(series, self._vocabulary, asked),
                told.get(modality),
                self._vocabulary,
                asked,
            )
            for modality, series in self.channels.items()
        }

    def written_targets(self, asked: Collection[str] | None) -> tuple[str, ...]:
        """Targets that a language model has asked for by now, where the rule does not contradict it.

        Args:
            asked: As for `agreements`.
        """
        used = [item.used for item in self.agreements(asked).values()]
        names = {name for item in used if item.author == "llm" for name in item.statement.targets}
        return tuple(name for name in self._vocabulary.targets if name in names)

    @cached_property
    def _doubts(self) -> tuple[str, ...]:
        """Where values speak against headers; a study's further answers say it again."""
        return tuple(doubt for series in self.channels.values() for doubt in doubts(series))

    def settle(self, labels: Labels, asked: Collection[str] | None) -> Settled:
        """Wait for what is still being written, to the deadline, and compare it with the mask.

        Args:
            labels: Every structure of the bundle.
            asked: Structures that may be asked for; None where all may.
        """
        late = False
        if self._task is not None:
            try:
                self._task.result(max(0.0, self.until - time.monotonic()))
            except NotYetError:
                late = True
        agreements, warnings = self.agreements(asked), list(self._warnings)
        if late and any(item.told is None for item in agreements.values()):
            warnings.append("the language model gave no answer in time")
        finding = self._vocabulary.finding
        if finding and any(item.told and item.told.statement.findings for item in agreements.values()):
            bundle = self._bundle
            parts = (bundle.parts(bundle.structure(name)) for name in (finding.structure, "brain"))
            side = mask_side(labels, *parts)
            agreements = {modality: item.with_mask(side) for modality, item in agreements.items()}
        warnings += self._doubts
        for modality, item in agreements.items():
            warnings += [
                f"{modality}: the language model says {found.told}, but {found.field} is {found.safe}; "
                "the rule's instruction is used"
                for found in item.contradictions
            ]
        return Settled(agreements, tuple(warnings))
