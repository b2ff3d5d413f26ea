"""Follow a grammar byte by byte: the second opinion on every token, and the word on when a text is whole.

llama.cpp masks tokens with its own reading of a grammar; what it lets pass is checked here before anybody
sees it. The two share no code, so that a mask which was not applied, or applied wrongly, is noticed.
"""

from __future__ import annotations

from bisect import bisect_right

from runtime.engines.llama.grammar import Grammar, Terminal
from runtime.errors import UsageError

__all__ = ["GrammarState", "begin"]

_MOST_STACKS = 2048
_DEEPEST_STACK = 2048

Stack = tuple[int, ...]
"""Symbols still to come, the next one last."""

_SECOND = {0xE0: (0xA0, 0xBF), 0xED: (0x80, 0x9F), 0xF0: (0x90, 0xBF), 0xF4: (0x80, 0x8F)}
"""Bounds of the second byte where they are narrower. Source: table 3-7 of the Unicode standard."""


class GrammarState:
    """Where in a grammar a text has come to; does not change.

    Args:
        grammar: The rules.
        stacks: Every way to go on, each ending with a terminal; an empty one is the end of the text.
        pending: Bytes of a character that is not whole yet.
    """

    def __init__(self, grammar: Grammar, stacks: frozenset[Stack], pending: bytes = b"") -> None:
        self._grammar = grammar
        self._stacks = stacks
        self._pending = pending

    @property
    def may_end(self) -> bool:
        """Whether the text is a whole one now."""
        return () in self._stacks and not self._pending

    @property
    def must_end(self) -> bool:
        """Whether it is whole and nothing may follow."""
        return self.may_end and len(self._stacks) == 1

    def after(self, data: bytes) -> GrammarState | None:
        """The state after more bytes of UTF-8; None where the grammar forbids them."""
        stacks, pending = self._stacks, self._pending
        for byte in data:
            pending += bytes((byte,))
            bounds = _code_points(pending)
            if bounds is None:
                return None
            fitting = [stack for stack in stacks if stack and _meets(self._terminal(stack), *bounds)]
            if not fitting:
                return None
            if len(pending) == _length(pending[0]):
                following = expand(self._grammar, [stack[:-1] for stack in fitting])
                if following is None:
                    return None
                stacks, pending = following, b""
        return GrammarState(self._grammar, stacks, pending)

    def _terminal(self, stack: Stack) -> Terminal:
        return self._grammar.terminals[stack[-1]]


def begin(grammar: Grammar) -> GrammarState:
    """The state before any text.

    Raises:
        UsageError: There are too many ways to begin, or they are too deep, to be followed.
    """
    stacks = expand(grammar, [(grammar.start,)])
    if stacks is None:
        raise UsageError("the grammar is too ambiguous to be followed; write it simpler")
    return GrammarState(grammar, stacks)


def expand(grammar: Grammar, stacks: list[Stack]) -> frozenset[Stack] | None:
    """Replace rules by their alternatives until every stack is empty or ends with a terminal.

    Returns:
        The stacks; None where there are too many or they are too deep to be followed.
    """
    found: set[Stack] = set()
    seen = set(stacks)
    open_stacks = list(seen)
    while open_stacks:
        stack = open_stacks.pop()
        if not stack or stack[-1] >= 0:
            found.add(stack)
            continue
        for symbols in grammar.rules[-stack[-1] - 1]:
            longer = stack[:-1] + symbols[::-1]
            if len(longer) > _DEEPEST_STACK or len(seen) > _MOST_STACKS:
                return None
            if longer not in seen:
                seen.add(longer)
                open_stacks.append(longer)
    return frozenset(found)


def _length(first: int) -> int:
    """Bytes of the character that begins with this one; 0 where none does."""
    if first < 0x80:
        return 1
    if first < 0xC2 or first > 0xF4:
        return 0
    return 2 if first < 0xE0 else 3 if first < 0xF0 else 4


def _code_points(data: bytes) -> tuple[int, int] | None:
    """First and last character that begin with these bytes; None where none does."""
    first, length = data[0], _length(data[0])
    low_second, high_second = _SECOND.get(first, (0x80, 0xBF))
    if length == 0 or (len(data) > 1 and not low_second <= data[1] <= high_second):
        return None
    if any(not 0x80 <= byte <= 0xBF for byte in data[2:]):
        return None
    least = data + bytes((low_second, 0x80, 0x80))[len(data) - 1 : length - 1]
    most = data + bytes((high_second, 0xBF, 0xBF))[len(data) - 1 : length - 1]
    return ord(least.decode()), ord(most.decode())


def _meets(terminal: Terminal, low: int, high: int) -> bool:
    """Whether one of the characters from `low` to `high` fits."""
    place = bisect_right(terminal, (high, 0x110000)) - 1
    return place >= 0 and terminal[place][1] >= low
