"""Recipes and bundles of networks from elsewhere, for tests."""

from __future__ import annotations

import dataclasses

from runtime.bundle import Channel, Manifest, ModelGrid, Network, Recipe, Target, Tensor
from tests.tiny_bundle import tiny_manifest

__all__ = ["NNUNET", "RECIPE", "foreign_manifest"]

RECIPE = Recipe()
"""MONAI's way."""
NNUNET = Recipe("stored", (0, 1, 2), "nonzero", "field", "scan", "even", "gaussian", (), "none")

_STRUCTURES = tuple(item for item in tiny_manifest().structures if not item.union_of)


def foreign_manifest(
    recipe: Recipe,
    tile: tuple[int, int, int] = (8, 8, 8),
    spacing_mm: tuple[float, float, float] = (2.0, 2.0, 2.0),
    channels: tuple[Channel, ...] = (Channel("T1", "mean_std", 0.0, 1.0, (-9.0, 9.0), True),),
) -> Manifest:
    """The manifest of a network that answers with a score for the background and three structures."""
    sides = tile[1:] if tile[0] == 1 else tile
    network = Network(
        "encoder.onnx",
        (Tensor("image", "float32", (1, len(channels), *sides)),),
        (Tensor("scores", "float32", (1, 4, *sides)),),
        1,
    )
    return dataclasses.replace(
        tiny_manifest(),
        recipe=recipe,
        encoder=network,
        channels=channels,
        grid=ModelGrid(spacing_mm, tile, 0.5),
        structures=_STRUCTURES,
        targets=tuple(Target(name, (), 0.0) for name in ("", "shell", "core", "lesion")),
    )
