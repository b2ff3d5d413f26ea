"""Which structures a text names, by words of the bundle: what the reader of an answer should know.

Words say what is mentioned, not what is asked for: "the lesion, not the thalamus" names both. But a text that
is nothing but a list ("outline the lesion and the thalamus") asks for all that it names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

__all__ = ["listed", "named"]

_VERBS = """annotate contour delineate draw extract find highlight identify label locate mark mask outline
segment show trace"""
_OTHERS = """a all also an and as both can contours ct flair for i in image images like masks me mr mri need
of on out outlines please plus scan segmentation segmentations study t1 t2 the them then these this to want
weighted well would you"""
_ASKING = frozenset(f"{_VERBS} {_OTHERS}".split())
"""Words that may stand around the names of a list. None of them denies, compares or says where."""

_JOINING = re.compile(r"[,;&+/]|\b(?:also|and|plus)\b")
"""Between two names of a list; two that only stand side by side may be one that nobody knows."""

_WORD = re.compile(r"[^\s,;:.!?&+/-]+")


def named(text: str, called: Mapping[str, Sequence[str]]) -> tuple[frozenset[str], ...]:
    """Find names in a text, the longest first: "cerebral white matter" is not "white matter" as well.

    Args:
        text: Anything; upper and lower case are the same.
        called: Structure to its names.

    Returns:
        For each name in the text, in its order, the structures that it may mean.
    """
    meant = _meanings(called)
    return tuple(frozenset(meant[found]) for found in _pattern(meant).findall(_plain(text)))


def listed(text: str, called: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Read a text that is a list of names and asks for each of them.

    Args:
        text: Anything; upper and lower case are the same.
        called: Structure to its names.

    Returns:
        Structure to the name that stands for it, in the text's order; empty unless there are several names,
        each joined to the next one and of one structure, and nothing else is said.
    """
    meant, plain = _meanings(called), _plain(text)
    pattern = _pattern(meant)
    names, around = pattern.findall(plain), pattern.split(plain)
    if not all(_JOINING.search(part) for part in around[1:-1]):
        return {}
    found: dict[str, str] = {}
    for name in names:
        structure, *others = meant[name]
        if others:
            return {}
        found.setdefault(structure, name)
    said = {word for part in around for word in _WORD.findall(part)}
    return found if len(found) > 1 and said <= _ASKING else {}


def _meanings(called: Mapping[str, Sequence[str]]) -> dict[str, set[str]]:
    """Plain name to the structures that it may mean."""
    meant: dict[str, set[str]] = {}
    for structure, names in called.items():
        for name in names:
            meant.setdefault(_plain(name), set()).add(structure)
    return meant


def _pattern(meant: Mapping[str, set[str]]) -> re.Pattern[str]:
    """Finds whole names, the longest first; nothing where there are none."""
    longest_first = sorted(meant, key=lambda name: (-len(name), name))
    names = "|".join(re.escape(name) for name in longest_first) or "(?!)"
    return re.compile(rf"(?<!\w)(?:{names})(?!\w)")


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
