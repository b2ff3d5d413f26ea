"""GGUF headers: a sound one is read, a lying one is refused with its own reason; neither kills anybody."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from runtime.engines.llama.gguf_header import read_header
from runtime.errors import BundleError
from tests.tiny_gguf import TinyModel, write_gguf

TYPES = gguf.GGUFValueType


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A model's file that llama.cpp loads."""
    return write_gguf(tmp_path_factory.mktemp("sound") / "model.gguf").read_bytes()


def value(content: object, kind: TYPES, sub_type: TYPES | None = None) -> gguf.GGUFValue:
    return gguf.GGUFValue(content, kind, sub_type)


def test_header_says_what_the_file_is(tmp_path: Path) -> None:
    header = read_header(write_gguf(tmp_path / "model.gguf", TinyModel(blocks=3)))
    assert (header.architecture, header.tokenizer, header.precision) == ("llama", "gpt2", "F32")
    assert header.context_tokens == 512
    assert (header.shapes.blocks, header.shapes.width, header.shapes.vocabulary) == (3, 64, 273)
    weights = sum(tensor.nbytes for tensor in TinyModel(blocks=3).tensors().values())
    assert header.tensor_bytes == weights
    # two heads of keys and two of values, 16 wide, in three blocks
    assert header.cache_bytes(10, "float16") == 3 * 10 * (32 + 32) * 2
    assert header.least_bytes(10, 2, "float32") == weights + 2 * 3 * 10 * (32 + 32) * 4
    assert header.identity.size == (tmp_path / "model.gguf").stat().st_size


@pytest.mark.parametrize("name", ["qwen2", "qwen3", "gemma3"])
def test_header_knows_other_families(name: str, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "model.gguf", TinyModel(architecture=name))
    assert read_header(path).architecture == name


def test_header_takes_a_sentencepiece_tokenizer(tmp_path: Path) -> None:
    assert read_header(write_gguf(tmp_path / "model.gguf", TinyModel(tokenizer="llama"))).tokenizer == "llama"


WRONG_KEYS: dict[str, tuple[str, Any, str]] = {
    "no architecture": ("general.architecture", None, "general.architecture is missing"),
    "unknown architecture": ("general.architecture", value("mamba", TYPES.STRING), "'mamba', none of llama"),
    "not a model": ("general.type", value("adapter", TYPES.STRING), "'adapter', not a model"),
    "a part": ("split.count", value(2, TYPES.UINT16), "split.count"),
    "no blocks": ("llama.block_count", value(0, TYPES.UINT32), "block_count is 0"),
    "too many blocks": ("llama.block_count", value(513, TYPES.UINT32), "block_count is 513"),
    "more blocks than tensors": ("llama.block_count", value(512, TYPES.UINT32), "too few for 512 blocks"),
    "a count as text": ("llama.block_count", value("2", TYPES.STRING), "block_count has the wrong type"),
    "eps NaN": (
        "llama.attention.layer_norm_rms_epsilon",
        value(float("nan"), TYPES.FLOAT32),
        "epsilon is nan",
    ),
    "eps negative": (
        "llama.attention.layer_norm_rms_epsilon",
        value(-1e-5, TYPES.FLOAT32),
        "epsilon is -9.99",
    ),
    "rope base 0": ("llama.rope.freq_base", value(0.0, TYPES.FLOAT32), "freq_base is 0.0"),
    "rope width": ("llama.rope.dimension_count", value(14, TYPES.UINT32), "rotary width"),
    "unknown scaling": ("llama.rope.scaling.type", value("spiral", TYPES.STRING), "'spiral', none of"),
    "experts": ("llama.expert_count", value(8, TYPES.UINT32), "expert_count makes it a network that"),
    "looks ahead": ("llama.attention.causal", value(False, TYPES.BOOL), "causal makes it a network that"),
    "heads": ("llama.attention.head_count", value(5, TYPES.UINT32), "do not fit a width of 64"),
    "no heads": ("llama.attention.head_count", value(0, TYPES.UINT32), "head_count is 0"),
    "no context": ("llama.context_length", None, "context_length is missing"),
    "vocabulary size": ("llama.vocab_size", value(272, TYPES.UINT32), "vocabulary size"),
    "no tokenizer": ("tokenizer.ggml.model", value("none", TYPES.STRING), "tokenizer is 'none'"),
    "no tokens": ("tokenizer.ggml.tokens", None, "tokens is missing"),
    "no types": ("tokenizer.ggml.token_type", None, "token_type is missing"),
    "no merges": ("tokenizer.ggml.merges", None, "merges is missing"),
    "no pre-tokenizer": ("tokenizer.ggml.pre", None, "pre is missing"),
    "no end token": ("tokenizer.ggml.eos_token_id", None, "eos_token_id is missing"),
    "end token outside": ("tokenizer.ggml.eos_token_id", value(273, TYPES.UINT32), "eos_token_id is 273"),
    "no begin token": ("tokenizer.ggml.bos_token_id", None, "bos_token_id is missing"),
    "alignment": ("general.alignment", value(24, TYPES.UINT32), "no power of two"),
}


