"""Grammars: read strictly, followed exactly, and nothing is said outside of one."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.engines.llama.client import LlamaProcess
from runtime.engines.llama.grammar import parse_grammar
from runtime.engines.llama.grammar_match import begin
from runtime.engines.llama.options import Generated, GenerationOptions, LlamaSettings
from runtime.engines.llama.prompts import TextPart
from runtime.errors import UsageError
from tests.tiny_gguf import TinyModel, write_gguf

PROMPT = (TextPart("say something"),)

JSON = r"""
# An object like those that instructions are written in.
root    ::= "{" ws "\"target\":" ws text "," ws "\"sure\":" ws number ("," ws pair){0,2} ws "}"
pair    ::= "\"also\":" ws ( text | list | "null" ) | "\"note\":" ws text
list    ::= "[" ws ( text ( "," ws text ){0,3} )? ws "]"
text    ::= "\"" ( [^"\\\x00-\x1F\x7F] | "\\" ["\\bfnrt/] ){0,12} "\""
number  ::= "0." [0-9]{1,3} | "1"
ws      ::= [ \n]?
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaProcess]:
    """A model that knows nothing."""
    path = write_gguf(tmp_path_factory.mktemp("model") / "model.gguf", TinyModel())
    limits = LlamaSettings(context_tokens=256, batch_tokens=32, sequences=8, memory_bytes=1 << 28)
    with LlamaProcess(path, limits) as opened:
        yield opened


def follows(grammar: str, text: str) -> bool:
    """Whether a text is a whole one, told byte by byte and at once alike."""
    state = begin(parse_grammar(grammar))
    at_once = state.after(text.encode())
    for byte in text.encode():
        following = state.after(bytes((byte,)))
        if following is None:
            assert at_once is None
            return False
        state = following
    assert at_once is not None
    assert at_once.may_end == state.may_end
    return state.may_end


BROKEN = {
    "empty": ("", "is empty, which would allow everything"),
    "blank": (" \n\t\n", "is empty, which would allow everything"),
    "a comment": ("# nothing", "rule root is not defined"),
    "no root": ('rot ::= "a"', "rule root is not defined"),
    "no definition": ("root", "expected ::="),
    "one colon": ('root := "a"', "expected ::="),
    "open quote": ('root ::= "a', "not closed"),
    "open class": ("root ::= [a-", "not closed"),
    "open group": ('root ::= ("a"', r"expected \)"),
    "closed too often": ('root ::= "a")', "belongs to no rule"),
    "undefined": ('root ::= "a" other', "rule other is not defined"),
    "twice": ('root ::= "a"\nroot ::= "b"', "rule root is there twice"),
    "underscore": ('root ::= my_rule\nmy_rule ::= "a"', "belongs to no rule"),
    "unknown escape": (r'root ::= "\q"', "unknown escape"),
    "short escape": (r'root ::= "\x4"', "hexadecimal"),
    "zero byte": (r'root ::= "\x00"', "no text holds"),
    "half a pair": (r'root ::= "\uD800"', "no text holds"),
    "raw zero": ('root ::= "a" # \0', "no text holds"),
    "empty class": ("root ::= []", "an empty class"),
    "class of nothing": (r"root ::= [^\x00-\U0010FFFF]", "no character fits"),
    "backward range": ("root ::= [z-a]", "end lies before its start"),
    "stray star": ("root ::= *", "belongs to no rule"),
    "backward repetition": ('root ::= "a"{3,2}', "from 3 to 2"),
    "repetition of words": ('root ::= "a"{x}', "expected a number"),
    "token": ("root ::= <[5]>", "belongs to no rule"),
    "left recursion": ('root ::= root "a" | "b"', "rule root begins with itself"),
    "left recursion of two": ('root ::= a\na ::= b "x" | "y"\nb ::= a | "z"', "begins with itself"),
    "left recursion behind nothing": (
        'root ::= e root "a" | "b"\ne ::= f\nf ::= "" | "c"',
        "begins with itself",
    ),
    "repeats nothing": ('root ::= ("a"?)* "b"', "repeats what may be empty"),
    "never ends": ('root ::= "a" root', "rule root never ends"),
    "huge repetition": ('root ::= ("abc"){1500}{3}', "more than 2000"),
    "huge number": ('root ::= "a"{99999}', "up to 2000"),
    "30,000 brackets": ("root ::= " + "(" * 30_000 + '"a"' + ")" * 30_000, "nested deeper than 32"),
    "a megabyte": ('root ::= "' + "a" * (1 << 20) + '"', "more than 65536 characters"),
    "written out": ("root ::= " + " ".join(["[a-z]{2000}"] * 40), "more than 65536 symbols"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_grammar_generates_nothing(case: str, model: LlamaProcess) -> None:
    grammar, words = BROKEN[case]
    worker, said = model.pid, []
    started = time.monotonic()
    with pytest.raises(UsageError, match=words):
        model.generate(PROMPT, GenerationOptions(grammar=grammar), lambda number, text: said.append(text))
    assert said == []
    assert time.monotonic() - started < 5
    assert model.pid == worker


FOLLOWED = {
    'root ::= "yes" | "no"': (["yes", "no"], ["", "y", "yesno", "maybe"]),
    "root ::= [a-c]+ [^a-c]": (["a-", "abcé", "cc\n"], ["-", "a", "ab"]),
    'root ::= ("a" | "b" "c"?){2,3} "."': (["aa.", "bcbbc."], ["a.", "aaaa.", "c."]),
    'root ::= "ä" . "€" .? # end': (["ä😀€", "äx€y"], ["ä€", "ax€"]),
    'root ::= "a"\r\n  # comment\r\n': (["a"], ["a\r\n"]),
    'root ::= item (","\n  item)*\nitem ::= [0-9]': (["1", "1,2,3"], ["1,", ",1"]),
    r'root ::= "\x41\u00e9\U0001F600\n\"" [\]\-x]': (['Aé😀\n"]', 'Aé😀\n"-'], ['Aé😀\n"']),
    'root ::= "" | "x" root "y"': (["", "xy", "xxxyyy"], ["xxy", "yx"]),
    'root ::= "a"{0} "b"{2} "c"{1,}': (["bbc", "bbccc"], ["abbc", "bc", "bb"]),
    "root ::= [-a]+": (["-", "a-"], ["b"]),
}


@pytest.mark.parametrize("grammar", FOLLOWED)
def test_grammar_is_followed(grammar: str) -> None:
    right, wrong = FOLLOWED[grammar]
    assert [text for text in right if not follows(grammar, text)] == []
    assert [text for text in wrong if follows(grammar, text)] == []


ALPHABET = "ab;é"


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.sampled_from(["a", "b", ";", "é", "[ab]", "[^a]"]),
        lambda inner: st.one_of(
            st.tuples(inner, inner).map(lambda pair: f"{pair[0]}{pair[1]}"),
            st.tuples(inner, inner).map(lambda pair: f"({pair[0]}|{pair[1]})"),
            st.tuples(inner, st.sampled_from(["?", "{2}", "{1,3}"])).map(
                lambda pair: f"({pair[0]}){pair[1]}"
            ),
        ),
        max_leaves=6,
    ),
    st.lists(st.text(ALPHABET, max_size=6), max_size=12),
)
def test_grammar_agrees_with_regular_expressions(pattern: str, texts: list[str]) -> None:
    grammar = "root ::= " + re.sub(r"\[.*?\]|[ab;é]", lambda found: _quoted(found[0]), pattern)
    for text in texts:
        assert follows(grammar, text) == (re.fullmatch(pattern, text) is not None)


