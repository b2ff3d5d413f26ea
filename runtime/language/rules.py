"""An instruction without a language model: what a study's headers and geometry say, and nothing else."""

from __future__ import annotations

from collections.abc import Collection

from runtime.bundle import Vocabulary
from runtime.language.instruction import Instruction, Statement
from runtime.language.sentence import write
from runtime.language.views import looks_like_ct, slice_axis, slice_plane
from runtime.study import Series

__all__ = ["THICK_MM", "doubts", "rule_instruction"]

THICK_MM = 2.5
"""Between slices; from here on they are thick."""


def rule_instruction(
    series: Series, vocabulary: Vocabulary, asked: Collection[str] | None = None
) -> Instruction:
    """What is known of a series before anybody looks at it.

    Modality as the study's headers were read, plane and thickness from its affine. What is visible and what
    is found it cannot know, so it says neither.

    Args:
        series: Of one of the vocabulary's modalities.
        vocabulary: The words.
        asked: Names of the structures that are asked for; None where all are. What the vocabulary has no
            words for is left out; where nothing remains, and for all, it is the brain, or all in a bundle without.
    """
    spacing_mm = round(float(series.volume.spacing_mm[slice_axis(series.volume)]), 2)
    known = vocabulary.targets
    targets = tuple(name for name in known if asked is not None and name in asked)
    statement = Statement(
        modality=series.modality,
        plane=slice_plane(series.volume),
        thickness="thick" if spacing_mm >= THICK_MM else "thin",
        visible=(),
        targets=targets or (("brain",) if "brain" in known else known),
    )
    return Instruction(statement, write(statement, vocabulary), "rule")


def doubts(series: Series) -> tuple[str, ...]:
    """Where a series' values speak against what its headers say; for the report."""
    if looks_like_ct(series.volume) == (series.modality == "CT"):
        return ()
    if series.modality == "CT":
        return ("CT is said to be CT, but shows no air far below zero; check it or use --as",)
    return (f"{series.modality} is said to be MR, but its values look like CT's; check it or use --as",)
