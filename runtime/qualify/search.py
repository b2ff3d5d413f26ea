"""Find few nodes that must stay in FP32, by halving a list of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

__all__ = ["few_that_pass"]


def few_that_pass(
    nodes: Sequence[str], passes: Callable[[tuple[str, ...]], bool], most_tries: int
) -> tuple[str, ...] | None:
    """A small part of a list that passes; all of it is taken to pass (then nothing is lowered).

    Parts are runs of the list, so with nodes in the order in which they run a fault that spreads is found in
    one place. A part that passes is halved again; where neither half does, what is left of the list without
    one part is tried, in ever smaller parts.

    Args:
        nodes: In the order in which they run.
        passes: Tries the network with these in FP32.
        most_tries: After so many the best so far is the answer.

    Returns:
        In the order of `nodes`; None where no smaller part passed.

    Source:
        A. Zeller and R. Hildebrandt, "Simplifying and isolating failure-inducing input", 2002 (ddmin).
    """
    left, parts, tries = tuple(nodes), 2, 0
    found: tuple[str, ...] | None = None
    while len(left) > 1:
        pieces = _cut(left, min(parts, len(left)))
        trials = list(pieces)
        if len(pieces) > 2:
            trials += [tuple(name for name in left if name not in set(piece)) for piece in pieces]
        for number, trial in enumerate(trials):
            if tries == most_tries:
                return found
            tries += 1
            if passes(trial):
                found = left = trial
                parts = 2 if number < len(pieces) else max(2, parts - 1)
                break
        else:
            if parts >= len(left):
                break
            parts = min(2 * parts, len(left))
    return found


def _cut(names: tuple[str, ...], parts: int) -> list[tuple[str, ...]]:
    ends = [round(n * len(names) / parts) for n in range(parts + 1)]
    return [names[a:b] for a, b in pairwise(ends)]
