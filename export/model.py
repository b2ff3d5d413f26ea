"""What a source of any kind becomes: a network in ONNX, the answers it must give, what it is for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.bundle import (
    Channel,
    FileEntry,
    GoldenCase,
    Manifest,
    ModelGrid,
    Network,
    Recipe,
    Target,
    Tensor,
)
from runtime.structure import Structure

__all__ = ["Description", "SourceModel"]

Answer = Callable[[NDArray[np.float32]], NDArray[Any]]
"""A tile (1, channels, …) to what the source itself makes of it."""


@dataclass(frozen=True)
class Description:
    """What a manifest says of a model besides its files; see `Manifest`."""

    name: str
    version: str
    description: str
    licence: str
    provenance: dict[str, str]
    body_part: str
    channels: tuple[Channel, ...]
    grid: ModelGrid
    recipe: Recipe
    structures: tuple[Structure, ...]
    targets: tuple[Target, ...]

    @property
    def sides(self) -> tuple[int, ...]:
        """Of what the network is shown at once: three sides, or the two of a slice."""
        tile = self.grid.tile_voxels
        return tile[1:] if tile[0] == 1 else tile

    def before_files(self) -> Manifest:
        """A manifest for what needs channels, grid and recipe only; it names no file."""
        return self.manifest(Network("", (), (), 1), GoldenCase("", "", 1.0), ())

    def manifest(self, network: Network, golden: GoldenCase, files: tuple[FileEntry, ...]) -> Manifest:
        """The manifest of a bundle with these files."""
        said = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return Manifest(schema="zeus-edge-bundle/1", encoder=network, golden=golden, files=files, **said)


@dataclass(frozen=True)
class SourceModel:
    """A model as its source gives it.

    Attributes:
        described: What it is for and how it sees a scan.
        onnx: Its network in float32, one input and one output, shapes fixed to one tile.
        answer: What the source itself answers; the network must agree.
        origin: Who answers, for messages: "torch" or "the original file".
    """

    described: Description
    onnx: Path
    answer: Answer
    origin: str

    def network(self, source: Tensor, output: Tensor) -> Network:
        """The network's entry in the manifest."""
        return Network("model.onnx", (source,), (output,), 1)
