"""Whatever the weights of a language model are, it writes a sentence of the vocabulary, or nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from runtime.engines.llama.client import LlamaProcess
from runtime.engines.llama.options import MOST_SEQUENCES, GenerationOptions, LlamaSettings
from runtime.engines.llama.prompts import TextPart
from runtime.errors import UsageError
from runtime.language.grammar import sentence_grammar
from runtime.language.sentence import parse, write
from tests.test_written_sentences import HEAD
from tests.tiny_gguf import TinyModel, write_gguf

FRAGMENTS = (
    *(
        "This is a coronal ",
        "This is an axial CT scan with ",
        "T2-weighted MRI with ",
        "slices. Visible: ",
        "thick ",
    ),
    *(
        "nothing known. ",
        "No lesion is seen. Segment the ",
        "A large bright lesion is ",
        "in the midline. ",
        "kidney",
    ),
    *(
        "Segment the ",
        "lateral ventricles",
        "outer CSF",
        "brain and the ",
        "whole lesion",
        ", the ",
        "and",
        ". ",
    ),
)
PIECES = tuple(text[start:] for text in FRAGMENTS for start in range(len(text) - 1))
"""Tokens across the borders of the grammar's words, right and wrong ones, so that an answer takes fewer."""
GRAMMAR = sentence_grammar(HEAD)
WORDS = {word for text in re.findall(r'"([^"]*)"', GRAMMAR) for word in re.findall(r"[\w-]+", text)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaProcess]:
    tiny = TinyModel(blocks=1, width=32, heads=2, context=512, words=PIECES)
    file = write_gguf(tmp_path_factory.mktemp("sampling") / "model.gguf", tiny)
    settings = LlamaSettings(context_tokens=512, sequences=MOST_SEQUENCES, memory_bytes=1 << 28)
    with LlamaProcess(file, settings) as opened:
        yield opened


def sampled(model: LlamaProcess, seed: int) -> list[str]:
    options = GenerationOptions(GRAMMAR, temperature=1.5, seed=seed, max_tokens=480, deadline_s=120)
    prompts = [(TextPart("what is in the picture"),)] * MOST_SEQUENCES
    answers = model.generate_batch(prompts, options)
    assert all(answer.is_whole for answer in answers)
    return [answer.text for answer in answers]


def check(texts: list[str]) -> None:
    for text in texts:
        assert write(parse(text, HEAD), HEAD) == text
        assert set(re.findall(r"[\w-]+", text)) <= WORDS


def test_sampled_answers_name_only_the_vocabulary(model: LlamaProcess) -> None:
    texts = [text for seed in range(4) for text in sampled(model, seed)]
    check(texts)
    assert len(set(texts)) > 32


@pytest.mark.slow
def test_ten_thousand_sampled_answers_name_only_the_vocabulary(model: LlamaProcess) -> None:
    seen: set[str] = set()
    for seed in range(10_000 // MOST_SEQUENCES):
        texts = sampled(model, seed)
        check(texts)
        seen |= set(texts)
    assert len(seen) > 1_000


@pytest.mark.parametrize(
    "broken",
    [
        "",
        GRAMMAR.replace("root ::=", "start ::="),
        GRAMMAR.replace("plane ::=", "plan ::="),
        GRAMMAR + "(",
        "x",
    ],
)
def test_broken_grammar_generates_nothing(model: LlamaProcess, broken: str) -> None:
    pieces: list[str] = []
    with pytest.raises(UsageError, match="grammar"):
        model.generate((TextPart("x"),), GenerationOptions(broken), lambda number, text: pieces.append(text))
    assert pieces == []
