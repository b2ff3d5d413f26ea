"""Decide what a DICOM series shows from its acquisition tags, and say which tags decided.

Physics goes first (sequence, TE, TR, TI, contrast agent), free text last. Free text is matched against
fixed keywords and only the keyword is ever quoted, so no patient data can enter a report.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from runtime.formats.dicom_tags import number, text, words
from runtime.study import Decision, Modality

__all__ = ["decide_modality"]

_NOT_ANATOMY = frozenset(
    (
        *(
            "ADC",
            "ADC_UNSPECIFIED",
            "EADC",
            "TRACEW",
            "TRACE",
            "DIFFUSION",
            "FA",
            "FMRI",
            "ASL",
            "SWI",
            "T2_STAR",
        ),
        *(
            "PERFUSION",
            "CBF",
            "CBV",
            "RCBV",
            "MTT",
            "TTP",
            "TMAX",
            "MIP",
            "MINIP",
            "MNIP",
            "PROJECTION IMAGE",
        ),
        *(
            "P",
            "PHASE",
            "PHASE MAP",
            "PHASE CONTRAST M",
            "VELOCITY",
            "VELOCITY MAP",
            "FIELD_MAP",
            "SUBTRACTION",
        ),
        *("T1 MAP", "T2 MAP"),
    )
)
"""ImageType values of images that are not a plain anatomical contrast (as vendors write them)."""

_SPECIAL_TEXT = re.compile(
    r"\b(TOF|MRA|MRV|ANGIO|VENOGRAM|SWI|SWAN|VENBOLD|T2 ?STAR|DWI|DTI|ADC|TRACEW?|DIFF(?:USION)?|"
    r"PERF(?:USION)?|DSC|DCE|ASL|BOLD|FMRI|R?CBF|R?CBV|MTT|TTP|MIP|MINIP|FIELD ?MAP|"
    r"LOC|LOCALI[SZ]ER|SCOUT|SURVEY|STIR|CISS|FIESTA|T[12] MAP|PHASE)\b|T2\*"
)
_PROTON_DENSITY_TEXT = re.compile(r"\b(PD|PDW|PROTON)\b")
_WEIGHTING_TEXT: tuple[tuple[re.Pattern[str], Modality], ...] = (
    (re.compile(r"FLAIR|DARK ?FLUID"), "FLAIR"),
    (re.compile(r"T1(?!\d)|MPRAGE|\bBRAVO\b|\bSPGR\b"), "T1"),
    (re.compile(r"T2(?!\d)"), "T2"),
)
_CONTRAST_TEXT = re.compile(r"T1 ?(?:CE|GD|C|POST)\b|\b(POST|GD|GAD\w*|CE|CONTRAST|KM)\b|\+ ?C\b|\bC\+")
_NO_CONTRAST_TEXT = re.compile(
    r"\bPRE(?:\b|_)|\b(?:NO|W ?O|WITHOUT|NATIVE?) ?(?:CONTRAST|GAD\w*|GD|CE|C|KM)?\b"
)
_NO_AGENT = frozenset({"", "NO", "N", "NONE", "NO CONTRAST", "WITHOUT", "W/O", "0", "UNKNOWN"})
_SEQUENCES = ("SE", "IR", "GR", "EP", "RM")


@dataclass(frozen=True)
class _Acquisition:
    """The numbers that make the contrast; times in milliseconds, None when not stated."""

    sequences: tuple[str, ...]
    variants: tuple[str, ...]
    echo_ms: float | None
    repetition_ms: float | None
    inversion_ms: float | None
    flip_deg: float | None

    @property
    def shown(self) -> str:
        """The tags that are stated, for a reason."""
        parts = []
        if self.sequences:
            parts.append("ScanningSequence " + "\\".join(self.sequences))
        for name, value, unit in (
            ("TE", self.echo_ms, " ms"),
            ("TR", self.repetition_ms, " ms"),
            ("TI", self.inversion_ms, " ms"),
            ("flip angle", self.flip_deg, " degrees"),
        ):
            if value is not None:
                parts.append(f"{name} {value:.6g}{unit}")
        return ", ".join(parts)


def _acquisition(header: Any) -> _Acquisition:
    sequences = tuple(word for word in words(header, "ScanningSequence") if word in _SEQUENCES)
    echo, repetition, inversion = (
        value if (value := number(header, keyword)) and value > 0 else None
        for keyword in ("EchoTime", "RepetitionTime", "InversionTime")
    )
    variants = words(header, "SequenceVariant")
    return _Acquisition(sequences, variants, echo, repetition, inversion, number(header, "FlipAngle"))


def _special(header: Any, scan: _Acquisition) -> str:
    """Why an MR image is no T1, T2 or FLAIR whatever its timing; "" when it may be one."""
    for word in words(header, "ImageType"):
        if word in _NOT_ANATOMY:
            return f"ImageType {word} is not an anatomical contrast"
    if (number(header, "DiffusionBValue") or 0) > 0 or re.match(r"\*?ep_b", text(header, "SequenceName")):
        return "diffusion weighted"
    if words(header, "AngioFlag")[:1] == ("Y",) or "TOF" in scan.variants:
        return "an angiogram (AngioFlag or time of flight)"
    if "EP" in scan.sequences:
        return f"{scan.shown}: echo planar imaging"
    return ""


def _inversion_recovery(scan: _Acquisition, inversion: float, echo: float) -> Decision | None:
    """Contrast of an inversion recovery from its inversion time; None when it is not decisive."""
    gradient = "GR" in scan.sequences and "SE" not in scan.sequences
    stated = "IR" in scan.sequences
    if gradient and echo < 15:
        if 300 <= inversion <= 1500:
            return Decision("T1", f"{scan.shown}: T1 (magnetisation-prepared gradient echo)")
        return Decision("other", f"{scan.shown}: gradient echo with an unusual inversion time", False)
    if stated and inversion < 350:
        return Decision("other", f"{scan.shown}: STIR")
    if 1400 <= inversion <= 3000 and echo > 70:
        return Decision("FLAIR", f"{scan.shown}: FLAIR", stated and inversion >= 1500)
    if 350 <= inversion <= 1300 and echo < 50 and (scan.repetition_ms or 0) < 3500:
        return Decision("T1", f"{scan.shown}: T1 (inversion recovery)", stated)
    if stated:
        return Decision("other", f"{scan.shown}: an inversion recovery of unknown contrast", False)
    return None


def _gradient_echo(scan: _Acquisition, echo: float) -> Decision:
    flip, repetition = scan.flip_deg, scan.repetition_ms
    if echo >= 12:
        return Decision("other", f"{scan.shown}: T2*-weighted gradient echo", echo >= 15)
    if "SS" in scan.variants and not {"SP", "MP"} & set(scan.variants):
        return Decision("other", f"{scan.shown}: steady-state gradient echo, not spoiled", False)
    if flip is not None and flip <= 5 and "MP" not in scan.variants:
        return Decision("other", f"{scan.shown}: proton density gradient echo (small flip angle)", False)
    if repetition is None or repetition > 2500:
        return Decision("other", f"{scan.shown}: a gradient echo of unknown contrast", False)
    known = repetition <= 60 or (flip is not None and flip >= 40 and repetition <= 1000)
    return Decision("T1", f"{scan.shown}: T1 (gradient echo)", known or "MP" in scan.variants)


def _spin_echo(scan: _Acquisition, echo: float, repetition: float) -> Decision:
    if echo >= 60:
        return Decision("T2", f"{scan.shown}: T2", repetition >= 2000)
    if echo <= 40 and repetition <= 1200:
        return Decision("T1", f"{scan.shown}: T1", echo <= 35)
    if echo < 50 and repetition >= 2000:
        return Decision("other", f"{scan.shown}: proton density")
    if echo <= 30:
        return Decision("T1", f"{scan.shown}: T1 with a long TR", False)
    return Decision("other", f"{scan.shown}: between T1, proton density and T2", False)


def _from_timing(scan: _Acquisition) -> Decision | None:
    """The contrast that the timing makes; None when the header does not state enough."""
    if scan.echo_ms is None:
        return None
    if scan.inversion_ms is not None:
        decision = _inversion_recovery(scan, scan.inversion_ms, scan.echo_ms)
        if decision is not None:
            return decision
    if "GR" in scan.sequences and "SE" not in scan.sequences:
        return _gradient_echo(scan, scan.echo_ms)
    if scan.repetition_ms is None:
        return None
    if "SE" in scan.sequences:
        return _spin_echo(scan, scan.echo_ms, scan.repetition_ms)
    if scan.repetition_ms <= 60:
        return replace(_gradient_echo(scan, scan.echo_ms), certain=False)
    return replace(_spin_echo(scan, scan.echo_ms, scan.repetition_ms), certain=False)


def _description(header: Any) -> str:
    """Free text about this series in capitals; only ever matched, never quoted."""
    described = text(header, "SeriesDescription") or text(header, "ProtocolName")
    return re.sub(r"[_\-./]+", " ", described.upper())


def _described(description: str) -> tuple[Modality | None, str]:
    """What the description claims, and the keyword that says so."""
    if found := _SPECIAL_TEXT.search(description):
        return "other", found.group()
    for pattern, modality in _WEIGHTING_TEXT:
        if found := pattern.search(description):
            return modality, found.group()
    if found := _PROTON_DENSITY_TEXT.search(description):
        return "other", found.group()
    return None, ""


def _weigh(timed: Decision | None, claimed: Modality | None, keyword: str) -> Decision:
    """Bring timing and description together; timing wins unless the text names a special technique."""
    if timed is None:
        if claimed is None:
            return Decision(
                "other", "no tag tells the contrast (no EchoTime, no keyword in the description)", False
            )
        return Decision(claimed, f'only the description\'s keyword "{keyword}" tells the contrast', False)
    if claimed is None:
        return timed
    if claimed == timed.modality:
        return replace(timed, reason=f'{timed.reason}; the description agrees ("{keyword}")', certain=True)
    if claimed == "other":
        reason = f'{timed.reason} by timing, but the description says "{keyword}"'
        return Decision("other", reason, False)
    return replace(timed, reason=f'{timed.reason}; the description says "{keyword}" instead', certain=False)


def _agent(header: Any) -> str:
    """The tag that says a contrast agent was given; its text is free and not quoted."""
    for keyword in ("ContrastBolusAgent", "ContrastBolusRoute"):
        if text(header, keyword).upper() not in _NO_AGENT:
            return keyword
    return "ContrastBolusVolume" if (number(header, "ContrastBolusVolume") or 0) > 0 else ""


def _with_agent(decision: Decision, header: Any, description: str) -> Decision:
    """T1 becomes T1c when a contrast agent was given."""
    if decision.modality != "T1":
        return decision
    agent = _agent(header)
    without = _NO_CONTRAST_TEXT.search(description) is not None
    claimed = _CONTRAST_TEXT.search(description) is not None and not without
    if agent and without:
        reason = (
            f"{decision.reason}; contrast agent given ({agent}), though the description says before contrast"
        )
        return Decision("T1c", reason, False)
    if agent:
        return Decision("T1c", f"{decision.reason}; contrast agent given ({agent})", decision.certain)
    if claimed:
        return Decision("T1c", f"{decision.reason}; only the description tells of a contrast agent", False)
    return decision


def decide_modality(header: Any) -> Decision:
    """Decide what a series shows from one of its headers.

    Args:
        header: A pydicom data set of a CT or MR image.

    Returns:
        The decision with its reason. `certain` is False when free text decided alone, when tags and
        text contradict one another, or when the timing is at the edge of what is usual.

    Source:
        Ranges of TE, TR and TI as in clinical head protocols at 1.5 and 3 T; terms from DICOM PS3.3 C.8.3.1.
    """
    if text(header, "Modality").upper() == "CT":
        odd = [
            word for word in words(header, "ImageType") if word in _NOT_ANATOMY and word not in ("P", "FA")
        ]
        if odd:
            return Decision("other", f"Modality CT, but ImageType {odd[0]} is not an attenuation image")
        return Decision("CT", "Modality CT")
    scan = _acquisition(header)
    if special := _special(header, scan):
        return Decision("other", special)
    description = _description(header)
    return _with_agent(_weigh(_from_timing(scan), *_described(description)), header, description)
