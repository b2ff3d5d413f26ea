"""What a person sees while waiting: one line on a terminal, nothing in a pipe."""

from __future__ import annotations

import sys
import time

__all__ = ["ProgressLine"]

_WIDTH = 24


class ProgressLine:
    """A progress callback that redraws one line of stderr.

    Args:
        shown: False shows nothing; by default only a terminal is drawn on.
    """

    def __init__(self, shown: bool | None = None) -> None:
        self._shown = sys.stderr.isatty() if shown is None else shown
        self._started = time.monotonic()

    def __call__(self, stage: str, share: float) -> None:
        """Draw the stage's name, a bar and the seconds so far."""
        if self._shown:
            bar = ("#" * round(share * _WIDTH)).ljust(_WIDTH, ".")
            seconds = time.monotonic() - self._started
            sys.stderr.write(f"\r\x1b[K{stage:<8} [{bar}] {seconds:5.1f} s")
            sys.stderr.flush()

    def clear(self) -> None:
        """Remove the line."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
