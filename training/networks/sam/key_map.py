"""Tensors of a checkpoint find their place by an explicit map; what has none is an error."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from runtime.errors import BundleError

__all__ = ["KeyMap", "fill", "match"]

_SHOWN = 4
"""Names of tensors that a message repeats."""


@dataclass(frozen=True)
class KeyMap:
    """Names of a checkpoint's tensors, and where they belong here.

    In a name of theirs `#` stands for a number, `*` for a last part (weight, bias, running_mean …) and `**`
    for any rest; in ours each `#` and `*` stands for what the same one, counted from the left, stood for.

    Attributes:
        names: Theirs to ours. The first that fits counts.
        unused: Theirs that have no place here, and why that is right.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    unused: Mapping[str, str] = field(default_factory=dict)

    def under(self, theirs: str, ours: str) -> KeyMap:
        """The same map for tensors whose names begin with `theirs` there and with `ours` here."""
        return KeyMap(
            {theirs + name: ours + place for name, place in self.names.items()},
            {theirs + name: why for name, why in self.unused.items()},
        )

    def __or__(self, other: KeyMap) -> KeyMap:
        """Both maps."""
        return KeyMap({**self.names, **other.names}, {**self.unused, **other.unused})

    def places(self, names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
        """Find every tensor's place.

        Args:
            names: Of a checkpoint's tensors.

        Returns:
            Theirs to ours, without the unused; and the names that fit nothing.
        """
        rules = [(_expression(name), _template(name, place)) for name, place in self.names.items()]
        unused = [_expression(name) for name in self.unused]
        found: dict[str, str] = {}
        strange = []
        for name in names:
            matches = ((rule.fullmatch(name), template) for rule, template in rules)
            place = next((match.expand(template) for match, template in matches if match), None)
            if place is not None:
                found[name] = place
            elif not any(rule.fullmatch(name) for rule in unused):
                strange.append(name)
        return found, strange


def _expression(name: str) -> re.Pattern[str]:
    parts = {"#": r"(\d+)", "*": r"(\w+)", "**": r".+"}
    return re.compile("".join(parts.get(part) or re.escape(part) for part in re.split(r"(\*\*|\*|#)", name)))


def _template(theirs: str, ours: str) -> str:
    """Ours with a group for each wildcard, the nth `#` of ours being the nth of theirs, and so for `*`."""
    wild = re.findall(r"[#*]", theirs)
    groups = {kind: iter([n for n, found in enumerate(wild, 1) if found == kind]) for kind in "#*"}
    return re.sub(r"[#*]", lambda match: rf"\g<{next(groups[match[0]])}>", ours)


def match(module: nn.Module, tensors: Mapping[str, Tensor], keys: KeyMap, source: Path) -> dict[str, str]:
    """Find out whether a checkpoint fits a network without rest.

    Args:
        module: The network, or its skeleton without memory (torch's device "meta").
        tensors: Of the checkpoint.
        keys: Where they belong.
        source: Their file or folder, for messages.

    Returns:
        Names of ours to names of theirs, all of ours.

    Raises:
        BundleError: A tensor has no place, is missing, is there twice, or has another shape or kind.
    """
    ours = module.state_dict()
    places, strange = keys.places(tensors)
    strange += [name for name, place in places.items() if place not in ours]
    if strange:
        raise BundleError(
            f"{source}: no place for {_listed(strange)}; it is another kind of network, or larger than "
            "was said: check what you load it as, and its sizes"
        )
    came: dict[str, str] = {}
    for name, place in places.items():
        if place in came:
            raise BundleError(
                f"{source}: {came[place]!r} and {name!r} belong to the same place; remove one of them"
            )
        came[place] = name
    if missing := [name for name in ours if name not in came]:
        raise BundleError(
            f"{source}: nothing fills {_listed(missing)}; it is another kind of network, or smaller than "
            "was said: check what you load it as, and its sizes"
        )
    for place, name in came.items():
        _same_kind(tensors[name], ours[place], f"{source}: {name!r}")
    return came


def fill(module: nn.Module, tensors: Mapping[str, Tensor], keys: KeyMap, source: Path) -> None:
    """Copy a checkpoint into a network: every tensor of theirs is used, every one of ours filled, or none.

    Args:
        module: Whose parameters and buffers are overwritten.
        tensors: Of the checkpoint.
        keys: Where they belong.
        source: Their file or folder, for messages.

    Raises:
        BundleError: As `match`.
    """
    came, ours = match(module, tensors, keys, source), module.state_dict()
    with torch.no_grad():
        for place, name in came.items():
            ours[place].copy_(tensors[name])


def _same_kind(theirs: Tensor, ours: Tensor, what: str) -> None:
    if theirs.shape != ours.shape:
        raise BundleError(
            f"{what} has shape {tuple(theirs.shape)}, here {tuple(ours.shape)} is expected; "
            "give the sizes that it was trained with"
        )
    if theirs.is_floating_point() != ours.is_floating_point():
        raise BundleError(
            f"{what} has type {theirs.dtype}, here {ours.dtype} is expected; export it again as float"
        )


def _listed(names: list[str]) -> str:
    """Some names, and how many there are."""
    shown = ", ".join(repr(name[:120]) for name in sorted(names)[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
