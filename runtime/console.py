"""What a person sees: one line while waiting on a terminal, nothing in a pipe, nothing from libraries."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["ProgressLine", "printable", "quiet_libraries"]

_WIDTH = 24


def printable(text: str) -> str:
    """One line of text without control characters: a file's name may try to command the terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep libraries' warnings and log lines off the screen while the block runs.

    They are for developers and may quote a header, so patient data. `python -W` still wins.
    """
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.simplefilter("ignore")
            yield
    finally:
        root.removeHandler(handler)


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
