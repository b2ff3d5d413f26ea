"""The words of `zeus-nano-head` for written instructions, and how a truth is put into them."""

from __future__ import annotations

from runtime.bundle import Vocabulary
from runtime.language.instruction import BRIGHTNESSES, SIDES, SIZES, Finding, Statement
from runtime.language.sentence import write
from runtime.language.vocabulary import MODALITIES
from runtime.manifest import FindingWords
from training.instructions.words import TARGETS
from training.structures import STRUCTURES
from training.writer.cases import Truth

__all__ = ["VOCABULARY", "longest_sentences", "sentence_of", "statement_of"]

_VISIBLE = (
    "cerebral_cortex",
    "lateral_ventricles",
    "thalamus",
    "hippocampus_amygdala",
    "cerebellum",
    "brain_stem",
)
"""What tells which part of a head a scan shows; all structures would be too long for the text encoder."""

_LESION = "whole_lesion"

_SPOKEN = {
    **{name: names[0].removeprefix("the ") for name, names in TARGETS.items()},
    "hippocampus_amygdala": "hippocampus",
    "lesion": "solid lesion",
    _LESION: "lesion",
}

VOCABULARY = Vocabulary(
    modalities=MODALITIES,
    spoken={structure.name: _SPOKEN[structure.name] for structure in STRUCTURES},
    visible=_VISIBLE,
    targets=(
        *(_LESION, "brain"),
        *(structure.name for structure in STRUCTURES if structure.name not in (_LESION, "brain")),
    ),
    finding=FindingWords(_LESION, "lesion"),
)


def statement_of(truth: Truth) -> Statement:
    """What an instruction says: what is true, and to segment the lesion, if one is seen, and the brain."""
    lesion = truth.lesion
    return Statement(
        modality=truth.modality,
        plane=truth.plane,
        thickness="thick" if truth.is_thick else "thin",
        visible=tuple(name for name in _VISIBLE if name in truth.visible),
        targets=("brain",) if lesion is None else (_LESION, "brain"),
        findings=() if lesion is None else (lesion,),
    )


def sentence_of(truth: Truth) -> str:
    """The instruction in words."""
    return write(statement_of(truth), VOCABULARY)


def longest_sentences() -> list[str]:
    """Sentences about everything, of which one has as many tokens as any that is taught."""
    return [
        sentence_of(Truth(modality, "axial", True, _VISIBLE, Finding(size, brightness, side)))
        for modality in VOCABULARY.modalities
        for size in SIZES
        for brightness in BRIGHTNESSES
        for side in SIDES
    ]
