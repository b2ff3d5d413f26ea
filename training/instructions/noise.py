"""Words that mean nothing for what is asked: texts are full of them, known and unknown ones."""

from __future__ import annotations

import re

from numpy.random import Generator

__all__ = ["nonsense", "with_noise"]

_SYLLABLES = tuple(consonant + vowel for consonant in "bcdfghjklmnprstvz" for vowel in "aeiou")

_WORDS = " ".join(
    (
        "a about above acquired adjacent after again also an and appears are area around as asymmetric at",
        "available based be because been before being below between bilateral both bright but by case",
        "clear clearly clinical close coarse coronal could current dark data demonstrates dense described",
        "detail diffuse distinct doctor due each early edge either enough even evident exact exam",
        "examination expected extends fine first focal follow following for found from further generally",
        "given good great group has have height here high however hyperintense hypointense if important",
        "in increased indicates information intensity intermediate into irregular is isointense it its",
        "just kind last left level light like likely line located location look low made main many mapped",
        "mark marked match may mean medial method mild mixed model moderate more morphology most must",
        "need nearly new next normal note now number obvious of often on one our outline output over",
        "patient pattern per plane planning please point position possible present previous protocol",
        "provided quality radiologist range region regular related report request result results review",
        "right same scan second see seen segmentation sequence series set several shape sharp should show",
        "shown shows side signal similar since size slice slices slight small smooth so some space",
        "standard still structure study subtle such superior support surgery symmetric system task that",
        "the their them then there these they this through time to today together too total two typical",
        "under uniform unit until up upper us use used usual value very view visible volume was we well",
        "were what when where which while wide will with within would year yes you your",
    )
).split(" ")


def nonsense(random: Generator) -> str:
    """A word that nobody knows."""
    return "".join(random.choice(_SYLLABLES, int(random.integers(2, 5))))


def with_noise(template: str, random: Generator) -> str:
    """A template with up to five words more, anywhere between its own.

    Args:
        template: With names in braces, which stay whole.
        random: Where chance comes from.
    """
    parts = re.split(r"(?<= )", template)
    for _ in range(int(random.integers(1, 6))):
        word = nonsense(random) if random.random() < 0.2 else str(random.choice(_WORDS))
        parts.insert(int(random.integers(len(parts))), f"{word} ")
    return "".join(parts)
