"""Read a SentencePiece file (`tokenizer.model`) without its library: a small protocol buffer.

Source: sentencepiece_model.proto; the merges that follow from scores are those of the `tokenizers` library's
own conversion: of two halves that are pieces, the one whose whole has the higher score goes first.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.errors import BundleError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["PieceFile", "bpe_of", "read_pieces"]

_MOST_BYTES = 1 << 26
_NORMAL, _BYTE_PAIRS = 1, 2
_SPACE = "\u2581"


@dataclass(frozen=True)
class PieceFile:
    """What a file says.

    Attributes:
        texts: Of the pieces, by number.
        scores: Of each.
        kinds: Of each, by llama.cpp's numbers, which are the same.
        adds_space: Whether a space is put before a text.
        unknown: Number of the piece for what has none.
        begin: Number of the piece before a text; None without.
        end: Number of the piece behind it; None without.
    """

    texts: tuple[str, ...]
    scores: tuple[float, ...]
    kinds: tuple[int, ...]
    adds_space: bool
    unknown: int
    begin: int | None
    end: int | None


def read_pieces(path: Path) -> PieceFile:
    """Read a file.

    Raises:
        BundleError: It is damaged, no byte-pair model, or changes text in a way that llama.cpp does not.
    """
    data = path.read_bytes() if path.stat().st_size <= _MOST_BYTES else b""
    try:
        texts, scores, kinds, trainer, normaliser = (
            [],
            [],
            [],
            dict[int, int | bytes](),
            dict[int, int | bytes](),
        )
        for number, value in _fields(data):
            if number == 1 and isinstance(value, bytes):
                piece = dict(_fields(value))
                texts.append(_bytes(piece.get(1, b"")).decode("utf-8"))
                scores.append(struct.unpack("<f", _bytes(piece.get(2, b"\0\0\0\0")))[0])
                kinds.append(int(piece.get(3, _NORMAL)))
            elif number == 2:
                trainer = dict(_fields(_bytes(value)))
            elif number == 3:
                normaliser = dict(_fields(_bytes(value)))
    except (ValueError, TypeError, IndexError, struct.error) as error:
        raise BundleError(f"{path} is no SentencePiece file ({error}); copy it again") from error
    if not texts or not all(1 <= kind <= 6 for kind in kinds):
        raise BundleError(f"{path} is no SentencePiece file; copy it again")
    if trainer.get(3, 1) != _BYTE_PAIRS or not trainer.get(35, 0):
        raise BundleError(
            f"{path} is no byte-pair model with a piece for every byte; others cannot be exported"
        )
    # identity: no table of replacements; spaces neither removed nor left as they are
    if normaliser.get(2) or normaliser.get(4, 1) or not normaliser.get(5, 1):
        raise BundleError(f"{path} normalises text, which llama.cpp does not; it cannot be exported")
    adds_space = bool(normaliser.get(3, 1))
    unknown, begin, end = (
        _signed(int(trainer.get(field, default))) for field, default in ((40, 0), (41, 1), (42, 2))
    )
    for number in (unknown, begin, end):
        if number >= len(texts):
            raise BundleError(f"{path}: a special piece lies outside its {len(texts)} pieces; copy it again")
    return PieceFile(
        tuple(texts),
        tuple(scores),
        tuple(kinds),
        adds_space,
        max(unknown, 0),
        begin if begin >= 0 else None,
        end if end >= 0 else None,
    )


def bpe_of(pieces: PieceFile) -> Tokenizer:
    """The same tokenizer in the `tokenizers` library."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    numbers = {text: number for number, text in enumerate(pieces.texts)}
    merges = []
    for text, score, kind in zip(pieces.texts, pieces.scores, pieces.kinds, strict=True):
        if kind == _NORMAL:
            for cut in range(1, len(text)):
                left, right = text[:cut], text[cut:]
                if left in numbers and right in numbers:
                    merges.append((-score, numbers[left], numbers[right], left, right))
    merges.sort()
    made = Tokenizer(
        models.BPE(
            vocab=numbers,
            merges=[(left, right) for *_, left, right in merges],
            unk_token=pieces.texts[pieces.unknown],
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    before = [normalizers.Prepend(_SPACE)] if pieces.adds_space else []
    made.normalizer = normalizers.Sequence([*before, normalizers.Replace(" ", _SPACE)])
    made.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return made


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Numbers and values of a message's fields; a number of 4 or 8 bytes comes as bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind == 2:
            length, at = _varint(data, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field of type {kind}")
        if length > len(data) - at:
            raise ValueError("it is cut short")
        yield key >> 3, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
    raise ValueError("a number is too long")


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a number where there should be a text")
    return value


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
