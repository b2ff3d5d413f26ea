"""Run the encoder over the grid, tile by tile where it does not fit in one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.bundle import Manifest
from runtime.engines.engine import Engine
from runtime.errors import BundleError
from runtime.kernels import Kernels
from runtime.stages.blend import Blend, gaussian_weight, tile_origins

__all__ = ["encode", "tile_shape"]


def tile_shape(shape: tuple[int, int, int], manifest: Manifest) -> tuple[int, int, int]:
    """The smallest tile that covers a grid with as few tiles as the bundle's largest one does.

    A grid of 160 voxels needs two tiles of 128; two of 96 overlap enough and cost a quarter less.

    Args:
        shape: (I, J, K) of the grid, divisible by the network's multiple.
        manifest: Largest tile, overlap and multiple.

    Returns:
        (i, j, k), each divisible by the network's multiple, no side longer than the grid's.
    """
    most, multiple = manifest.grid.tile_voxels, manifest.encoder.multiple_of
    sides = []
    for length, longest in zip(shape, most, strict=True):
        if length <= longest:
            sides.append(length)
            continue
        overlap = manifest.grid.overlap * longest
        tiles = math.ceil((length - overlap) / (longest - overlap) - 1e-9)
        side = math.ceil((length + (tiles - 1) * overlap) / tiles / multiple - 1e-9) * multiple
        sides.append(min(side, longest))
    return sides[0], sides[1], sides[2]


def encode(
    image: Any,
    engine: Engine,
    manifest: Manifest,
    kernels: Kernels,
    advance: Callable[[float], None],
) -> NDArray[np.float32]:
    """Features of every voxel.

    An axis that is not longer than the bundle's tile is taken whole; longer ones are covered by
    overlapping tiles (see `tile_shape`), whose features are blended with Gaussian weights.

    Args:
        image: (channels, I, J, K), sides divisible by the network's multiple; of the host, or where
            `kernels` run. An engine takes and gives arrays of the host.
        engine: The loaded encoder.
        manifest: Names, tile size and overlap.
        kernels: Where to blend.
        advance: Told the finished share, 0…1, after every tile.

    Returns:
        (features, I, J, K).

    Raises:
        BundleError: The network answers with something else than its manifest says.
        DeviceError: The device failed.
    """
    image = kernels.to_host(image)
    source, result = manifest.encoder.inputs[0], manifest.encoder.outputs[0]
    shape = image.shape[1], image.shape[2], image.shape[3]
    i, j, k = tile_shape(shape, manifest)
    origins = tile_origins(shape, (i, j, k), manifest.grid.overlap)
    dtype = np.dtype(source.dtype)

    def run(tile: NDArray[Any]) -> NDArray[np.float32]:
        batch = np.ascontiguousarray(tile[None], dtype)
        features = engine.run({source.name: batch}).get(result.name)
        wanted = (1, result.shape[1], *tile.shape[1:])
        if features is None or features.shape != wanted:
            found = "nothing" if features is None else features.shape
            raise BundleError(
                f"{manifest.name}: the network gave {found} for {result.name!r} where its manifest says "
                f"{wanted}; export the bundle again"
            )
        return np.ascontiguousarray(features[0], np.float32)

    if len(origins) == 1:
        features = run(image)
        advance(1.0)
        return features
    blend = Blend(result.shape[1], shape, gaussian_weight((i, j, k)), kernels)
    for done, (a, b, c) in enumerate(origins, start=1):
        blend.add(run(image[:, a : a + i, b : b + j, c : c + k]), (a, b, c))
        advance(done / len(origins))
    return kernels.to_host(blend.result())
