"""The words of GBNF: names, literals, classes, repetitions; where a word is wrong, the line is named."""

from __future__ import annotations

import re
import string

__all__ = ["GrammarError", "GrammarText"]

_NAME = frozenset(string.ascii_letters + string.digits + "-")
_ESCAPES = {"t": "\t", "r": "\r", "n": "\n", **{sign: sign for sign in '\\"[]-'}}
_HEX = {"x": 2, "u": 4, "U": 8}
_LINES = "\r\n"
_BLANK = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
_BLANK_LINES = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_MOST_TIMES = 2000


class GrammarError(ValueError):
    """A grammar is wrong; the message says how."""


class GrammarText:
    """A cursor on a grammar's text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def error(self, fact: str) -> GrammarError:
        """What is wrong here."""
        return GrammarError(f"line {self._text.count(chr(10), 0, self._at) + 1}: {fact}")

    @property
    def at_end(self) -> bool:
        """Whether nothing is left."""
        return self._at >= len(self._text)

    @property
    def at_name(self) -> bool:
        """Whether a rule's name begins here."""
        return not self.at_end and self._text[self._at] in _NAME

    def take(self, word: str) -> bool:
        """Whether `word` comes next; it is passed."""
        if not self._text.startswith(word, self._at):
            return False
        self._at += len(word)
        return True

    def expect(self, word: str) -> None:
        """Pass `word`."""
        if not self.take(word):
            raise self.error(f"expected {word}")

    def skip(self, over_lines: bool = False) -> None:
        """Pass spaces and comments, and line ends where they mean nothing."""
        found = (_BLANK_LINES if over_lines else _BLANK).match(self._text, self._at)
        self._at = found.end() if found else self._at

    def end_of_rule(self) -> None:
        """Pass the line end that closes a rule, and what is blank after it."""
        if not self.at_end and self._text[self._at] not in _LINES:
            raise self.error("something that belongs to no rule")
        self.skip(over_lines=True)

    def name(self) -> str:
        """A rule's name."""
        start = self._at
        while self.at_name:
            self._at += 1
        if start == self._at:
            raise self.error("expected a rule's name")
        return self._text[start : self._at]

    def literal(self) -> list[int]:
        """Code points up to the closing quote."""
        codes = []
        while not self.take('"'):
            codes.append(self._character(least=1))
        return codes

    def character_class(self) -> tuple[list[tuple[int, int]], bool]:
        """Ranges up to the closing bracket, and whether they are what does not fit."""
        is_negated = self.take("^")
        ranges = []
        while not self.take("]"):
            low = high = self._character(least=0)
            if self._text.startswith("-", self._at) and not self._text.startswith("-]", self._at):
                self._at += 1
                high = self._character(least=0)
            if high < low:
                raise self.error("a range whose end lies before its start")
            ranges.append((low, high))
        if not ranges:
            raise self.error("an empty class")
        return ranges, is_negated

    def repetition(self, over_lines: bool) -> tuple[int, int | None] | None:
        """How often what came before is taken, at least and at most; None where nothing is said."""
        signs: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        times = next((times for sign, times in signs.items() if self.take(sign)), None)
        if times is None and self.take("{"):
            self.skip(over_lines)
            least = self._number()
            self.skip(over_lines)
            most: int | None = least
            if self.take(","):
                self.skip(over_lines)
                most = None if self._text.startswith("}", self._at) else self._number()
                self.skip(over_lines)
            self.expect("}")
            times = least, most
        if times is not None:
            self.skip(over_lines)
        return times

    def _number(self) -> int:
        start = self._at
        while not self.at_end and self._text[self._at] in string.digits:
            self._at += 1
        digits = self._text[start : self._at]
        if not digits or len(digits) > 4 or int(digits) > _MOST_TIMES:
            raise self.error(f"expected a number up to {_MOST_TIMES}")
        return int(digits)

    def _character(self, least: int) -> int:
        if self.at_end:
            raise self.error("a quote or bracket that is not closed")
        character = self._text[self._at]
        self._at += 1
        if character == "\\":
            return self._escaped(least)
        return self._checked(ord(character), 0x20)

    def _escaped(self, least: int) -> int:
        kind = self._text[self._at : self._at + 1]
        self._at += 1
        if kind in _ESCAPES:
            return ord(_ESCAPES[kind])
        if kind not in _HEX:
            raise self.error("an unknown escape")
        digits = self._text[self._at : self._at + _HEX[kind]]
        if len(digits) != _HEX[kind] or not set(digits) <= set(string.hexdigits):
            raise self.error(f"expected {_HEX[kind]} hexadecimal digits")
        self._at += _HEX[kind]
        return self._checked(int(digits, 16), least)

    def _checked(self, code: int, least: int) -> int:
        if not least <= code <= 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise self.error("a character that no text holds; escape it")
        return code
