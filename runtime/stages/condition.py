"""Find out what a condition vector asks for, from the bank of those that are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.bundle import Bundle
from runtime.errors import BundleError

__all__ = ["Wanted", "are_related", "bank_vectors", "wanted"]


@dataclass(frozen=True)
class Wanted:
    """What a vector asks for.

    Attributes:
        target: Name of a structure; "" asks for nothing that the bundle can segment.
        similarity: Cosine to it, -1…1.
        runner_up: The nearest other one that is no part and no union of it.
        margin: How much less similar that is, at least 0.
        is_clear: Whether both reach the bundle's limits.
        is_near: Whether it is clear and so near that the vector itself may condition the decoder.
    """

    target: str
    similarity: float
    runner_up: str
    margin: float
    is_clear: bool
    is_near: bool


def bank_vectors(bundle: Bundle, names: Sequence[str]) -> NDArray[np.float32]:
    """Condition vectors of the bank.

    Args:
        bundle: One with instructions.
        names: Rows of the bank, by what they ask for.

    Returns:
        (M, len(names), C), for channels that a study lacks too.

    Raises:
        BundleError: The bundle has no bank.
    """
    given, bank = bundle.manifest.instructions, bundle.bank
    if given is None or bank is None:
        raise BundleError(
            f"{bundle.identity.name} has no bank of conditions; give a bundle with instructions"
        )
    return np.ascontiguousarray(bank[:, [given.asked.index(name) for name in names]])


def wanted(vector: NDArray[np.float32], bundle: Bundle, present: NDArray[np.bool_]) -> Wanted:
    """Compare a vector with what the bank's rows mean for the channels that are there.

    Args:
        vector: Condition, (C,).
        bundle: One with instructions.
        present: Which channels the study has, (M,), some of them True.

    Raises:
        BundleError: The bundle has no bank, or the vector does not fit it.
    """
    given = bundle.manifest.instructions
    asked = () if given is None else given.asked
    rows = bank_vectors(bundle, asked)[present].astype(np.float64).mean(axis=0)
    if given is None or vector.shape != rows.shape[1:]:
        raise BundleError(f"a condition of {vector.shape} does not fit the bank; export the bundle again")
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(vector)
    cosines = rows @ vector.astype(np.float64) / np.maximum(lengths, 1e-12)
    best = int(np.argmax(cosines))
    others = [n for n in range(len(asked)) if n != best and not are_related(bundle, asked[n], asked[best])]
    second = max(others, key=lambda n: (cosines[n], -n))
    similarity, margin = float(cosines[best]), float(cosines[best] - cosines[second])
    is_clear = similarity >= given.least_similarity and margin >= given.least_margin
    is_near = is_clear and similarity >= given.own_similarity
    return Wanted(asked[best], similarity, asked[second], margin, is_clear, is_near)


def are_related(bundle: Bundle, one: str, other: str) -> bool:
    """Whether one is a part of the other; asking for nothing is related to nothing."""
    if "" in (one, other):
        return False
    a, b = (set(bundle.parts(bundle.structure(name))) for name in (one, other))
    return a <= b or b <= a
