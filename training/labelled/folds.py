"""Which part of a data set a case belongs to: decided by its name alone, for ever."""

from __future__ import annotations

import hashlib

__all__ = ["fold_of"]


def fold_of(name: str, folds: int) -> int:
    """Fold of a case, 0…folds - 1; the same on every machine and however many cases there are.

    Args:
        name: Of the case, or of the patient where a data set has several cases of one.
        folds: How many there are.
    """
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % folds
