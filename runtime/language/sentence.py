"""Statements as sentences, and back: one sentence for each statement, and nothing else is a sentence.

    This is an axial T2-weighted MRI with thick slices. Visible: cerebral cortex, lateral ventricles.
    A large bright lesion is on the left. Segment the lesion and the brain.

In one line. The third sentence may be "No lesion is seen." or be missing; a vocabulary without findings
has none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from runtime.bundle import Vocabulary
from runtime.errors import InstructionError
from runtime.language.instruction import (
    BRIGHTNESSES,
    SIDES,
    SIZES,
    THICKNESSES,
    Finding,
    Side,
    Statement,
)
from runtime.language.views import PLANES, Plane

__all__ = ["NOTHING_KNOWN", "PLACES", "a_plane", "parse", "write"]

NOTHING_KNOWN = "nothing known"

PLACES: dict[Side, str] = {
    "left": "on the left",
    "right": "on the right",
    "both": "on both sides",
    "midline": "in the midline",
}

_LONGEST = 16_384
"""Characters of a sentence; every vocabulary's longest is shorter."""


def a_plane(plane: Plane) -> str:
    """A plane with its article."""
    return f"an {plane}" if plane == "axial" else f"a {plane}"


def write(statement: Statement, vocabulary: Vocabulary) -> str:
    """The sentence that says it.

    Args:
        statement: In the vocabulary's names and orders.
        vocabulary: Its words.
    """
    modality = vocabulary.modalities[statement.modality]
    visible = ", ".join(vocabulary.spoken[name] for name in statement.visible) or NOTHING_KNOWN
    parts = [
        f"This is {a_plane(statement.plane)} {modality} with {statement.thickness} slices.",
        f"Visible: {visible}.",
        *_findings(statement.findings, vocabulary),
        f"Segment the {_listed([vocabulary.spoken[name] for name in statement.targets])}.",
    ]
    return " ".join(parts)


def _findings(findings: tuple[Finding, ...] | None, vocabulary: Vocabulary) -> list[str]:
    if findings is None or vocabulary.finding is None:
        return []
    noun = vocabulary.finding.spoken
    if not findings:
        return [f"No {noun} is seen."]
    return [f"A {item.size} {item.brightness} {noun} is {PLACES[item.side]}." for item in findings]


def _listed(words: Sequence[str]) -> str:
    """One name, "a and the b", or "a, the b and the c"."""
    start, last = ", the ".join(words[:-1]), words[-1]
    return f"{start} and the {last}" if start else last


def parse(text: str, vocabulary: Vocabulary) -> Statement:
    """The statement of a sentence, exactly as `write` writes it.

    Args:
        text: From anywhere.
        vocabulary: The words that it may hold.

    Raises:
        InstructionError: It is no sentence of this vocabulary; the message repeats nothing of it.
    """
    sentences = text.removesuffix(".").split(". ") if len(text) <= _LONGEST and text.endswith(".") else []
    if len(sentences) not in (3, 4):
        raise _refused("it has not three or four sentences")
    opening = re.fullmatch(r"This is (an? \w+) ([^.]+) with (\w+) slices", sentences[0])
    planes = {a_plane(plane): plane for plane in PLANES}
    modalities = {words: name for name, words in vocabulary.modalities.items()}
    thicknesses = {word: word for word in THICKNESSES}
    if opening is None:
        raise _refused("it does not begin with what it is about")
    plane, modality, thickness = opening.groups()
    if plane not in planes or modality not in modalities or thickness not in thicknesses:
        raise _refused("its plane, modality or thickness is unknown")
    return Statement(
        modality=modalities[modality],
        plane=planes[plane],
        thickness=thicknesses[thickness],
        visible=_visible(sentences[1], vocabulary),
        targets=_targets(sentences[-1], vocabulary),
        findings=_read_finding(sentences[2], vocabulary) if len(sentences) == 4 else None,
    )


def _visible(sentence: str, vocabulary: Vocabulary) -> tuple[str, ...]:
    head, _, names = sentence.partition(": ")
    if head != "Visible":
        raise _refused("it does not say what is visible")
    if names == NOTHING_KNOWN:
        return ()
    return _names(names.split(", "), vocabulary.visible, vocabulary)


def _targets(sentence: str, vocabulary: Vocabulary) -> tuple[str, ...]:
    if not sentence.startswith("Segment the "):
        raise _refused("it does not say what to segment")
    start, _, last = sentence.removeprefix("Segment the ").rpartition(" and the ")
    words = [*(start.split(", the ") if start else ()), last]
    names = _names(words, vocabulary.targets, vocabulary)
    if f"Segment the {_listed(words)}" != sentence:
        raise _refused("its targets are not listed as they should be")
    return names


def _names(words: Sequence[str], known: Sequence[str], vocabulary: Vocabulary) -> tuple[str, ...]:
    """Names of spoken words: known, each once, in their order."""
    places = {vocabulary.spoken[name]: place for place, name in enumerate(known)}
    found = [places.get(item, -1) for item in words]
    if min(found) < 0 or any(one >= other for one, other in pairwise(found)):
        raise _refused("a name is unknown, repeated or out of order")
    return tuple(known[place] for place in found)


def _read_finding(sentence: str, vocabulary: Vocabulary) -> tuple[Finding, ...]:
    if vocabulary.finding is None:
        raise _refused("it tells a finding, and the vocabulary has none")
    noun = vocabulary.finding.spoken
    if sentence == f"No {noun} is seen":
        return ()
    for size in SIZES:
        for brightness in BRIGHTNESSES:
            start = f"A {size} {brightness} {noun} is "
            for side in SIDES:
                if sentence == start + PLACES[side]:
                    return (Finding(size, brightness, side),)
    raise _refused("its finding is unknown")


def _refused(fact: str) -> InstructionError:
    return InstructionError(f"this is no written instruction of this bundle: {fact}; write it again")