@pytest.mark.parametrize("case", WRONG_KEYS)
def test_header_refuses_a_wrong_key(case: str, tmp_path: Path) -> None:
    key, content, words = WRONG_KEYS[case]
    path = write_gguf(tmp_path / "model.gguf", TinyModel(keys={key: content}))
    with pytest.raises(BundleError, match=words) as caught:
        read_header(path)
    assert str(path) in str(caught.value)
    assert "copy or export the language model again" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tokens: [*tokens[:-1], tokens[-2]], "a token is there twice"),
        (lambda tokens: [*tokens[:-1], "a\0b"], "a token holds a zero byte"),
        (lambda tokens: ["?" if token == "A" else token for token in tokens], "a token is there twice"),
        (lambda tokens: ["lost" if token == "A" else token for token in tokens], "no token for some byte"),
    ],
    ids=["twice", "zero byte", "replaced", "lost byte"],
)
def test_header_refuses_a_wrong_vocabulary(change: Any, words: str, tmp_path: Path) -> None:
    tokens = value(change(TinyModel().tokens()), TYPES.ARRAY, TYPES.STRING)
    path = write_gguf(tmp_path / "model.gguf", TinyModel(keys={"tokenizer.ggml.tokens": tokens}))
    with pytest.raises(BundleError, match=words):
        read_header(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensors: tensors.pop("blk.1.ffn_up.weight"), "blk.1.ffn_up.weight is missing"),
        (lambda tensors: tensors.update({"blk.7.ffn_up.weight": np.ones(4, np.float32)}), "is unknown"),
        (lambda tensors: tensors.update({"output_norm.weight": np.ones(64, np.float16)}), "not of type F32"),
        (lambda tensors: tensors.update({"output_norm.weight": np.ones(32, np.float32)}), r"shape \(32,\)"),
    ],
    ids=["missing", "unknown", "norm in F16", "shape"],
)
def test_header_refuses_wrong_tensors(change: Any, words: str, tmp_path: Path) -> None:
    tensors = TinyModel().tensors()
    change(tensors)
    path = write_gguf(tmp_path / "model.gguf", tensors=tensors)
    with pytest.raises(BundleError, match=words):
        read_header(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: b"", "cut short"),
        (lambda data: data[:20], "cut short"),
        (lambda data: data[:3000], "cut short"),
        (lambda data: data[:-1], "1 bytes beyond the file; it is cut short"),
        (lambda data: b"PK\3\4" + data[4:], "begins with"),
        (lambda data: data[:4] + struct.pack(">I", 3) + data[8:], "byte order"),
        (lambda data: data[:4] + struct.pack("<I", 1) + data[8:], "version is 1"),
        (lambda data: data[:8] + struct.pack("<Q", 1 << 60) + data[16:], "tensors are absurd"),
        (lambda data: data[:16] + struct.pack("<Q", 1 << 60) + data[24:], "absurd"),
        (lambda data: data[:24] + struct.pack("<Q", 1 << 60) + data[32:], "longer than 256"),
    ],
)
def test_header_refuses_a_damaged_file(change: Any, words: str, sound: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(change(sound))
    with pytest.raises(BundleError, match=words):
        read_header(path)


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe"])
def test_header_refuses_what_is_no_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    if kind == "folder":
        path.mkdir()
    if kind == "pipe":
        os.mkfifo(path)  # nobody writes: a plain open would wait for ever
    with pytest.raises(BundleError, match=r"cannot be read|no ordinary file"):
        read_header(path)
