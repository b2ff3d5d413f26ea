"""Which structures a text names, by words of the bundle: what the reader of an answer should know.

Words say what is mentioned, never what is asked for: "the lesion, not the thalamus" names both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

__all__ = ["named"]


def named(text: str, called: Mapping[str, Sequence[str]]) -> tuple[frozenset[str], ...]:
    """Find names in a text, the longest first: "cerebral white matter" is not "white matter" as well.

    Args:
        text: Anything; upper and lower case are the same.
        called: Structure to its names.

    Returns:
        For each name in the text, in its order, the structures that it may mean.
    """
    meant: dict[str, set[str]] = {}
    for structure, names in called.items():
        for name in names:
            meant.setdefault(" ".join(name.casefold().split()), set()).add(structure)
    if not meant:
        return ()
    longest_first = sorted(meant, key=lambda name: (-len(name), name))
    pattern = "|".join(re.escape(name) for name in longest_first)
    plain = " ".join(text.casefold().split())
    return tuple(frozenset(meant[found]) for found in re.findall(rf"(?<!\w)(?:{pattern})(?!\w)", plain))
