"""Slide a window of one size over an image and blend what a network of others answers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.bundle import Manifest, Recipe
from runtime.engines.engine import Engine
from runtime.errors import BundleError
from runtime.kernels import Kernels
from runtime.stages.blend import Blend, gaussian_weight, tile_origins

__all__ = ["centred_weight", "slide", "step_origins"]

_LEAST_CENTRED = 1e-3


def step_origins(
    shape: tuple[int, int, int], tile: tuple[int, int, int], overlap: float
) -> list[tuple[int, int, int]]:
    """First voxels of tiles that lie one step apart; the last along each axis touches the border.

    Args:
        shape: (D, H, W) of the grid, no axis shorter than the tile.
        tile: (d, h, w).
        overlap: Share of a tile that its neighbour repeats, rounded up to whole voxels.

    Source:
        MONAI's `_get_scan_interval` and `dense_patch_slices`.
    """
    axes = []
    for length, side in zip(shape, tile, strict=True):
        step = max(1, int(side * (1 - overlap))) if side < length else side
        count = math.ceil((length - side) / step) + 1
        axes.append([min(n * step, length - side) for n in range(count)])
    return [(d, h, w) for d in axes[0] for h in axes[1] for w in axes[2]]


def centred_weight(tile: tuple[int, int, int]) -> NDArray[np.float32]:
    """A Gaussian about the middle of a tile, at least 0.001.

    Args:
        tile: (d, h, w).

    Source:
        MONAI's `compute_importance_map(mode="gaussian", sigma_scale=0.125)`.
    """
    axes = [np.exp(-0.5 * ((np.arange(side) - (side - 1) / 2) * 8 / side) ** 2) for side in tile]
    return np.asarray(np.maximum(np.einsum("d,h,w->dhw", *axes), _LEAST_CENTRED), np.float32)


def slide(
    image: NDArray[np.float32],
    engine: Engine,
    manifest: Manifest,
    recipe: Recipe,
    kernels: Kernels,
    advance: Callable[[float], None],
) -> NDArray[np.float32]:
    """Blended answers on the whole image, after the recipe's activation.

    Args:
        image: (channels, I, J, K).
        engine: The loaded network.
        manifest: Names, shapes, tile size and overlap.
        recipe: Of that manifest.
        kernels: Where to blend.
        advance: Told the finished share, 0…1, after every tile.

    Returns:
        (maps, I, J, K).

    Raises:
        BundleError: The network answers with something else than its manifest says.
        DeviceError: The device failed.
    """
    tile = manifest.grid.tile_voxels
    room = [max(side - length, 0) for side, length in zip(tile, image.shape[1:], strict=True)]
    around = [(n // 2, n - n // 2) for n in room]
    padded = np.pad(image, [(0, 0), *around]) if any(room) else image
    shape = padded.shape[1], padded.shape[2], padded.shape[3]
    overlap = manifest.grid.overlap
    origins = (tile_origins if recipe.tiles == "even" else step_origins)(shape, tile, overlap)
    weight = {"gaussian": gaussian_weight, "gaussian_centred": centred_weight, "constant": _constant}
    maps = manifest.encoder.outputs[0].shape[1]
    blend = Blend(maps, shape, weight[recipe.weight](tile), kernels)
    for done, (a, b, c) in enumerate(origins, start=1):
        part = padded[:, a : a + tile[0], b : b + tile[1], c : c + tile[2]]
        blend.add(_mirrored(part, engine, manifest, recipe), (a, b, c))
        advance(done / len(origins))
    whole = kernels.to_host(blend.result())
    sides = zip(around, image.shape[1:], strict=True)
    inner = (slice(None), *(slice(low, low + size) for (low, _), size in sides))
    scores: NDArray[np.float32] = np.ascontiguousarray(whole[inner])
    _activate(scores, recipe)
    return scores


def _constant(tile: tuple[int, int, int]) -> NDArray[np.float32]:
    return np.ones(tile, np.float32)


def _mirrored(
    tile: NDArray[np.float32], engine: Engine, manifest: Manifest, recipe: Recipe
) -> NDArray[np.float32]:
    """The mean answer for a tile and its mirror images."""
    counts = range(len(recipe.mirror) + 1)
    views = [axes for n in counts for axes in itertools.combinations(recipe.mirror, n)]
    total: Any = 0.0
    for axes in views:
        turned = tuple(axis + 1 for axis in axes)
        total = total + np.flip(_answer(np.flip(tile, turned), engine, manifest), turned)
    return np.ascontiguousarray(total / np.float32(len(views)), np.float32)


def _answer(tile: NDArray[np.float32], engine: Engine, manifest: Manifest) -> NDArray[np.float32]:
    """What the network says of one tile, refused where it is not what the manifest says."""
    source, output = manifest.encoder.inputs[0], manifest.encoder.outputs[0]
    flat = len(source.shape) == 4
    batch = np.ascontiguousarray(tile[:, 0] if flat else tile, np.dtype(source.dtype))[None]
    found = engine.run({source.name: batch}).get(output.name)
    wanted = (1, output.shape[1], *batch.shape[2:])
    if found is None or found.shape != wanted:
        shown = "nothing" if found is None else found.shape
        raise BundleError(
            f"{manifest.name}: the network gave {shown} for {output.name!r} where its manifest says "
            f"{wanted}; export the bundle again"
        )
    return np.asarray(found[0][:, None] if flat else found[0], np.float32)


def _activate(scores: NDArray[np.float32], recipe: Recipe) -> None:
    """Softmax over the maps or sigmoid of each, in place, a plane at a time."""
    for n in range(scores.shape[1] if recipe.activation != "none" else 0):
        plane = scores[:, n]
        if recipe.activation == "softmax":
            plane -= plane.max(axis=0)
            np.exp(plane, out=plane)
            plane /= plane.sum(axis=0)
        else:
            plane[...] = 0.5 + 0.5 * np.tanh(plane * 0.5)
