"""Visual tokens: embeddings are seen as tokens are, where they are; what is kept of a prompt is exact."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.engines.llama.client import LlamaProcess
from runtime.engines.llama.options import GenerationOptions, LlamaSettings
from runtime.engines.llama.prompts import EmbeddingPart, Prompt, TextPart, TokenPart
from runtime.errors import UsageError
from tests.llama_reference import reference_logits
from tests.tiny_gguf import TinyModel, write_gguf

MODEL = TinyModel()
ROWS = MODEL.tensors()["token_embd.weight"]
SETTINGS = LlamaSettings(
    context_tokens=160, batch_tokens=32, sequences=3, memory_bytes=1 << 28, cache_precision="float32"
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("model") / "model.gguf", MODEL)


@pytest.fixture(scope="module")
def model(path: Path) -> Iterator[LlamaProcess]:
    with LlamaProcess(path, SETTINGS) as opened:
        yield opened


@pytest.fixture
def fresh(path: Path) -> Iterator[LlamaProcess]:
    """A process that has seen nothing yet."""
    with LlamaProcess(path, SETTINGS) as opened:
        yield opened


def tokens_of(*counts: int, seed: int = 0) -> list[tuple[int, ...]]:
    random = np.random.default_rng(seed)
    return [tuple(int(token) for token in random.integers(4, 273, count)) for count in counts]


def image(count: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, 64)).astype(np.float32)


@pytest.mark.parametrize(("before", "inside", "after"), [(5, 8, 4), (1, 1, 1), (40, 70, 20), (3, 33, 1)])
def test_injected_rows_of_tokens_give_the_logits_of_the_tokens(
    model: LlamaProcess, before: int, inside: int, after: int
) -> None:
    first, middle, last = tokens_of(before, inside, after)
    plain = model.logits((TokenPart(first), TokenPart(middle), TokenPart(last)))
    injected = model.logits((TokenPart(first), EmbeddingPart(ROWS[list(middle)]), TokenPart(last)))
    assert np.abs(plain - injected).max() <= 1e-4
    assert np.ptp(plain) > 1  # else the difference would say nothing


def test_injected_image_is_computed_as_the_paper_says(model: LlamaProcess) -> None:
    first, last = tokens_of(6, 5)
    rows = image(20, seed=1)
    expected = reference_logits(MODEL, np.concatenate((ROWS[list(first)], rows, ROWS[list(last)])))
    got = model.logits((TokenPart(first), EmbeddingPart(rows), TokenPart(last)))
    # float32 arithmetic of two blocks; 8e-6 was seen in 30 prompts
    np.testing.assert_allclose(got, expected[-1], atol=2e-5)


def test_image_at_the_start_follows_the_begin_token(model: LlamaProcess) -> None:
    rows = image(4, seed=2)
    alone = model.logits((EmbeddingPart(rows), TokenPart((9,))))
    assert np.array_equal(alone, model.logits((TokenPart((0,)), EmbeddingPart(rows), TokenPart((9,)))))


def test_text_is_tokenised_part_by_part_and_marks_only_where_allowed(model: LlamaProcess) -> None:
    mark = model.logits((TextPart("a</s>", reads_special_tokens=True),))
    typed = model.logits((TextPart("a</s>"),))
    letter = 4 + ord("a")  # tokens of bytes follow the four special ones
    assert np.array_equal(mark, model.logits((TokenPart((0, letter, 1)),)))
    assert np.array_equal(typed, model.logits((TokenPart((0, *(4 + byte for byte in b"a</s>"))),)))


def kept(model: LlamaProcess, prompt: Prompt) -> int:
    return model.generate(prompt, GenerationOptions(max_tokens=1)).prefix_reused_tokens


def test_prefix_is_taken_up_by_part_and_an_image_is_known_by_its_numbers(fresh: LlamaProcess) -> None:
    (system, question, other) = tokens_of(40, 7, 7)
    first, second = image(16, seed=3), image(16, seed=4)
    assert kept(fresh, (TokenPart(system), EmbeddingPart(first), TokenPart(question))) == 0
    assert kept(fresh, (TokenPart(system), EmbeddingPart(first), TokenPart(other))) == 56
    assert kept(fresh, (TokenPart(system), EmbeddingPart(first), TokenPart(other))) == 56
    assert kept(fresh, (TokenPart(system), EmbeddingPart(second), TokenPart(other))) == 40
    changed = first.copy()
    changed[15, 63] = np.nextafter(changed[15, 63], np.float32(9))
    assert kept(fresh, (TokenPart(system), EmbeddingPart(changed), TokenPart(other))) == 40
    # three sequences: the first image is still there
    assert kept(fresh, (TokenPart(system), EmbeddingPart(first), TokenPart(question))) == 56
    assert kept(fresh, (TokenPart(system[1:]), TokenPart(question))) == 0


def test_prefix_reused_or_not_gives_the_same_bits(fresh: LlamaProcess, path: Path) -> None:
    system, question = tokens_of(40, 7, seed=5)
    prompts: list[Prompt] = [
        (TokenPart(system), EmbeddingPart(image(count, seed=count)), TokenPart(question))
        for count in (5, 9, 5, 20)
    ]
    # one after the other, taking up what the ones before left (also of other sequences)
    reused = [fresh.logits(prompt) for prompt in prompts]
    for prompt, expected in zip(prompts, reused, strict=True):
        with LlamaProcess(path, SETTINGS) as alone:
            assert np.array_equal(alone.logits(prompt), expected)


def test_answers_side_by_side_are_those_given_alone(model: LlamaProcess) -> None:
    system, question = tokens_of(20, 5, seed=6)
    prompts: list[Prompt] = [
        (TokenPart(system), EmbeddingPart(image(8, seed=seed)), TokenPart(question)) for seed in range(3)
    ]
    options = GenerationOptions(max_tokens=12)
    together = model.generate_batch(prompts, options)
    alone = [model.generate(prompt, options) for prompt in prompts]
    assert [answer.tokens for answer in together] == [answer.tokens for answer in alone]
    assert len({answer.tokens for answer in together}) == 3


def test_batch_shares_a_beginning_computed_once(fresh: LlamaProcess) -> None:
    system, question = tokens_of(30, 5, seed=7)
    prompts: list[Prompt] = [
        (TokenPart(system), EmbeddingPart(image(8, seed=seed)), TokenPart(question)) for seed in range(3)
    ]
    answers = fresh.generate_batch(prompts, GenerationOptions(max_tokens=1))
    assert [answer.prefix_reused_tokens for answer in answers] == [0, 30, 30]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (np.zeros((3, 63), np.float32), "embeddings are 63 wide, but the language model is 64"),
        (np.zeros((3, 65), np.float32), "embeddings are 65 wide"),
        (np.zeros((3, 64), np.float64), "no array .* of float32"),
        (np.zeros(64, np.float32), "no array"),
        (np.zeros((0, 64), np.float32), "no array"),
        ([[0.0] * 64], "no array"),
        (np.full((3, 64), np.nan, np.float32), "NaN or infinity"),
        (np.full((3, 64), np.inf, np.float32), "NaN or infinity"),
    ],
)
def test_embeddings_that_would_be_read_wrongly_are_refused(
    model: LlamaProcess, rows: NDArray[np.float32], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        model.logits((EmbeddingPart(rows),))


def test_embeddings_are_copied_and_may_lie_in_any_order(model: LlamaProcess) -> None:
    rows = image(6, seed=8)
    expected = model.logits((EmbeddingPart(rows), TokenPart((5,))))
    spread = np.zeros((64, 12), np.float32).T[::2]
    spread[...] = rows
    part = EmbeddingPart(spread)
    spread[...] = 0
    assert np.array_equal(model.logits((part, TokenPart((5,)))), expected)
