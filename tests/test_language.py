"""Text to ids to a vector: what is no instruction is refused, and no message repeats what a person typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.engines.choose import open_engine
from runtime.engines.engine import Engine
from runtime.errors import BundleError, InstructionError, UsageError
from runtime.language.text import TextReader, check_texts
from tests.tiny_promptable import MOST_TOKENS, WORDS, make_promptable

SECRET = "Jane Doe"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_promptable(tmp_path_factory.mktemp("promptable"))


@pytest.fixture(scope="module")
def reader(bundle: Path) -> TextReader:
    return TextReader(bundle / "tokenizer.json", MOST_TOKENS)


@pytest.fixture(scope="module")
def engine(bundle: Path) -> Engine:
    return open_engine(bundle / "text.onnx", "cpu", 1)


@pytest.mark.parametrize(
    ("instruction", "words"),
    [
        ("", "instruction 1 is empty"),
        (" \t\n ", "instruction 1 is empty"),
        (["core", ""], "instruction 2 is empty"),
        ([], "no instruction is given"),
        ("12 + 3 = ?!", "instruction 1 has no letter"),
        ("a" * 10_001, "instruction 1 has 10001 characters, more than 10000"),
        (f"{SECRET} \udcff", "instruction 1 is not valid Unicode"),
    ],
)
def test_texts_that_say_nothing_are_refused(instruction: Any, words: str) -> None:
    with pytest.raises(InstructionError, match=words) as caught:
        check_texts(instruction)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("instruction", [[1], ["core", b"shell"], [None]])
def test_what_is_no_text_is_a_usage_error(instruction: Any) -> None:
    with pytest.raises(UsageError, match="give text"):
        check_texts(instruction)


def test_texts_that_say_something_pass() -> None:
    assert check_texts("core") == ("core",)
    assert check_texts(["größe des Kerns", "脳", "a" * 10_000])[1] == "脳"


def test_reader_makes_ids_of_words(reader: TextReader) -> None:
    ids, is_cut = reader.ids("Segment the CORE")
    assert ids.dtype == np.int64
    assert [WORDS[n] for n in ids] == ["segment", "the", "core"]
    assert not is_cut
    assert [WORDS[n] for n in reader.ids("zebra core")[0]] == ["[UNK]", "core"]


def test_what_looks_like_a_token_of_the_network_is_text(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    special = ["[PAD]", "[UNK]"]
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.train_from_iterator(["core [ ] P A D"] * 50, trainers.WordPieceTrainer(special_tokens=special))
    made.save(str(tmp_path / "tokenizer.json"))
    assert 0 in made.encode("[PAD] core").ids
    ids, _ = TextReader(tmp_path / "tokenizer.json", MOST_TOKENS).ids("[PAD] core")
    assert 0 not in ids
    assert len(ids) > 2


def test_reader_cuts_long_texts_and_says_so(reader: TextReader) -> None:
    ids, is_cut = reader.ids("core " * MOST_TOKENS + "shell")
    assert (len(ids), is_cut) == (MOST_TOKENS, True)
    assert reader.ids("core " * MOST_TOKENS)[1] is False


def test_vector_has_length_one_and_the_meaning_of_its_words(reader: TextReader, engine: Engine) -> None:
    core = reader.vector("segment the core", engine)
    assert core.vector.dtype == np.float32
    assert core.vector.tolist() == [0, 1, 0, 0, 0, 0]
    both = reader.vector("core and shell", engine).vector
    assert both[:2].tolist() == pytest.approx([0.5**0.5] * 2)
    assert reader.vector("core " * 20, engine).is_cut


def test_reader_refuses_texts_without_a_word(reader: TextReader, engine: Engine) -> None:
    with pytest.raises(InstructionError, match="no word that this bundle reads"):
        reader.ids("  ")
    with pytest.raises(BundleError, match="another length than 1"):
        reader.vector("segment the", engine)  # the tiny network divides by zero there


def test_reader_never_repeats_the_text_when_the_library_fails(reader: TextReader) -> None:
    with pytest.raises(InstructionError, match="cannot be split into words") as caught:
        reader.ids(f"{SECRET} \ud800")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": "1.0"}', b"\xff\xfe"])
def test_reader_refuses_a_file_that_is_no_tokenizer(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(BundleError, match="cannot be loaded as a tokenizer; copy or export"):
        TextReader(tmp_path / "tokenizer.json", 8)


class Answers:
    """An engine that gives what it is told to."""

    def __init__(self, **made: Any) -> None:
        self._made = made

    def run(self, inputs: dict[str, Any]) -> dict[str, Any]:
        assert inputs["ids"].shape == (1, 1)
        return self._made


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({}, "no condition"),
        ({"condition": np.ones(3, np.float32)}, "no condition"),
        ({"condition": np.ones((2, 3), np.float32)}, "no condition"),
        ({"condition": np.ones((1, 3), np.float32)}, "another length than 1"),
        ({"condition": np.full((1, 3), np.nan, np.float32)}, "another length than 1"),
    ],
)
def test_vector_refuses_a_network_that_lies(reader: TextReader, made: dict[str, Any], words: str) -> None:
    with pytest.raises(BundleError, match=words):
        reader.vector("core", Answers(**made))  # type: ignore[arg-type]
