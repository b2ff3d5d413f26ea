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

__all__ = ["Bottom", "encode", "encode_with_bottom", "tile_shape"]

Bottom = NDArray[np.float32]
"""The encoder's coarsest map, (1, B, I / m, J / m, K / m), m its `multiple_of`."""


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
    return _encode(image, engine, manifest, kernels, advance)[0]


def encode_with_bottom(
    image: Any,
    engine: Engine,
    manifest: Manifest,
    kernels: Kernels,
    advance: Callable[[float], None],
) -> tuple[NDArray[np.float32], Bottom]:
    """As `encode`, with the coarse map that instructions are decoded from.

    Tiles then begin at multiples of the network's multiple, so that their coarse voxels are those of the
    grid; where tiles overlap, these are blended like the features.

    Args:
        image: As for `encode`.
        engine: As for `encode`.
        manifest: As for `encode`, of a bundle with instructions.
        kernels: As for `encode`.
        advance: As for `encode`.

    Raises:
        BundleError: As for `encode`.
        DeviceError: As for `encode`.
    """
    features, bottom = _encode(image, engine, manifest, kernels, advance)
    return features, bottom[None]


def _encode(
    image: Any,
    engine: Engine,
    manifest: Manifest,
    kernels: Kernels,
    advance: Callable[[float], None],
) -> list[NDArray[np.float32]]:
    """Every output of the encoder on the whole grid, without the batch axis: features, perhaps bottom."""
    image = kernels.to_host(image)
    encoder = manifest.encoder
    shape = image.shape[1], image.shape[2], image.shape[3]
    i, j, k = tile_shape(shape, manifest)
    finer = [1, encoder.multiple_of][: len(encoder.outputs)]  # voxels of the grid along one of each output
    origins = tile_origins(shape, (i, j, k), manifest.grid.overlap, finer[-1])
    if len(origins) == 1:
        parts = _run(image, engine, manifest, finer)
        advance(1.0)
        return parts
    blends = [
        Blend(output.shape[1], _over(shape, n), gaussian_weight(_over((i, j, k), n)), kernels)
        for output, n in zip(encoder.outputs, finer, strict=True)
    ]
    for done, (a, b, c) in enumerate(origins, start=1):
        parts = _run(image[:, a : a + i, b : b + j, c : c + k], engine, manifest, finer)
        for blend, part, n in zip(blends, parts, finer, strict=True):
            blend.add(part, _over((a, b, c), n))
        advance(done / len(origins))
    return [kernels.to_host(blend.result()) for blend in blends]


def _over(voxels: tuple[int, ...], finer: int) -> tuple[int, int, int]:
    """Voxels of the grid to voxels of a map that is coarser."""
    i, j, k = (n // finer for n in voxels)
    return i, j, k


def _run(
    tile: NDArray[Any], engine: Engine, manifest: Manifest, finer: list[int]
) -> list[NDArray[np.float32]]:
    """Outputs of one tile, refused where they are not what the manifest says."""
    source = manifest.encoder.inputs[0]
    batch = np.ascontiguousarray(tile[None], np.dtype(source.dtype))
    made = engine.run({source.name: batch})
    parts = []
    for output, n in zip(manifest.encoder.outputs, finer, strict=True):
        part = made.get(output.name)
        wanted = (1, output.shape[1], *_over(tile.shape[1:], n))
        if part is None or part.shape != wanted:
            found = "nothing" if part is None else part.shape
            raise BundleError(
                f"{manifest.name}: the network gave {found} for {output.name!r} where its manifest says "
                f"{wanted}; export the bundle again"
            )
        parts.append(np.ascontiguousarray(part[0], np.float32))
    return parts
