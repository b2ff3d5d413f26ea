"""llama.cpp itself, in this process: what would read beyond an array or end the process is refused before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from runtime.engines.llama.binding import LlamaModel, StoppedError
from runtime.engines.llama.options import LlamaSettings
from runtime.errors import BundleError, LanguageError, UsageError
from tests.tiny_gguf import TinyModel, write_gguf

SETTINGS = LlamaSettings(context_tokens=64, batch_tokens=16, sequences=2)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("model") / "model.gguf")


@pytest.fixture
def model(path: Path) -> Iterator[LlamaModel]:
    opened = LlamaModel(path, SETTINGS)
    yield opened
    opened.close()


def numbers(*values: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.array(values, np.int32)


def test_tokens_that_are_none_are_refused(model: LlamaModel) -> None:
    for tokens in (numbers(273), numbers(-1), np.array([1.0]), np.array([1], np.int64), numbers()):
        with pytest.raises(UsageError):
            model.compute_tokens(tokens, 0, 0)
    for token in (-1, 273, 1 << 40):
        with pytest.raises(UsageError, match="outside the vocabulary of 273"):
            model.piece(token)
        with pytest.raises(UsageError, match="outside the vocabulary"):
            model.is_end(token)
        with pytest.raises(UsageError, match="outside the vocabulary"):
            model.compute_step([(0, token, 0)])


def test_batches_that_do_not_fit_are_refused(model: LlamaModel) -> None:
    tokens = np.full(17, 5, np.int32)
    with pytest.raises(UsageError, match="17 tokens do not fit into a batch of 16"):
        model.compute_tokens(tokens, 0, 0)
    with pytest.raises(UsageError, match="65 tokens do not fit into a context of 64"):
        model.compute_tokens(tokens[:5], 60, 0)
    with pytest.raises(UsageError, match="do not fit into a context"):
        model.compute_tokens(tokens[:5], -1, 0)
    for sequence in (-1, 2):
        with pytest.raises(UsageError, match="there is no sequence"):
            model.compute_tokens(tokens[:5], 0, sequence)
    with pytest.raises(UsageError, match="one of them twice"):
        model.compute_step([(0, 5, 0), (0, 5, 1)])
    with pytest.raises(UsageError, match="without sequences"):
        model.compute_step([])


def test_rows_that_would_be_read_wrongly_are_refused(model: LlamaModel) -> None:
    wrong = [
        np.zeros((2, 63), np.float32),
        np.zeros((2, 64), np.float64),
        np.zeros(64, np.float32),
        np.full((2, 64), np.nan, np.float32),
        np.zeros((17, 64), np.float32),
    ]
    for rows in wrong:
        with pytest.raises(UsageError):
            model.compute_rows(rows, 0, 0)  # type: ignore[arg-type]


def test_logits_that_are_not_there_are_said_to_be_missing(model: LlamaModel) -> None:
    with pytest.raises(LanguageError, match="no logits"):
        model.logits()
    model.compute_tokens(numbers(5, 6), 0, 0)
    assert model.logits().shape == (273,)
    with pytest.raises(LanguageError, match="no logits"):
        model.logits(5)


def test_computation_stops_when_it_is_told_to(model: LlamaModel) -> None:
    model.should_stop = lambda: True
    with pytest.raises(StoppedError):
        model.compute_tokens(numbers(5, 6), 0, 0)
    model.should_stop = lambda: False
    model.keep(0, 0)
    model.compute_tokens(numbers(5, 6), 0, 0)
    stopped = model.logits()
    model.compute_tokens(numbers(5, 6), 0, 1)
    assert np.array_equal(model.logits(), stopped)


def test_steps_side_by_side_give_each_its_own_logits(model: LlamaModel) -> None:
    model.compute_tokens(numbers(5, 6), 0, 0)
    model.compute_tokens(numbers(9, 8, 7), 0, 1)
    model.compute_step([(1, 20, 3), (0, 21, 2)])
    second, first = model.logits(0), model.logits(1)
    model.keep(0, 0)
    model.compute_tokens(numbers(5, 6, 21), 0, 0)
    np.testing.assert_allclose(model.logits(), first, atol=2e-3)  # a cache of float16
    model.keep(1, 0)
    model.compute_tokens(numbers(9, 8, 7, 20), 0, 1)
    np.testing.assert_allclose(model.logits(), second, atol=2e-3)
    assert np.abs(first - second).max() > 0.1


def test_pieces_join_to_the_text(model: LlamaModel) -> None:
    for text in ("the lesion in the brain", "Läsion\n\t€ 😀", " ", ""):
        tokens = model.tokenise(text, reads_special_tokens=False)
        assert b"".join(model.piece(int(token)) for token in tokens).decode() == text
    assert [model.piece(token) for token in range(4)] == [b""] * 4
    assert model.is_end(1)
    assert not model.is_end(0)
    assert model.begin_token == 0


def test_long_pieces_are_whole(tmp_path: Path) -> None:
    word = "x" * 500
    tokens = [*TinyModel().tokens()[:-1], word]
    path = write_gguf(tmp_path / "model.gguf", TinyModel(values={"tokenizer.ggml.tokens": tokens}))
    model = LlamaModel(path, SETTINGS)
    assert model.piece(272) == word.encode()
    model.close()


def test_file_that_llama_refuses_is_explained(tmp_path: Path) -> None:
    keys = {"tokenizer.ggml.pre": "of our own"}
    path = write_gguf(tmp_path / "model.gguf", TinyModel(values=keys))
    with pytest.raises(BundleError, match="unknown pre-tokenizer type: 'of our own'"):
        LlamaModel(path, SETTINGS)


def test_nothing_is_printed(path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    LlamaModel(path, SETTINGS).close()
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(BundleError):
        LlamaModel(tmp_path / "bad.gguf", SETTINGS)
    assert capfd.readouterr() == ("", "")
