"""Typed messages as bytes: a frame is a length-prefixed piece of JSON and the raw bytes that it counts.

Text, bytes and arrays are raw, in the order of the fields; the JSON holds only how long they are. Nothing is
ever evaluated or unpickled, and both sides refuse what is too large, unknown or not what its dataclass
declares: the worker runs a library on files of strangers, so its word is not trusted either.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import struct
import types
import typing
from collections.abc import Hashable, Iterator
from typing import Any

import numpy as np

__all__ = ["MOST_EVENT_BYTES", "MOST_REQUEST_BYTES", "FrameReader", "ProtocolError", "encode"]

_HEAD = struct.Struct("<4sII")
_MAGIC = b"ZLM1"
_MOST_JSON_BYTES = 1 << 23
_LARGEST = 1 << 63

MOST_REQUEST_BYTES = 1 << 28
"""Raw bytes of a request: 16 images of 729 tokens, 4096 wide, are 191 MB."""

MOST_EVENT_BYTES = 1 << 25
"""Raw bytes of an event: the logits of 8 million tokens."""


class ProtocolError(ValueError):
    """Bytes that are no message; the message says what is wrong and repeats none of them."""


def encode(message: object) -> bytes:
    """The frame of a message.

    Args:
        message: One of the dataclasses of `messages`.
    """
    raw: list[bytes] = []
    head = json.dumps(_written(message, raw), allow_nan=False).encode("ascii")
    body = b"".join(raw)
    return _HEAD.pack(_MAGIC, len(head), len(body)) + head + body


class FrameReader:
    """Makes messages of bytes as they come.

    Args:
        kinds: The messages that may come, a union of dataclasses.
        most_bytes: Raw bytes of a frame.
    """

    def __init__(self, kinds: Any, most_bytes: int) -> None:
        self._kinds = {kind.__name__: kind for kind in typing.get_args(kinds)}
        self._most_bytes = most_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Any]:
        """Every message that is whole now.

        Raises:
            ProtocolError: What came is no frame, or larger than allowed; nothing after it can be read.
        """
        self._buffer += data
        while len(self._buffer) >= _HEAD.size:
            magic, head_bytes, body_bytes = _HEAD.unpack_from(self._buffer)
            if magic != _MAGIC:
                raise ProtocolError("something that is no frame")
            if head_bytes > _MOST_JSON_BYTES or body_bytes > self._most_bytes:
                raise ProtocolError(f"a frame of {head_bytes + body_bytes} bytes")
            end = _HEAD.size + head_bytes + body_bytes
            if len(self._buffer) < end:
                return
            head = bytes(self._buffer[_HEAD.size : _HEAD.size + head_bytes])
            body = bytes(self._buffer[_HEAD.size + head_bytes : end])
            del self._buffer[:end]
            yield self._message(head, body)

    def _message(self, head: bytes, body: bytes) -> Any:
        try:
            document = json.loads(head.decode("ascii"), parse_constant=_refused)
        except (ValueError, RecursionError) as error:
            raise ProtocolError("a frame whose head is no JSON") from error
        name = document[0] if isinstance(document, list) and document else None
        if not isinstance(name, str) or name not in self._kinds:
            raise ProtocolError("a frame of an unknown message")
        source = _Source(body)
        try:
            message = _read_record(self._kinds[name], document, source)
        except ProtocolError:
            raise
        except (TypeError, ValueError, OverflowError) as error:  # a dataclass refused its fields
            raise ProtocolError(f"a {name} that is not valid ({type(error).__name__})") from error
        if source.left:
            raise ProtocolError(f"a {name} with more bytes than it counts")
        return message


class _Source:
    """Raw bytes, taken from the front."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        if not 0 <= count <= self.left:
            raise ProtocolError("a message that counts more bytes than it has")
        self._at += count
        return self._data[self._at - count : self._at]


@functools.cache
def _hints(kind: Hashable) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _refused(name: str) -> float:
    raise ValueError(f"{name} is no number here")


def _written(value: object, raw: list[bytes]) -> object:
    """A value's JSON; what is raw is appended."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return [type(value).__name__, *(_written(getattr(value, field.name), raw) for field in fields)]
    if isinstance(value, tuple):
        return [_written(item, raw) for item in value]
    if isinstance(value, np.ndarray):
        raw.append(np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<"), copy=False).tobytes())
        return list(value.shape)
    if isinstance(value, (str, bytes)):
        raw.append(value.encode() if isinstance(value, str) else value)
        return len(raw[-1])
    return value


def _read(kind: Any, value: object, source: _Source) -> object:
    """A value of the declared kind."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _read_union(arguments, value, source)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _read_record(kind, value, source)
    if origin is tuple:
        if not isinstance(value, list):
            raise ProtocolError("something that is no list")
        return tuple(_read(arguments[0], item, source) for item in value)
    if origin is np.ndarray:
        return _read_array(np.dtype(typing.get_args(arguments[1])[0]), value, source)
    if origin is typing.Literal:
        text = _read(str, value, source)
        if text not in arguments:
            raise ProtocolError("a word that is none of those known")
        return text
    if kind in (str, bytes):
        data = source.take(_whole(value))
        return data.decode("utf-8") if kind is str else data
    return _read_scalar(kind, value)


def _read_union(kinds: tuple[Any, ...], value: object, source: _Source) -> object:
    if value is None and type(None) in kinds:
        return None
    others = [kind for kind in kinds if kind is not type(None)]
    if len(others) == 1:
        return _read(others[0], value, source)
    named = {kind.__name__: kind for kind in others}
    if not isinstance(value, list) or not value or value[0] not in list(named):
        raise ProtocolError("a part of an unknown kind")
    return _read_record(named[value[0]], value, source)


def _read_record(kind: type[Any], value: object, source: _Source) -> object:
    hints = _hints(typing.cast("Hashable", kind))
    fields = dataclasses.fields(kind)
    if not isinstance(value, list) or len(value) != len(fields) + 1 or value[0] != kind.__name__:
        raise ProtocolError(f"something that is no {kind.__name__}")
    pairs = zip(fields, value[1:], strict=True)
    return kind(**{field.name: _read(hints[field.name], item, source) for field, item in pairs})


def _read_array(dtype: np.dtype[Any], value: object, source: _Source) -> object:
    if not isinstance(value, list) or not 1 <= len(value) <= 3:
        raise ProtocolError("an array of an unknown shape")
    shape = tuple(_whole(side) for side in value)
    data = source.take(math.prod(shape) * dtype.itemsize)
    return np.frombuffer(data, dtype.newbyteorder("<")).reshape(shape).astype(dtype, copy=False)


def _read_scalar(kind: Any, value: object) -> object:
    if kind is bool and isinstance(value, bool):
        return value
    if kind is int and isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST:
        return value
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    raise ProtocolError("a number that is not of its kind")


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ProtocolError("a length that is no whole number")
    return value
