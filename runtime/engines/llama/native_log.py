"""What llama.cpp says, caught instead of printed; the last complaint explains an error."""

from __future__ import annotations

import re
from collections import deque
from typing import Any

__all__ = ["NativeLog", "complaint"]

_KEPT = 32
_LONGEST = 200
_WARNING, _ERROR, _CONTINUED = 3, 4, 5  # Source: enum ggml_log_level in ggml.h

_TELLING = re.compile(
    r"[\w.-]+\.(?:c|cpp|cu|h):\d+: .{1,160}|error loading model: .{1,160}"
    r"|failed to allocate.{0,80}|std::bad_alloc|failed to load model '[^']*': .{1,160}"
)
"""Where it aborted, without the path of who compiled it; why it did not load."""


class NativeLog:
    """Warnings and errors of the library.

    Args:
        library: The C functions; their log goes here from now on.
    """

    def __init__(self, library: Any) -> None:
        self._lines: deque[str] = deque(maxlen=_KEPT)
        self._is_kept = False
        self._callback = library.llama_log_callback(self._take)
        self.listen(library.llama_log_set)

    def listen(self, sets: Any) -> None:
        """Hear another part of the library, too.

        Args:
            sets: Its function that sets where its log goes.
        """
        sets(self._callback, None)

    def _take(self, level: int, text: bytes, _: Any) -> None:
        if level != _CONTINUED:
            self._is_kept = level in (_WARNING, _ERROR)
        if self._is_kept:
            self._lines.append(text.decode("utf-8", "replace"))

    def reason(self) -> str:
        """The last complaint, in printable characters; forgets all."""
        text = "".join(self._lines)
        self._lines.clear()
        return complaint(text) or _printable(text.strip().rpartition("\n")[2]) or "it does not say why"


def complaint(text: str) -> str:
    """The sentence of a log that tells why, if there is one; it never quotes a prompt or an answer."""
    found = _TELLING.findall(text)
    return _printable(found[-1]) if found else ""


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)[:_LONGEST]
