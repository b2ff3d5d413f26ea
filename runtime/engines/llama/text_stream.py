"""Text as it comes: bytes of tokens become characters once they are whole; texts to stop at are held back."""

from __future__ import annotations

import codecs

__all__ = ["TextStream"]


class TextStream:
    """The text of one answer.

    Args:
        stop_texts: It ends before the first of them.

    Attributes:
        text: All that was given out.
        is_stopped: Whether a text to stop at came.
    """

    def __init__(self, stop_texts: tuple[str, ...]) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stop_texts = stop_texts
        self._held = ""
        self.text = ""
        self.is_stopped = False

    def feed(self, piece: bytes) -> str:
        """What can be given out after these bytes; what may still become a text to stop at is held back."""
        self._held += self._decoder.decode(piece)
        places = [self._held.find(stop) for stop in self._stop_texts]
        if found := [place for place in places if place >= 0]:
            self.is_stopped = True
            return self._give(min(found))
        return self._give(len(self._held) - self._suspicious())

    def finish(self) -> str:
        """What was held back, at the end; half a character becomes U+FFFD."""
        if self.is_stopped:
            return ""
        self._held += self._decoder.decode(b"", final=True)
        return self._give(len(self._held))

    def _give(self, count: int) -> str:
        given, self._held = self._held[:count], self._held[count:]
        self.text += given
        return given

    def _suspicious(self) -> int:
        """Characters at the end that begin a text to stop at."""
        longest = max((len(stop) for stop in self._stop_texts), default=1) - 1
        for count in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-count:]) for stop in self._stop_texts):
                return count
        return 0
