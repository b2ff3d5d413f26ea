"""What a statement says, as one choice among a few for each thing: what the vision network is asked directly.

A language model learns to write sentences without looking long before it finds out that it can look.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from runtime.language.instruction import BRIGHTNESSES, SIDES, SIZES, THICKNESSES, Statement
from runtime.language.views import PLANES
from training.tissues import CHANNELS

__all__ = ["FACTS", "NOT_ASKED", "facts_of"]

NOT_ASKED = -1
"""Where there is no lesion, nobody asks how it looks."""

FACTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "modality": CHANNELS,
        "plane": PLANES,
        "thickness": THICKNESSES,
        "lesion": ("absent", "present"),
        "size": SIZES,
        "brightness": BRIGHTNESSES,
        "side": SIDES,
    }
)
"""Each with its choices."""


def facts_of(statement: Statement) -> list[int]:
    """Number of the choice for each of `FACTS`, or `NOT_ASKED`."""
    said: dict[str, str] = {
        "modality": statement.modality,
        "plane": statement.plane,
        "thickness": statement.thickness,
        "lesion": "present" if statement.findings else "absent",
    }
    for finding in statement.findings or ():
        said |= {"size": finding.size, "brightness": finding.brightness, "side": finding.side}
    return [choices.index(said[name]) if name in said else NOT_ASKED for name, choices in FACTS.items()]
