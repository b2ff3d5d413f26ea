"""Read a MONAI bundle's configuration without evaluating anything in it: values and references only."""

from __future__ import annotations

import ast
import re
from typing import Any

from runtime.errors import BundleError

__all__ = ["arguments", "resolve", "target"]

_REFERENCE = re.compile(r"@([A-Za-z_][\w]*(?:(?:::|#)\w+)*)")
_DEEPEST = 20


def resolve(value: Any, config: dict[str, Any], where: str, depth: int = 0) -> Any:
    """A value with its references followed.

    `@name` and `@name::part` are followed, `$` before a plain Python value or one reference is allowed.

    Args:
        value: Decoded JSON.
        config: The whole configuration.
        where: What this is, for messages.
        depth: Of references so far.

    Raises:
        BundleError: It is an expression, or a reference to nothing or to itself.
    """
    if depth > _DEEPEST:
        raise BundleError(f"{where} refers to itself")
    if isinstance(value, dict):
        return {key: resolve(item, config, f"{where}::{key}", depth) for key, item in value.items()}
    if isinstance(value, list):
        return [resolve(item, config, f"{where}::{n}", depth) for n, item in enumerate(value)]
    if not isinstance(value, str) or value[:1] not in ("@", "$", "%"):
        return value
    text = value.removeprefix("$").strip()
    if found := _REFERENCE.fullmatch(text):
        return resolve(_followed(found.group(1), config, where), config, where, depth + 1)
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        raise BundleError(
            f"{where} is the expression {value[:80]!r}; expressions are not evaluated, write its value there"
        ) from None


def _followed(path: str, config: dict[str, Any], where: str) -> Any:
    found: Any = config
    for part in re.split(r"::|#", path):
        key: Any = int(part) if isinstance(found, list) and part.isdigit() else part
        try:
            found = found[key]
        except (KeyError, IndexError, TypeError):
            raise BundleError(f"{where} refers to {path!r}, which is not there") from None
    return found


def target(entry: Any, where: str) -> str:
    """Name of the class that an entry makes, without its module.

    Raises:
        BundleError: It makes nothing.
    """
    if not isinstance(entry, dict) or not isinstance(entry.get("_target_"), str):
        raise BundleError(f"{where} has no _target_")
    return str(entry["_target_"]).rpartition(".")[2]


def arguments(entry: dict[str, Any], config: dict[str, Any], where: str, ignored: set[str]) -> dict[str, Any]:
    """What an entry's class is made with.

    Args:
        entry: With a `_target_`.
        config: The whole configuration.
        where: What this is, for messages.
        ignored: Arguments that do not change any answer; they may be expressions.

    Raises:
        BundleError: A value is an expression.
    """
    given = {key: value for key, value in entry.items() if not (key.startswith("_") or key in ignored)}
    found: dict[str, Any] = resolve(given, config, where)
    return found
