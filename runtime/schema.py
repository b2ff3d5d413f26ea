"""JSON to frozen dataclasses and back, strictly: what is not declared is refused."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, TypeVar

__all__ = ["SchemaError", "build"]

T = TypeVar("T")

_LARGEST = 3.4e38
"""End of float32, in which every number ends up."""

_SHOWN = 80
"""Characters of a stranger's text that a message repeats."""


class SchemaError(ValueError):
    """A JSON value is not what its dataclass declares; the message gives the path to it."""


def build(kind: type[T], value: object, where: str = "$") -> T:
    """Make a `kind` from decoded JSON.

    Known: dataclasses, `tuple[X, ...]`, fixed tuples, `dict[str, X]`, `X | None`, `Literal`, str,
    int, float and bool. Integers are accepted as floats; nothing else is converted. Text is
    printable (a message may end on a terminal), numbers fit into float32.

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
        keys = [str(_scalar(str, key, f"{where}, a key")) for key in value]
        items = zip(keys, value.values(), strict=True)
        return {key: _build(arguments[1], item, f"{where}.{key[:_SHOWN]}") for key, item in items}
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        (inner,) = [argument for argument in arguments if argument is not type(None)]
        return _build(inner, value, where)
    if origin is typing.Literal:
        if value not in arguments:
            raise SchemaError(f"{where}: expected one of {arguments}, got {_shown(value)}")
        return value
    return _scalar(kind, value, where)


def _record(kind: Any, value: object, where: str) -> object:
    if not isinstance(value, dict):
        raise SchemaError(f"{where}: expected an object")
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if unknown := sorted(set(value) - set(fields)):
        raise SchemaError(f"{where}: unknown key {_shown(unknown[0])}")
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
    is_number = kind is float and isinstance(value, (int, float))
    if not (is_number or isinstance(value, kind)) or (isinstance(value, bool) and kind is not bool):
        raise SchemaError(f"{where}: expected {kind.__name__}, got {type(value).__name__}")
    if isinstance(value, str) and not value.isprintable():
        raise SchemaError(f"{where}: holds a character that cannot be printed")
    if kind is not float:
        return value
    if not abs(typing.cast("float", value)) <= _LARGEST:  # NaN is not either
        raise SchemaError(f"{where}: not a finite number of float32")
    return float(typing.cast("float", value))


def _shown(value: object) -> str:
    """A value of the document for a message, cut short."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
