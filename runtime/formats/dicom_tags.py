"""Read single DICOM attributes without trusting that they are there or well formed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["integer", "number", "numbers", "text", "words"]


def _value(header: Any, keyword: str) -> Any:
    try:
        return header.get(keyword)
    except Exception:  # pydicom converts on access; a damaged value may raise nearly anything
        return None


def _many(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return list(value) if hasattr(value, "__iter__") and not isinstance(value, (str, bytes)) else [value]


def text(header: Any, keyword: str) -> str:
    """The value as stripped text; several values are joined by a backslash, absence is ""."""
    return "\\".join(str(item).strip() for item in _many(_value(header, keyword)))


def words(header: Any, keyword: str) -> tuple[str, ...]:
    r"""The values of a coded string in capitals, e.g. ("SE", "IR") for `SE\IR`."""
    return tuple(word.strip().upper() for word in text(header, keyword).split("\\") if word.strip())


def numbers(header: Any, keyword: str, count: int) -> NDArray[np.float64] | None:
    """Exactly `count` finite numbers, (count,), or None."""
    try:
        values = np.array([float(item) for item in _many(_value(header, keyword))], dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return values if values.shape == (count,) and np.isfinite(values).all() else None


def number(header: Any, keyword: str) -> float | None:
    """The first value as a finite number, or None."""
    values = _many(_value(header, keyword))[:1]
    try:
        value = float(values[0])
    except (IndexError, TypeError, ValueError):
        return None
    return value if np.isfinite(value) else None


def integer(header: Any, keyword: str) -> int | None:
    """The first value as a whole number, or None."""
    value = number(header, keyword)
    return None if value is None or value != int(value) else int(value)
