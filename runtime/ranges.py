"""Names for stretches of time that a profiler of CUDA shows, where the package nvtx is installed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

__all__ = ["profiler_range"]

_NOTHING = nullcontext()


@functools.cache
def _annotate() -> Callable[..., AbstractContextManager[Any]] | None:
    """What opens a range; None without the package, which is looked for once."""
    try:
        from nvtx import annotate
    except ImportError:
        return None
    opened: Callable[..., AbstractContextManager[Any]] = annotate
    return opened


def profiler_range(name: str) -> AbstractContextManager[Any]:
    """A `with` block that a profiler shows under a name; nothing where nvtx is not installed.

    Args:
        name: What happens inside.
    """
    annotate = _annotate()
    return _NOTHING if annotate is None else annotate(name, domain="zeus-edge")
