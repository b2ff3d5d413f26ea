"""What arrived from the scanner: series, what each shows, and why we think so."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from runtime.errors import ImageError
from runtime.volume import Volume

__all__ = ["MODALITIES", "Decision", "Instance", "Modality", "Series", "Study", "modality_named"]

Modality = Literal["T1", "T1c", "T2", "FLAIR", "CT", "other"]
"""What a series shows: image contrast for MR (`T1c` is T1 after contrast agent), or CT."""

MODALITIES: tuple[Modality, ...] = get_args(Modality)

_ALIASES: dict[str, Modality] = {"t1w": "T1", "t1ce": "T1c", "t1gd": "T1c", "t2w": "T2"}


def modality_named(word: str) -> Modality | None:
    """The modality a person means by a word ("t1w", "T1ce", "flair"), or None."""
    known: dict[str, Modality] = {modality.lower(): modality for modality in MODALITIES}
    return (known | _ALIASES).get(word.lower())


@dataclass(frozen=True)
class Decision:
    """Which modality a series was taken for.

    Attributes:
        modality: The answer.
        reason: The tags and values that decided, readable by a person; no patient data.
        certain: False when the answer rests on weak evidence (a description or a single hint).
    """

    modality: Modality
    reason: str
    certain: bool = True


@dataclass(frozen=True)
class Instance:
    """One DICOM instance (slice) of a series.

    Attributes:
        path: The file it came from (for zip input: the extracted file or the zip member's name).
        sop_instance_uid: Its UID.
        header: The pydicom data set without pixel data; only `formats/` looks inside.
    """

    path: Path
    sop_instance_uid: str
    header: Any


@dataclass(frozen=True)
class Series:
    """One volume of a study.

    Attributes:
        uid: SeriesInstanceUID, or the file path for NIfTI.
        volume: Voxels and geometry. For DICOM, axis 0 of the array runs over `instances`.
        decision: What it shows, and why.
        frame_of_reference_uid: Scanner coordinate system; None when unknown (NIfTI). Two series
            share coordinates only when both are known and equal.
        instances: DICOM instances in the order of axis 0; empty for NIfTI.
        path: The NIfTI file; None for DICOM.
        notes: Assumptions made while reading this series, for the report; no patient data.
    """

    uid: str
    volume: Volume
    decision: Decision
    frame_of_reference_uid: str | None = None
    instances: tuple[Instance, ...] = ()
    path: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def modality(self) -> Modality:
        """What the series shows."""
        return self.decision.modality

    def read_as(self, modality: Modality, reason: str) -> Series:
        """The same series with its modality overridden by the user."""
        return replace(self, decision=Decision(modality, reason))


@dataclass(frozen=True)
class Study:
    """Every usable series of one patient and one study.

    Attributes:
        series: In the order they were found (sorted by series number where there is one).
        notes: What was left out and assumed at study level, for the report; no patient data.

    Raises:
        ImageError: There is no series.
    """

    series: tuple[Series, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.series:
            raise ImageError("the study has no series that can be segmented")
