"""What is written about one series of a study, and who wrote it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from runtime.language.views import Plane

__all__ = [
    "BRIGHTNESSES",
    "SIDES",
    "SIZES",
    "THICKNESSES",
    "Author",
    "Brightness",
    "Finding",
    "Instruction",
    "Side",
    "Size",
    "Statement",
    "Thickness",
]

Thickness = Literal["thin", "thick"]
"""Of slices; see `rules.THICK_MM`."""

Size = Literal["small", "medium-sized", "large"]
"""Of a whole finding: below 1 ml, up to 10 ml, above."""

Brightness = Literal["bright", "dark", "mixed"]
"""Against the white matter's mean: above 115 %, below 85 %, or neither."""

Side = Literal["left", "right", "both", "midline"]
"""Of the patient."""

Author = Literal["llm", "rule", "bank", "user"]

THICKNESSES: tuple[Thickness, ...] = get_args(Thickness)
SIZES: tuple[Size, ...] = get_args(Size)
BRIGHTNESSES: tuple[Brightness, ...] = get_args(Brightness)
SIDES: tuple[Side, ...] = get_args(Side)


@dataclass(frozen=True)
class Finding:
    """A lesion, or whatever a bundle looks for."""

    size: Size
    brightness: Brightness
    side: Side


@dataclass(frozen=True)
class Statement:
    """What an instruction says, in the names of the bundle.

    Attributes:
        modality: One of the bundle's channels.
        plane: Of the slices.
        thickness: Of the slices.
        visible: Structures, in the vocabulary's order; empty where nothing is known.
        targets: Structures that are asked for, in the vocabulary's order; at least one.
        findings: One at most; empty says that none is seen, None says nothing about it.
    """

    modality: str
    plane: Plane
    thickness: Thickness
    visible: tuple[str, ...]
    targets: tuple[str, ...]
    findings: tuple[Finding, ...] | None = None


@dataclass(frozen=True)
class Instruction:
    """A statement in words, with its origin.

    Attributes:
        statement: What it says.
        text: The sentence; only words of the vocabulary.
        author: Who wrote it.
        model_sha256: Of the language model; "" for a rule.
        seed: Of the sampling.
        tokens: That the language model wrote.
        seconds: From the question to the answer; those of the first time for one that was kept.
        is_kept: Whether it was read from the instructions that are kept.
    """

    statement: Statement
    text: str
    author: Author
    model_sha256: str = ""
    seed: int = 0
    tokens: int = 0
    seconds: float = 0.0
    is_kept: bool = False
