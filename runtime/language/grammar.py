"""A vocabulary as a GBNF grammar: exactly the sentences that `sentence.parse` reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from runtime.bundle import Vocabulary
from runtime.language.instruction import BRIGHTNESSES, SIZES, THICKNESSES
from runtime.language.sentence import NOTHING_KNOWN, PLACES, a_plane
from runtime.language.views import PLANES

__all__ = ["sentence_grammar"]


def sentence_grammar(vocabulary: Vocabulary) -> str:
    """GBNF of all sentences; names come in the vocabulary's order and once, by rules that only go on."""
    modalities = _one_of(vocabulary.modalities.values())
    lines = [
        'root ::= "This is " plane " " modality " with " thickness " slices. Visible: " visible ". " '
        f'{"finding " if vocabulary.finding else ""}"Segment the " target0',
        f"plane ::= {_one_of(a_plane(plane) for plane in PLANES)}",
        f"modality ::= {modalities}",
        f"thickness ::= {_one_of(THICKNESSES)}",
        *_visible([vocabulary.spoken[name] for name in vocabulary.visible]),
        *_targets([vocabulary.spoken[name] for name in vocabulary.targets]),
    ]
    if vocabulary.finding is not None:
        noun = vocabulary.finding.spoken
        lines += [
            f'finding ::= "No {noun} is seen. " | "A " size " " brightness " {noun} is " place ". " | ""',
            f"size ::= {_one_of(SIZES)}",
            f"brightness ::= {_one_of(BRIGHTNESSES)}",
            f"place ::= {_one_of(PLACES.values())}",
        ]
    return "\n".join(lines) + "\n"


def _one_of(words: Iterable[str]) -> str:
    return " | ".join(f'"{item}"' for item in words)


def _visible(words: Sequence[str]) -> Iterator[str]:
    """One name or more; `visibleN`: the first is name N or a later one, `moreN`: those after it."""
    first = " | visible0" if words else ""
    yield f'visible ::= "{NOTHING_KNOWN}"{first}'
    for n, item in enumerate(words):
        after = f" more{n + 1}" if n + 1 < len(words) else ""
        later = f" | visible{n + 1}" if after else ""
        yield f'visible{n} ::= "{item}"{after}{later}'
        if n > 0:
            yield f'more{n} ::= (", {item}")?{after}'


def _targets(words: Sequence[str]) -> Iterator[str]:
    """A list: "a.", "a and the b." or "a, the b and the c."; N is the first name that may come.

    `targetN` is a whole list, `afterN` what follows its first name, `goonN` more names, `nextN` one of
    these and more, `lastN` the last.
    """
    count = len(words)
    for n, item in enumerate(words):
        later = f" | target{n + 1}" if n + 1 < count else ""
        yield f'target{n} ::= "{item}" after{n + 1}{later}'
    for n in range(1, count + 1):
        yield f'after{n} ::= "."' + (f" | goon{n}" if n < count else "")
    for n in range(1, count):
        later = f" | last{n + 1}" if n + 1 < count else ""
        yield f'last{n} ::= "{words[n]}."{later}'
        more = f' | ", the " next{n}' if n + 1 < count else ""
        yield f'goon{n} ::= " and the " last{n}{more}'
        if more:
            later = f" | next{n + 1}" if n + 2 < count else ""
            yield f'next{n} ::= "{words[n]}" goon{n + 1}{later}'
