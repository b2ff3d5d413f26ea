"""The next token: chosen by its probability, from what the grammar allows, and from nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.engines.llama.options import GenerationOptions
from runtime.engines.llama.sampling import TokenChooser, draw
from runtime.engines.llama.text_stream import TextStream
from runtime.errors import LanguageError, UsageError


class Letters:
    """A vocabulary of letters, an end (0) and a control token (1)."""

    def piece(self, token: int) -> bytes:
        return b"" if token < 2 else bytes((ord("a") + token - 2,))

    def is_end(self, token: int) -> bool:
        return token == 0


class Leaking:
    """A mask that was not applied."""

    def __init__(self) -> None:
        self.accepted: list[int] = []

    def masked(self, tokens: NDArray[np.int32], logits: NDArray[np.float32]) -> NDArray[np.float32]:
        return logits.copy()

    def accept(self, token: int) -> None:
        self.accepted.append(token)

    def close(self) -> None: ...


class Closed(Leaking):
    """A mask that forbids everything."""

    def masked(self, tokens: NDArray[np.int32], logits: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.full_like(logits, -np.inf)


def chooser(mask: Leaking, grammar: str) -> TokenChooser:
    return TokenChooser(Letters(), mask, GenerationOptions(grammar=grammar), 0)


def test_mask_that_was_not_applied_lets_nothing_through() -> None:
    mask = Leaking()
    choose = chooser(mask, 'root ::= "ab"')
    logits = np.arange(10, dtype=np.float32)[::-1].copy()  # the end is likeliest, then the control token
    assert choose.choose(logits) == 2
    assert not choose.is_finished
    assert choose.choose(logits) == 3
    assert choose.is_finished
    assert mask.accepted == [2, 3]


def test_nothing_is_chosen_where_no_token_fits() -> None:
    for mask, grammar in ((Closed(), 'root ::= "ab"'), (Leaking(), 'root ::= "é"')):
        with pytest.raises(LanguageError, match="no token of the language model goes on within the grammar"):
            chooser(mask, grammar).choose(np.zeros(10, np.float32))
        assert mask.accepted == []


def test_grammar_is_never_without_its_mask() -> None:
    with pytest.raises(UsageError, match="a grammar without a mask"):
        TokenChooser(Letters(), None, GenerationOptions(grammar='root ::= "a"'), 0)
    with pytest.raises(UsageError, match="a mask without one"):
        TokenChooser(Letters(), Leaking(), GenerationOptions(), 0)


def test_chance_is_that_of_the_allowed_tokens() -> None:
    # Testing one token before masking all must not change how often each is chosen.
    grammar, logits = "root ::= [a-c]", np.array([3, 0, 1, 0, 2, 4, 4, 4, 4, 4], np.float32)
    options = [GenerationOptions(grammar=grammar, temperature=1.0, seed=seed) for seed in range(4000)]
    counts = np.zeros(10)
    for option in options:
        token = TokenChooser(Letters(), Leaking(), option, 0).choose(logits)
        counts[0 if token is None else token] += 1
    expected = np.exp([1, 0, 2]) / np.exp([1, 0, 2]).sum()
    # five standard deviations of 4000 draws are less than 0.04
    np.testing.assert_allclose(counts[2:5] / 4000, expected, atol=0.04)
    assert counts[[0, 1, 5, 6, 7, 8, 9]].sum() == 0


def test_draw_takes_what_it_should() -> None:
    random = np.random.default_rng(0)
    logits = np.array([1, 3, 3, -np.inf, 2], np.float32)
    assert draw(logits, 0, 0, random) == 1
    assert {draw(logits, 1.0, 2, random) for _ in range(50)} == {1, 2}
    assert {draw(logits, 100.0, 0, random) for _ in range(200)} == {0, 1, 2, 4}
    assert {draw(np.array([-np.inf, -1e30, -np.inf], np.float32), 1e-3, 0, random) for _ in range(20)} == {1}


def test_text_comes_out_as_whole_characters() -> None:
    stream = TextStream(())
    given = [stream.feed(bytes((byte,))) for byte in "aé😀".encode()]
    assert given == ["a", "", "é", "", "", "", "😀"]
    assert stream.feed("é".encode()[:1]) == ""
    assert stream.finish() == "\ufffd"
    assert stream.text == "aé😀\ufffd"


def test_text_to_stop_at_is_never_given_out() -> None:
    for pieces in (["one ##", "#two"], ["one #", "#", "#"], ["one ###two"], list("one ###t")):
        stream = TextStream(("###", "##!"))
        given = "".join(stream.feed(piece.encode()) for piece in pieces if not stream.is_stopped)
        assert (given, stream.text, stream.is_stopped) == ("one ", "one ", True)
        assert stream.finish() == ""
    stream = TextStream(("###",))
    assert [stream.feed(b"one ##"), stream.feed(b" two #"), stream.finish()] == ["one ", "## two ", "#"]
