"""Whether a language model and the rule contradict each other, and which of both is safe to use."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from runtime.bundle import Vocabulary
from runtime.language.instruction import Instruction, Side, Statement
from runtime.language.sentence import PLACES

__all__ = ["Agreement", "Comparison", "agree"]


@dataclass(frozen=True)
class Comparison:
    """One field as two see it; words for the report."""

    field: str
    safe: str
    told: str
    agrees: bool


@dataclass(frozen=True)
class Agreement:
    """A rule's instruction and a language model's.

    Attributes:
        rule: The safe one.
        told: The language model's; None where it gave none.
        compared: Field by field: modality, plane, thickness and targets, and side once there is a mask.
    """

    rule: Instruction
    told: Instruction | None
    compared: tuple[Comparison, ...] = ()

    @property
    def contradictions(self) -> tuple[Comparison, ...]:
        """The fields in which they contradict each other."""
        return tuple(item for item in self.compared if not item.agrees)

    @property
    def used(self) -> Instruction:
        """The language model's where nothing contradicts it, else the rule's: whole, not in part."""
        return self.rule if self.told is None or self.contradictions else self.told

    @property
    def confidence(self) -> float | None:
        """Share of the compared fields that agree, 0…1; None where there is nothing to compare with."""
        return None if not self.compared else 1 - len(self.contradictions) / len(self.compared)

    def with_mask(self, side: Side | None) -> Agreement:
        """The same, once a mask says where the finding is.

        Only left against right is a contradiction: both sides and the midline are a matter of limits.

        Args:
            side: Of the mask; None where it is empty.
        """
        findings = None if self.told is None else self.told.statement.findings
        if not findings or side is None:
            return self
        told = findings[0].side
        compared = Comparison("side", PLACES[side], PLACES[told], {side, told} != {"left", "right"})
        return replace(self, compared=(*self.compared, compared))


def agree(
    rule: Instruction, told: Instruction | None, vocabulary: Vocabulary, asked: Collection[str] | None = None
) -> Agreement:
    """Compare what headers and geometry say with what a language model says.

    Args:
        rule: Of a series.
        told: Of the same series; None where the language model gave no answer.
        vocabulary: Its words.
        asked: The structures that may be asked for, parts of unions included; None where all may.
    """
    if told is None:
        return Agreement(rule, None)
    one, other = rule.statement, told.statement
    words = _spoken(one, vocabulary), _spoken(other, vocabulary)
    shown = vocabulary.modalities[one.modality], vocabulary.modalities[other.modality]
    is_asked = asked is None or set(other.targets) <= set(asked)
    compared = (
        Comparison("modality", *shown, one.modality == other.modality),
        Comparison("plane", one.plane, other.plane, one.plane == other.plane),
        Comparison("thickness", one.thickness, other.thickness, one.thickness == other.thickness),
        Comparison("targets", *words, is_asked),
    )
    return Agreement(rule, told, compared)


def _spoken(statement: Statement, vocabulary: Vocabulary) -> str:
    return ", ".join(vocabulary.spoken[name] for name in statement.targets)
