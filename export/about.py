"""What a person says about a model that its own files do not say: the sidecar."""

from __future__ import annotations

import colorsys
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from runtime.bundle import Channel, ModelGrid, Recipe
from runtime.errors import BundleError
from runtime.schema import SchemaError, build
from runtime.structure import Code, Structure

__all__ = ["About", "Label", "Sight", "read_about", "structures"]

_OWN_SCHEME = "99ZEUSEDGE"
"""Of codes for labels that nobody gave a code; a private designator begins with 99."""
_ANATOMY = Code("123037004", "SCT", "Anatomical Structure")
_GOLDEN_ANGLE = 0.381966
"""Of a turn: hues that far apart are never close to one another."""


@dataclass(frozen=True)
class Label:
    """One label: its value in label maps, its name, and what it is in codes."""

    value: int
    name: str
    kind: Code | None = None
    category: Code | None = None
    colour: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Sight:
    """How an ONNX network sees a scan, in the words of a bundle; channels in the network's order."""

    channels: tuple[Channel, ...]
    grid: ModelGrid
    recipe: Recipe = field(default_factory=Recipe)


@dataclass(frozen=True)
class About:
    """A sidecar; what is left out comes from the source, or is said to be unknown.

    Attributes:
        name: Of the bundle.
        version: Of the model.
        description: For people.
        licence: Of the weights.
        body_part: What it is for, e.g. "abdomen".
        modalities: What each channel shows, in order; for sources that do not say so.
        axes: Directions of the network's axes, where a source does not know them, e.g. "SPL".
        labels: Names, codes and colours.
        sight: For an ONNX file, where nothing else says how it sees a scan.
    """

    name: str | None = None
    version: str | None = None
    description: str | None = None
    licence: str | None = None
    body_part: str | None = None
    modalities: tuple[str, ...] = ()
    axes: str | None = None
    labels: tuple[Label, ...] = ()
    sight: Sight | None = None


def read_about(path: Path) -> About:
    """Read a sidecar.

    Raises:
        BundleError: It is missing, no JSON, or says something that is not known.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return build(About, document)
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}); docs/export.md shows one") from None
    except (ValueError, RecursionError, SchemaError) as error:
        raise BundleError(f"{path}: {error}; docs/export.md shows one") from None


def structures(names: dict[int, str], labels: tuple[Label, ...]) -> tuple[Structure, ...]:
    """Structures for label values: what the sidecar says of them, else codes and colours of our own.

    Args:
        names: Label value to the source's name for it, the background left out; the order is kept.
        labels: The sidecar's.

    Raises:
        BundleError: The sidecar has a label that the source does not have.
    """
    given = {label.value: label for label in labels}
    if unknown := sorted(set(given) - set(names)):
        known = ", ".join(f"{value} {name}" for value, name in names.items())
        raise BundleError(f"the sidecar has a label of value {unknown[0]}; the source has {known}")
    return tuple(_structure(given.get(value, Label(value, name))) for value, name in names.items())


def _structure(label: Label) -> Structure:
    """A structure with all it needs; its name can name a file."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", label.name).strip("_-")[:64] or f"label_{label.value}"
    name = f"{name}_mask" if name.lower() == "labels" else name
    meaning = " ".join(label.name.split())[:64] or name
    kind = label.kind or Code(f"LABEL-{label.value}", _OWN_SCHEME, meaning)
    return Structure(
        label.value, name, label.category or _ANATOMY, kind, label.colour or _colour(label.value)
    )


def _colour(value: int) -> tuple[int, int, int]:
    r, g, b = colorsys.hsv_to_rgb(value * _GOLDEN_ANGLE % 1.0, 0.75, 0.95)
    return round(255 * r), round(255 * g), round(255 * b)
