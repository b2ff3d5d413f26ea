"""Read a GBNF grammar strictly, before llama.cpp sees it: what it cannot parse ends its process.

The same text is given to llama.cpp, which masks tokens with it, and becomes the rules by which
`grammar_match` checks every token once more. Taken is the part of GBNF that describes text: rules, literals,
classes, groups, `.`, `* + ? {m,n}` and comments; tokens in angle brackets are not.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field

from runtime.engines.llama.grammar_text import GrammarError, GrammarText
from runtime.errors import UsageError

__all__ = ["Grammar", "Terminal", "parse_grammar"]

_MOST_CHARACTERS = 1 << 16
_MOST_RULES = 4096
_MOST_SYMBOLS = 1 << 16
_MOST_REPEATED = 2000
"""Symbols that a repetition may write out; llama.cpp has the same limit."""
_DEEPEST = 32
_LAST_CHARACTER = 0x10FFFF

Terminal = tuple[tuple[int, int], ...]
"""Characters that fit, as ranges of code points: sorted, apart, both ends included."""


@dataclass(frozen=True)
class Grammar:
    """A grammar that can be followed.

    Attributes:
        text: As it was given.
        terminals: Sets of characters.
        rules: For each rule its alternatives, each a sequence of symbols: a terminal's number, or below 0 a
            rule's: -1 is the first.
    """

    text: str
    terminals: tuple[Terminal, ...]
    rules: tuple[tuple[tuple[int, ...], ...], ...]

    @property
    def start(self) -> int:
        """The symbol that everything begins with, the rule "root"."""
        return -1


@functools.lru_cache(maxsize=8)
def parse_grammar(text: str) -> Grammar:
    """Read a grammar.

    Args:
        text: GBNF with a rule named "root".

    Raises:
        UsageError: It is empty, wrong, without root, without an end, left-recursive, ambiguous without
            end (it repeats for ever what may be empty), or absurdly large.
    """
    if not text.strip():
        raise UsageError(
            "the grammar is empty, which would allow everything; leave it out or write its rules"
        )
    if len(text) > _MOST_CHARACTERS:
        raise UsageError(f"the grammar has more than {_MOST_CHARACTERS} characters; write a smaller one")
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text):
        raise UsageError("the grammar holds a character that no text holds; escape it")
    try:
        builder = _Builder(GrammarText(text))
        builder.read()
        _check_ends(builder.rules, builder.names)
        _check_recursion(builder.rules, builder.names, builder.repeated)
    except GrammarError as error:
        raise UsageError(f"the grammar is wrong: {error}; correct it") from error
    return Grammar(text, tuple(builder.terminals), tuple(builder.rules))


@dataclass
class _Builder:
    """Turns text into rules; what is repeated becomes rules of its own, recursive at their end."""

    source: GrammarText
    names: dict[str, int] = field(default_factory=lambda: {"root": -1})
    rules: list[tuple[tuple[int, ...], ...]] = field(default_factory=lambda: [()])
    terminals: list[Terminal] = field(default_factory=list)
    repeated: list[tuple[int, ...]] = field(default_factory=list)
    _numbers: dict[Terminal, int] = field(default_factory=dict)
    _defined: set[str] = field(default_factory=set)
    _symbols: int = 0

    def read(self) -> None:
        source = self.source
        source.skip(over_lines=True)
        while not source.at_end:
            name = source.name()
            if name in self._defined:
                raise source.error(f"rule {name} is there twice")
            self._defined.add(name)
            source.skip()
            source.expect("::=")
            source.skip(over_lines=True)
            number = self._rule(name)
            self.rules[-number - 1] = self._alternatives(0)
            source.end_of_rule()
        if undefined := [name for name in self.names if name not in self._defined]:
            raise GrammarError(f"rule {undefined[0]} is not defined")

    def _rule(self, name: str | None = None) -> int:
        """The number of a rule; a new one without alternatives where there is none yet."""
        if name is not None and name in self.names:
            return self.names[name]
        if len(self.rules) >= _MOST_RULES:
            raise self.source.error(f"more than {_MOST_RULES} rules")
        self.rules.append(())
        number = -len(self.rules)
        if name is not None:
            self.names[name] = number
        return number

    def _add(self, *alternatives: tuple[int, ...]) -> int:
        number = self._rule()
        self.rules[-number - 1] = alternatives
        self._count(sum(len(symbols) + 1 for symbols in alternatives))
        return number

    def _count(self, symbols: int) -> None:
        self._symbols += symbols
        if self._symbols > _MOST_SYMBOLS:
            raise self.source.error(f"more than {_MOST_SYMBOLS} symbols, written out")

    def _alternatives(self, depth: int) -> tuple[tuple[int, ...], ...]:
        if depth > _DEEPEST:
            raise self.source.error(f"nested deeper than {_DEEPEST}")
        found = [self._sequence(depth)]
        while self.source.take("|"):
            self.source.skip(over_lines=True)
            found.append(self._sequence(depth))
        self._count(sum(len(symbols) + 1 for symbols in found))
        return tuple(found)

    def _sequence(self, depth: int) -> tuple[int, ...]:
        symbols: list[int] = []
        while (item := self._item(depth)) is not None:
            self.source.skip(over_lines=depth > 0)
            while (times := self.source.repetition(over_lines=depth > 0)) is not None:
                item = self._repeat(item, *times)
            symbols += item
            self._count(len(item))
        return tuple(symbols)

    def _item(self, depth: int) -> tuple[int, ...] | None:
        source = self.source
        if source.take('"'):
            return tuple(self._terminal(((code, code),)) for code in source.literal())
        if source.take("["):
            return (self._terminal(_tidy(*source.character_class())),)
        if source.take("."):
            return (self._terminal(((0, _LAST_CHARACTER),)),)
        if source.take("("):
            source.skip(over_lines=True)
            number = self._add(*self._alternatives(depth + 1))
            source.expect(")")
            return (number,)
        if source.at_name:
            return (self._rule(source.name()),)
        return None

    def _terminal(self, ranges: Terminal) -> int:
        if not ranges:
            raise self.source.error("a class that no character fits")
        if ranges not in self._numbers:
            self._numbers[ranges] = len(self.terminals)
            self.terminals.append(ranges)
        return self._numbers[ranges]

    def _repeat(self, item: tuple[int, ...], least: int, most: int | None) -> tuple[int, ...]:
        if most is not None and most < least:
            raise self.source.error(f"a repetition from {least} to {most}")
        if len(item) * max(least, most or 0) > _MOST_REPEATED:
            raise self.source.error(f"a repetition of more than {_MOST_REPEATED} symbols")
        if most is None:
            self.repeated.append(item)
            number = self._rule()
            self.rules[-number - 1] = ((*item, number), ())
            return (*item * least, number)
        tail: tuple[int, ...] = ()
        for _ in range(most - least):
            tail = (self._add((*item, *tail), ()),)
        return (*item * least, *tail)


def _tidy(ranges: list[tuple[int, int]], is_negated: bool) -> Terminal:
    """Ranges sorted and joined, or what lies between them."""
    joined: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(high, joined[-1][1])
        else:
            joined.append((low, high))
    if not is_negated:
        return tuple(joined)
    starts = [0, *(high + 1 for _, high in joined)]
    ends = [*(low - 1 for low, _ in joined), _LAST_CHARACTER]
    return tuple((low, high) for low, high in zip(starts, ends, strict=True) if low <= high)


Rules = list[tuple[tuple[int, ...], ...]]


def _closed(rules: Rules, terminals_count: bool) -> set[int]:
    """Rules with an alternative all of whose symbols are such rules or, where they count, terminals."""
    waiting: dict[int, list[int]] = {}
    missing: list[int] = []
    owners: list[int] = []
    ready: list[int] = []
    for number, alternatives in enumerate(rules):
        for symbols in alternatives:
            needed = [symbol for symbol in symbols if symbol < 0 or not terminals_count]
            for symbol in needed:
                waiting.setdefault(symbol, []).append(len(missing))
            if not needed:
                ready.append(-number - 1)
            missing.append(len(needed))
            owners.append(-number - 1)
    found: set[int] = set()
    while ready:
        rule = ready.pop()
        if rule in found:
            continue
        found.add(rule)
        for alternative in waiting.get(rule, ()):
            missing[alternative] -= 1
            if missing[alternative] == 0:
                ready.append(owners[alternative])
    return found


def _check_ends(rules: Rules, names: dict[str, int]) -> None:
    """Every rule can come to an end."""
    ending = _closed(rules, terminals_count=True)
    for name, number in names.items():
        if number not in ending:
            raise GrammarError(f"rule {name} never ends")


def _check_recursion(rules: Rules, names: dict[str, int], repeated: list[tuple[int, ...]]) -> None:
    """No rule begins with itself, and nothing that may be empty is repeated."""
    empty = _closed(rules, terminals_count=False)
    if any(all(symbol in empty for symbol in item) for item in repeated):
        raise GrammarError("it repeats what may be empty")

    def firsts(number: int) -> Iterator[int]:
        for symbols in rules[-number - 1]:
            for symbol in symbols:
                if symbol < 0:
                    yield symbol
                if symbol not in empty:
                    break

    known = {number: name for name, number in names.items()}
    done: set[int] = set()
    for start in (-number - 1 for number in range(len(rules))):
        path, open_rules = [(start, firsts(start))], {start}
        while path:
            number, rest = path[-1]
            following = next(rest, None)
            if following is None:
                done.add(number)
                open_rules.discard(number)
                path.pop()
            elif following in open_rules:
                raise GrammarError(f"rule {known.get(following, 'a group')} begins with itself")
            elif following not in done:
                open_rules.add(following)
                path.append((following, firsts(following)))
