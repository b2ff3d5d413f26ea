"""One picture of the world for the language model: what it is shown, and what is true of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from runtime.language.instruction import Finding
from runtime.language.rules import THICK_MM
from runtime.language.views import PLANES, Plane
from training.tissues import CHANNELS
from training.writer.findings import Survey, Unclear, find, survey
from training.writer.heads import Subject
from training.writer.looks import draw_look
from training.writer.paint import paint
from training.writer.scan import Scan, ScanConfig, draw_scan
from training.writer.slices import Slices, look_up

__all__ = ["Case", "CaseConfig", "Truth", "draw_cases"]

_SCANS, _LOOKS = 30, 4
"""That are drawn before it is said to be unclear."""


@dataclass(frozen=True)
class Truth:
    """What is true of a series.

    Attributes:
        modality: In `training.tissues.CHANNELS`.
        plane: Of its slices.
        is_thick: Whether slices are `THICK_MM` apart or further.
        visible: Structures that the pictures show, in the order of `training.structures`.
        lesion: None where none can be seen.
    """

    modality: str
    plane: Plane
    is_thick: bool
    visible: tuple[str, ...]
    lesion: Finding | None


@dataclass(frozen=True)
class Case:
    """One series.

    Attributes:
        pictures: (V, size, size) float32, as `runtime.language.views.views` makes them.
        truth: About it.
    """

    pictures: NDArray[np.float32]
    truth: Truth


@dataclass(frozen=True)
class CaseConfig:
    """How cases vary.

    Attributes:
        size: Pixels along a side of a picture.
        looks: Modalities that are painted from one scan's tissues.
        modalities: How often each of `CHANNELS` is drawn.
        scan: How scans vary.
    """

    size: int = 96
    looks: int = 2
    modalities: tuple[float, ...] = (0.23, 0.2, 0.2, 0.22, 0.15)
    scan: ScanConfig = field(default_factory=ScanConfig)

    def __post_init__(self) -> None:
        """Refuse shares that fit no modality."""
        if len(self.modalities) != len(CHANNELS) or abs(sum(self.modalities) - 1) > 1e-6:
            raise ValueError(f"modalities must be {len(CHANNELS)} shares that add up to 1")
        if not 1 <= self.looks <= len(CHANNELS):
            raise ValueError(f"looks is {self.looks}; there are {len(CHANNELS)} modalities")


def draw_cases(
    subject: Subject, random: Generator, config: CaseConfig, modalities: Sequence[str] | None = None
) -> list[Case]:
    """Draw one scan of a head, in several modalities.

    Args:
        subject: The head.
        random: Where chance comes from.
        config: How cases vary.
        modalities: Which; drawn when absent.

    Raises:
        Unclear: However it is scanned, people would disagree about this head.
    """
    if modalities is None:
        drawn = random.choice(len(CHANNELS), config.looks, replace=False, p=config.modalities)
        modalities = [CHANNELS[index] for index in drawn]
    for _ in range(_SCANS):
        scan = draw_scan(subject, random, config.scan)
        slices = look_up(subject, scan, config.size)
        try:
            shown = survey(subject, scan, slices)
            return [_painted(shown, slices, scan, modality, random) for modality in modalities]
        except Unclear:
            continue
    raise Unclear


def _painted(shown: Survey, slices: Slices, scan: Scan, modality: str, random: Generator) -> Case:
    """One modality of a scan.

    Raises:
        Unclear: However it is painted, it stays unclear whether a lesion can be seen.
    """
    is_thick = bool(scan.spacing_mm[scan.across] >= THICK_MM)
    for _ in range(_LOOKS):
        painted = paint(slices, scan, draw_look(modality, random), random)
        try:
            lesion = find(shown, painted, modality)
        except Unclear:
            continue
        return Case(painted.shown, Truth(modality, PLANES[scan.across], is_thick, shown.visible, lesion))
    raise Unclear
