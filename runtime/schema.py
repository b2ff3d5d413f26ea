"""JSON to frozen dataclasses and back, strictly: what is not declared is refused."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from typing import Any, TypeVar

__all__ = ["SchemaError", "build"]

T = TypeVar("T")


class SchemaError(ValueError):
    """A JSON value is not what its dataclass declares; the message gives the path to it."""


def build(kind: type[T], value: object, where: str = "$") -> T:
    """Make a `kind` from decoded JSON.

    Known: dataclasses, `tuple[X, ...]`, fixed tuples, `dict[str, X]`, `X | None`, `Literal`, str,
    int, float and bool. Integers are accepted as floats; nothing else is converted.

    Args:
        kind: A dataclass or any of the types above.
        value: Decoded JSON.
        where: Path of `value` in its document, for messages.

    Raises:
        SchemaError: A key is unknown or missing, or a value has the wrong type.
    """
    return typing.cast("T", _build(kind, value, where))


def _build(kind: Any, value: object, where: str) -> object:
    if dataclasses.is_dataclass(kind):
        return _record(kind, value, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return _sequence(arguments, value, where)
    if origin is dict:
        if not isinstance(value, dict):
            raise SchemaError(f"{where}: expected an object")
        return {str(key): _build(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        (inner,) = [argument for argument in arguments if argument is not type(None)]
        return _build(inner, value, where)
    if origin is typing.Literal:
        if value not in arguments:
            raise SchemaError(f"{where}: expected one of {arguments}, got {value!r}")
        return value
    return _scalar(kind, value, where)


def _record(kind: Any, value: object, where: str) -> object:
    if not isinstance(value, dict):
        raise SchemaError(f"{where}: expected an object")
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if unknown := sorted(set(value) - set(fields)):
        raise SchemaError(f"{where}: unknown key {unknown[0]!r}")
    missing = (dataclasses.MISSING, dataclasses.MISSING)
    for name, field in fields.items():
        if name not in value and (field.default, field.default_factory) == missing:
            raise SchemaError(f"{where}: missing key {name!r}")
    return kind(**{name: _build(hints[name], item, f"{where}.{name}") for name, item in value.items()})


def _sequence(arguments: tuple[Any, ...], value: object, where: str) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise SchemaError(f"{where}: expected a list")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    if len(arguments) != len(value):
        raise SchemaError(f"{where}: expected {len(arguments)} items, got {len(value)}")
    pairs = enumerate(zip(arguments, value, strict=True))
    return tuple(_build(argument, item, f"{where}[{n}]") for n, (argument, item) in pairs)


def _scalar(kind: Any, value: object, where: str) -> object:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise SchemaError(f"{where}: expected {kind.__name__}, got {type(value).__name__}")
    if isinstance(value, float) and not math.isfinite(value):
        raise SchemaError(f"{where}: not a finite number")
    return value
