"""DICOM elements as bytes, where a data set for each of many frames or slices would take long.

Explicit VR little endian throughout. Source: DICOM PS3.5 7.1.2 and 7.5 (nesting of data sets).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = [
    "Piece",
    "decimal_strings",
    "element",
    "encoded",
    "frozen",
    "items",
    "joined",
    "laid_out",
    "sequence",
    "uid",
]

Frozen = list[tuple[int, "bytes | list[Frozen] | None"]]
"""Elements of a data set by tag: bytes of a whole one, items of a sequence, or None where it varies."""

Piece = bytes | int
"""Bytes, or the tag of an element that is still to come."""


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    """One element whose value is shorter than 64 KiB and has an even length."""
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def uid(tag: int, value: str) -> bytes:
    """A UID; its padding is a zero byte."""
    data = value.encode("ascii")
    return element(tag, b"UI", data + b"\0" * (len(data) % 2))


def decimal_strings(tag: int, values: Iterable[Any]) -> bytes:
    """Numbers of at most 16 characters each, as short as their digits allow."""
    data = "\\".join([_decimal_string(value) for value in values]).encode("ascii")
    return element(tag, b"DS", data + b" " * (len(data) % 2))


def _decimal_string(value: Any) -> str:
    text = repr(float(value))
    if len(text) <= 16:
        return text  # pydicom's answer, too, without its checks
    from pydicom.valuerep import DS

    return str(DS(value, auto_format=True))


def items(bodies: Iterable[bytes]) -> bytes:
    """Items of a sequence, each of known length."""
    return b"".join([_item_head(len(body)) + body for body in bodies])


def sequence(tag: int, bodies: Iterable[bytes]) -> bytes:
    """A sequence of known length."""
    content = items(bodies)
    return _sequence_head(tag, len(content)) + content


def _sequence_head(tag: int, length: int) -> bytes:
    return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, b"SQ", 0, length)


def _item_head(length: int) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, length)


def frozen(dataset: Any, varying: Iterable[int]) -> Frozen:
    """Encode what does not vary of a data set.

    Args:
        dataset: A pydicom data set.
        varying: Tags of the elements whose lengths `laid_out` will be given, at any depth.
    """
    from pydicom import Dataset

    tags = frozenset(varying)
    made: Frozen = []
    for found in dataset:
        if found.tag in tags:
            made.append((int(found.tag), None))
        elif found.VR == "SQ":
            made.append((int(found.tag), [frozen(item, tags) for item in found.value]))
        else:
            alone = Dataset()
            alone.add(found)
            made.append((int(found.tag), encoded(alone)))
    return made


def laid_out(template: Frozen, lengths: Mapping[int, int]) -> list[Piece]:
    """A data set in pieces: bytes, and tags where an element is still to come.

    Args:
        template: Of `frozen`.
        lengths: Of the whole elements of the tags that vary, bytes.
    """
    made: list[Piece] = []
    for tag, content in template:
        if content is None:
            _add(made, tag)
        elif isinstance(content, bytes):
            _add(made, content)
        else:
            inside = [laid_out(item, lengths) for item in content]
            sizes = [sum(lengths[p] if isinstance(p, int) else len(p) for p in item) for item in inside]
            _add(made, _sequence_head(tag, sum(sizes) + 8 * len(sizes)))
            for item, size in zip(inside, sizes, strict=True):
                _add(made, _item_head(size))
                for piece in item:
                    _add(made, piece)
    return made


def _add(made: list[Piece], piece: Piece) -> None:
    if made and isinstance(piece, bytes) and isinstance(made[-1], bytes):
        made[-1] += piece
    else:
        made.append(piece)


def joined(pieces: Iterable[Piece], values: Mapping[int, bytes]) -> bytes:
    """The whole data set, with elements for the tags that were still to come."""
    return b"".join([values[piece] if isinstance(piece, int) else piece for piece in pieces])


def encoded(dataset: Any, character_set: Any = None) -> bytes:
    """The elements of a pydicom data set, without file meta information.

    Args:
        dataset: What to encode.
        character_set: Its SpecificCharacterSet where that is not one of its elements.
    """
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, dataset, character_set or "iso8859")
    return bytes(buffer.getvalue())
