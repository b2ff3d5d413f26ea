"""Read the header of a GGUF file within bounds: keys, arrays and the tensor table, never the weights.

Nothing here knows what a model needs; `gguf_header` judges. A file is read, not mapped: a mapped file that is
cut short meanwhile kills the process that looks.

Source: the format's description in ggml (docs/gguf.md), versions 2 and 3.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

__all__ = ["GgufContent", "GgufError", "GgufTensor", "GgufValue", "Kind", "read_gguf"]

_MOST_HEADER_BYTES = 1 << 26
_MOST_KEYS = 4096
_MOST_TENSORS = 1 << 16
_MOST_ITEMS = 1 << 21
"""Of all arrays together: a text of two bytes in the file is an object of forty here."""

_MOST_TEXT_BYTES = 1 << 24
_MOST_NAME_BYTES = 256
_LONGEST_TENSOR_NAME = 63
_LARGEST_SIDE = 1 << 31

_TYPES = {
    **{0: ("F32", 1, 4), 1: ("F16", 1, 2), 30: ("BF16", 1, 2)},
    **{
        2: ("Q4_0", 32, 18),
        3: ("Q4_1", 32, 20),
        6: ("Q5_0", 32, 22),
        7: ("Q5_1", 32, 24),
        8: ("Q8_0", 32, 34),
    },
    **{10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176)},
    **{14: ("Q6_K", 256, 210), 16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98)},
    **{19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82)},
    **{23: ("IQ4_XS", 256, 136), 29: ("IQ1_M", 256, 56)},
}
"""Name, elements and bytes of a block, by the number of the type; types that no weight has are missing."""


class GgufError(ValueError):
    """The file is not a GGUF file, or it lies about itself; the message says where."""


class Kind:
    """Numbers of the value types."""

    UINT8, INT8, UINT16, INT16, UINT32, INT32, FLOAT32, BOOL, TEXT, ARRAY, UINT64, INT64, FLOAT64 = range(13)


_NUMBERS = {
    **{Kind.UINT8: "<u1", Kind.INT8: "<i1", Kind.UINT16: "<u2", Kind.INT16: "<i2", Kind.UINT32: "<u4"},
    **{Kind.INT32: "<i4", Kind.FLOAT32: "<f4", Kind.BOOL: "<u1", Kind.UINT64: "<u8", Kind.INT64: "<i8"},
    Kind.FLOAT64: "<f8",
}


@dataclass(frozen=True)
class GgufValue:
    """The value of a key.

    Attributes:
        kind: Its type, or the type of its items.
        value: A number, a truth value, bytes of a text; a tuple of texts or an array where `is_array`.
        is_array: Whether it is many.
    """

    kind: int
    value: int | float | bool | bytes | tuple[bytes, ...] | NDArray[np.generic]
    is_array: bool = False


@dataclass(frozen=True)
class GgufTensor:
    """A row of the tensor table.

    Attributes:
        shape: Sides, the fastest first, as GGUF writes them.
        precision: Type of its elements, e.g. "F16".
        offset: First byte, counted from the start of the data.
        byte_count: Bytes of its data.
    """

    shape: tuple[int, ...]
    precision: str
    offset: int
    byte_count: int


@dataclass(frozen=True)
class GgufContent:
    """What a header says.

    Attributes:
        version: Of the format.
        values: By key.
        tensors: By name.
        data_start: First byte of the data in the file.
    """

    version: int
    values: dict[str, GgufValue]
    tensors: dict[str, GgufTensor]
    data_start: int


class _Reader:
    """Takes bytes from the head of a file and never more than there are."""

    def __init__(self, file: BinaryIO, file_bytes: int) -> None:
        self._file = file
        self._end = min(file_bytes, _MOST_HEADER_BYTES)
        self._items_left = _MOST_ITEMS
        self.position = 0

    def take(self, count: int) -> bytes:
        if count > self._end - self.position:
            raise GgufError(f"the header ends beyond the file, at byte {self.position}; it is cut short")
        data = self._file.read(count)
        if len(data) != count:
            raise GgufError("the file became shorter while it was read")
        self.position += count
        return data

    def number(self, pattern: str) -> int:
        value: int = struct.unpack(pattern, self.take(struct.calcsize(pattern)))[0]
        return value

    def text(self, most: int) -> bytes:
        count = self.number("<Q")
        if count > most:
            raise GgufError(f"a text of {count} bytes at byte {self.position} is longer than {most}")
        return self.take(count)

    def name(self, most: int) -> str:
        data = self.text(most)
        if not data or not all(32 < byte < 127 for byte in data):
            raise GgufError(f"a name before byte {self.position} is empty or not printable ASCII")
        return data.decode("ascii")

    def value(self) -> GgufValue:
        kind = self.number("<I")
        if kind == Kind.TEXT:
            return GgufValue(kind, self.text(_MOST_TEXT_BYTES))
        if kind == Kind.ARRAY:
            return self._array()
        item = self._items(kind, 1)[0].item()
        return GgufValue(kind, bool(item) if kind == Kind.BOOL else item)

    def _array(self) -> GgufValue:
        kind, count = self.number("<I"), self.number("<Q")
        if count > self._items_left:
            raise GgufError(f"an array of {count} items at byte {self.position} is absurd")
        self._items_left -= count
        if kind == Kind.TEXT:
            texts = tuple(self.text(_MOST_TEXT_BYTES) for _ in range(count))
            return GgufValue(kind, texts, is_array=True)
        return GgufValue(kind, self._items(kind, count), is_array=True)

    def _items(self, kind: int, count: int) -> NDArray[np.generic]:
        if kind not in _NUMBERS:
            raise GgufError(f"a value before byte {self.position} has the unknown type {kind}")
        dtype = np.dtype(_NUMBERS[kind])
        items = np.frombuffer(self.take(count * dtype.itemsize), dtype)
        if kind == Kind.BOOL and (items > 1).any():
            raise GgufError(f"a truth value before byte {self.position} is neither 0 nor 1")
        return items

    def tensor(self) -> GgufTensor:
        rank = self.number("<I")
        if not 1 <= rank <= 4:
            raise GgufError(f"a tensor before byte {self.position} has {rank} dimensions")
        shape = tuple(self.number("<Q") for _ in range(rank))
        kind, offset = self.number("<I"), self.number("<Q")
        if kind not in _TYPES:
            raise GgufError(f"a tensor before byte {self.position} has type {kind}, which no weight has")
        if not all(0 < side < _LARGEST_SIDE for side in shape):
            raise GgufError(f"a tensor before byte {self.position} has the shape {shape}")
        precision, elements, size = _TYPES[kind]
        if shape[0] % elements:
            raise GgufError(f"a row of {shape[0]} elements does not fill blocks of {elements}")
        return GgufTensor(shape, precision, offset, math.prod(shape) // elements * size)


def read_gguf(file: BinaryIO, file_bytes: int) -> GgufContent:
    """Read keys and tensor table.

    Args:
        file: Open at its first byte.
        file_bytes: Its size.

    Raises:
        GgufError: It is not GGUF 2 or 3 in little-endian order, something in it is absurd, or a tensor
            lies outside the file or elsewhere than after the one before.
    """
    reader = _Reader(file, file_bytes)
    if (magic := reader.take(4)) != b"GGUF":
        raise GgufError(f"it begins with {magic!r}, not with GGUF")
    version, tensor_count, key_count = reader.number("<I"), reader.number("<Q"), reader.number("<Q")
    if version not in (2, 3):
        raise GgufError(f"its version is {version}, not 2 or 3 (or its byte order is another)")
    if key_count > _MOST_KEYS or not 0 < tensor_count <= _MOST_TENSORS:
        raise GgufError(f"{key_count} keys and {tensor_count} tensors are absurd")
    values: dict[str, GgufValue] = {}
    for _ in range(key_count):
        key = reader.name(_MOST_NAME_BYTES)
        if key in values:
            raise GgufError(f"the key {key} is there twice")
        values[key] = reader.value()
    tensors: dict[str, GgufTensor] = {}
    for _ in range(tensor_count):
        name = reader.name(_LONGEST_TENSOR_NAME)
        if name in tensors:
            raise GgufError(f"the tensor {name} is there twice")
        tensors[name] = reader.tensor()
    alignment = _alignment(values)
    data_start = -(-reader.position // alignment) * alignment
    _check_places(tensors, alignment, file_bytes - data_start)
    return GgufContent(version, values, tensors, data_start)


def _alignment(values: dict[str, GgufValue]) -> int:
    given = values.get("general.alignment", GgufValue(Kind.UINT32, 32))
    if given.is_array or given.kind != Kind.UINT32 or given.value not in [8 << power for power in range(10)]:
        raise GgufError("general.alignment is no power of two from 8 to 4096")
    return int(given.value)


def _check_places(tensors: dict[str, GgufTensor], alignment: int, data_bytes: int) -> None:
    end = 0
    for name, tensor in tensors.items():
        if tensor.offset != -(-end // alignment) * alignment:
            raise GgufError(f"the tensor {name} does not lie after the one before it")
        end = tensor.offset + tensor.byte_count
        if end > data_bytes:
            raise GgufError(
                f"the tensor {name} ends {end - data_bytes} bytes beyond the file; it is cut short"
            )