def _quoted(found: str) -> str:
    return f" {found} " if found.startswith("[") else f' "{found}" '


def test_half_characters_are_followed_and_false_ones_refused() -> None:
    state = begin(parse_grammar('root ::= [é-ü]+ "€"'))
    assert state.after("é".encode()[:1]) is not None
    assert state.after("À".encode()[:1] + b"\x80") is None  # À is not within é to ü
    assert state.after(b"\xc4") is None  # no character from é to ü begins so
    assert state.after("é€".encode()[:3]) is not None
    any_text = begin(parse_grammar("root ::= .+"))
    for false in (b"\x80", b"\xc0\x80", b"\xe0\x80", b"\xed\xa0", b"\xf4\x90", b"\xf5", b"\xc3("):
        assert any_text.after(false) is None
    half = any_text.after(b"\xe2\x82")
    assert half is not None
    assert not half.may_end


def test_ambiguity_without_end_is_given_up_in_time() -> None:
    started = time.monotonic()
    state = begin(parse_grammar('root ::= a a a a a a a a a a a a "."\na ::= "x" | "x" a'))
    after = state.after(b"x" * 60)
    assert time.monotonic() - started < 10
    assert after is None or not after.may_end


def check_json(answer: Generated) -> None:
    assert answer.stop == "end"
    found = json.loads(answer.text)
    assert isinstance(found["target"], str)
    assert 0 <= found["sure"] <= 1
    assert follows(JSON, answer.text)


def sample(model: LlamaProcess, count: int) -> list[Generated]:
    """Answers of a random model, hot."""
    answers: list[Generated] = []
    while len(answers) < count:
        options = GenerationOptions(grammar=JSON, temperature=1.5, seed=len(answers), max_tokens=200)
        answers += model.generate_batch([PROMPT] * 8, options)
    return answers


def test_every_sampled_answer_parses(model: LlamaProcess) -> None:
    answers = sample(model, 160)
    for answer in answers:
        check_json(answer)
    assert len({answer.text for answer in answers}) > 150


@pytest.mark.slow
def test_ten_thousand_sampled_answers_parse(model: LlamaProcess) -> None:
    for answer in sample(model, 10_000):
        check_json(answer)


@pytest.mark.parametrize("top_k", [1, 3])
def test_grammar_comes_before_the_likeliest_are_taken(top_k: int, model: LlamaProcess) -> None:
    options = GenerationOptions(grammar=JSON, temperature=1.0, top_k=top_k, max_tokens=200)
    check_json(model.generate(PROMPT, options))


def test_cut_answer_is_the_beginning_of_a_whole_one(model: LlamaProcess) -> None:
    answer = model.generate(PROMPT, GenerationOptions(grammar=JSON, temperature=1.5, max_tokens=9))
    assert (answer.stop, answer.is_whole) == ("length", False)
    assert begin(parse_grammar(JSON)).after(answer.text.encode()) is not None
