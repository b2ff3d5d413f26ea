"""Judge the keys of a GGUF file: numbers within bounds, and a tokenizer that is whole."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from runtime.engines.llama.gguf_file import GgufError, GgufValue, Kind

__all__ = ["Keys", "Tokenizer", "read_tokenizer"]

_COUNTS = (Kind.UINT32,)  # what llama.cpp takes; anything else it refuses
_TOKENIZERS = (b"gpt2", b"llama")
_TOKEN_TYPES = range(1, 7)
_UTF8_BYTES = [*range(0xC0), *range(0xC2, 0xF5)]


@dataclass(frozen=True)
class Keys:
    """Keys by name, taken with their type and bounds.

    Raises:
        GgufError: (all methods) the key is missing, of another type or out of bounds.
    """

    values: Mapping[str, GgufValue]

    def text(self, key: str) -> str:
        """A text that must be there."""
        value = self._get(key, (Kind.TEXT,))
        if value is None or not isinstance(value.value, bytes):
            raise GgufError(f"the key {key} is missing")
        return value.value.decode("ascii", "backslashreplace")[:80]

    def count(self, key: str, least: int, most: int, default: int | None = None) -> int:
        """A whole number within bounds."""
        value = self._get(key, _COUNTS)
        number = default if value is None else value.value
        if number is None:
            raise GgufError(f"the key {key} is missing")
        if not isinstance(number, int) or not least <= number <= most:
            raise GgufError(f"{key} is {number!r}, not within {least} and {most}")
        return number

    def number(self, key: str, least: float, most: float, default: float | None = None) -> float:
        """A finite number within bounds."""
        value = self._get(key, (Kind.FLOAT32,))
        number = default if value is None else value.value
        if number is None:
            raise GgufError(f"the key {key} is missing")
        if not isinstance(number, float) or not (math.isfinite(number) and least <= number <= most):
            raise GgufError(f"{key} is {number!r}, not within {least} and {most}")
        return number

    def flag(self, key: str, default: bool) -> bool:
        """A truth value."""
        value = self._get(key, (Kind.BOOL,))
        return default if value is None else bool(value.value)

    def numbers(self, key: str, count: int, least: float, most: float) -> tuple[float, ...]:
        """So many numbers of one kind, each finite and within bounds."""
        value = self.values.get(key)
        kinds = (Kind.UINT32, Kind.INT32, Kind.FLOAT32)
        if value is None or not isinstance(value.value, np.ndarray) or value.kind not in kinds:
            raise GgufError(f"the key {key} is missing or has the wrong type")
        items = tuple(float(item) for item in value.value.tolist())
        if len(items) != count or not all(math.isfinite(item) and least <= item <= most for item in items):
            raise GgufError(f"{key} is not {count} numbers within {least} and {most}")
        return items

    def refuse(self, keys: Mapping[str, object]) -> None:
        """Every one of these keys is absent, or has the value given beside it."""
        for key, plain in keys.items():
            if key in self.values and (self.values[key].is_array or self.values[key].value != plain):
                raise GgufError(f"{key} makes it a network that is not supported")

    def _get(self, key: str, kinds: tuple[int, ...]) -> GgufValue | None:
        value = self.values.get(key)
        if value is not None and (value.is_array or value.kind not in kinds):
            raise GgufError(f"{key} has the wrong type")
        return value


@dataclass(frozen=True)
class Tokenizer:
    """What is known of the tokenizer.

    Attributes:
        kind: "gpt2" (byte-level pairs) or "llama" (SentencePiece).
        tokens: How many.
    """

    kind: str
    tokens: int


def read_tokenizer(keys: Keys) -> Tokenizer:
    """Check that the tokenizer is there and whole.

    llama.cpp fills in what is missing by a guess, or ends the process at a token that is there twice or a
    byte that has no token.

    Raises:
        GgufError: It is not, or is of a kind that is not known.
    """
    kind = keys.text("tokenizer.ggml.model").encode()
    if kind not in _TOKENIZERS:
        raise GgufError(
            f"its tokenizer is {kind.decode()!r}, none of {', '.join(map(bytes.decode, _TOKENIZERS))}"
        )
    tokens = _texts(keys, "tokens")
    if len(tokens) < 2:
        raise GgufError("its tokenizer has no tokens")
    if any(b"\0" in token for token in tokens):
        raise GgufError("a token holds a zero byte")
    known = set(tokens)
    if len(known) + max(tokens.count(b"") - 1, 0) != len(tokens):  # empty ones get names of their own
        raise GgufError("a token is there twice")
    types = _numbers(keys, "token_type", Kind.INT32, len(tokens))
    if not np.isin(types, _TOKEN_TYPES).all():
        raise GgufError("tokenizer.ggml.token_type holds an unknown type")
    if kind == b"gpt2":
        keys.text("tokenizer.ggml.pre")
        if any(b" " not in merge[1:] for merge in _texts(keys, "merges")):
            raise GgufError("tokenizer.ggml.merges holds something that is no pair")
        needed = [_byte_symbol(byte).encode() for byte in _UTF8_BYTES]
    else:
        if not np.isfinite(_numbers(keys, "scores", Kind.FLOAT32, len(tokens))).all():
            raise GgufError("tokenizer.ggml.scores holds a number that is not finite")
        needed = [f"<0x{byte:02X}>".encode() for byte in _UTF8_BYTES]
    if not known.issuperset(needed):
        raise GgufError("its tokenizer has no token for some byte; text would be lost")
    keys.count("tokenizer.ggml.eos_token_id", 0, len(tokens) - 1)
    if (
        keys.flag("tokenizer.ggml.add_bos_token", default=True)
        or "tokenizer.ggml.bos_token_id" in keys.values
    ):
        keys.count("tokenizer.ggml.bos_token_id", 0, len(tokens) - 1)
    for flag in ("add_eos_token", "add_sep_token", "add_space_prefix"):
        keys.flag(f"tokenizer.ggml.{flag}", default=False)
    return Tokenizer(kind.decode(), len(tokens))


def _texts(keys: Keys, name: str) -> tuple[bytes, ...]:
    value = keys.values.get(f"tokenizer.ggml.{name}")
    if value is None or not value.is_array or not isinstance(value.value, tuple):
        raise GgufError(f"tokenizer.ggml.{name} is missing or holds no texts")
    return value.value


def _numbers(
    keys: Keys, name: str, kind: int, count: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    value = keys.values.get(f"tokenizer.ggml.{name}")
    if value is None or not isinstance(value.value, np.ndarray) or value.kind != kind:
        raise GgufError(f"tokenizer.ggml.{name} is missing or has the wrong type")
    if len(value.value) != count:
        raise GgufError(f"tokenizer.ggml.{name} has {len(value.value)} items for {count} tokens")
    return value.value


def _byte_symbol(byte: int) -> str:
    """The character that stands for a byte in byte-level tokens.

    Source: `bytes_to_unicode` of GPT-2: printable bytes stand for themselves, the others follow from 256.
    """
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    if byte in plain:
        return chr(byte)
    return chr(256 + sum(other not in plain for other in range(byte)))
