"""Cover a grid with overlapping tiles and merge their scores."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import UsageError
from runtime.kernels import Kernels

__all__ = ["Blend", "gaussian_weight", "tile_origins"]


def tile_origins(
    shape: tuple[int, int, int], tile: tuple[int, int, int], overlap: float, multiple: int = 1
) -> list[tuple[int, int, int]]:
    """First voxels of tiles that cover a grid.

    Tiles are spread evenly; the first and last touch the border. Where a tile is longer than the
    grid there is one origin, 0, and the caller pads.

    Args:
        shape: (D, H, W) of the grid.
        tile: (d, h, w).
        overlap: Smallest share of a tile that its neighbour repeats, 0…<1; less by up to `multiple` voxels.
        multiple: Every origin becomes divisible by this, where sides of grid and tile are.

    Raises:
        UsageError: A size is below 1 or `overlap` is out of range.

    Source:
        The tile positions of nnU-Net's `compute_steps_for_sliding_window`.
    """
    if min(shape) < 1 or min(tile) < 1 or not 0 <= overlap < 1:
        raise UsageError(
            f"cannot tile {shape} by {tile} with overlap {overlap}; use sizes >= 1, overlap 0 to <1"
        )
    axes = [_axis_origins(*sizes, overlap, multiple) for sizes in zip(shape, tile, strict=True)]
    return [(d, h, w) for d in axes[0] for h in axes[1] for w in axes[2]]


def _axis_origins(length: int, tile: int, overlap: float, multiple: int) -> list[int]:
    """Tile origins along one axis."""
    room = length - tile
    if room <= 0:
        return [0]
    step = max(1.0, tile * (1 - overlap))
    steps = math.ceil(room / step - 1e-9)
    # No gap: steps are at most a tile, and rounding makes two of them differ by one multiple at most.
    return [round(n * room / steps / multiple) * multiple for n in range(steps + 1)]


def gaussian_weight(tile: tuple[int, int, int]) -> NDArray[np.float32]:
    """How much each voxel of a tile is trusted: 1 at the centre, less towards the border, never 0.

    Args:
        tile: (d, h, w).

    Returns:
        (d, h, w) float32.

    Source:
        nnU-Net's `compute_gaussian`: sigma = tile / 8, zeros replaced by the smallest weight.
    """
    axes = [np.exp(-0.5 * ((np.arange(size) - size // 2) * 8 / size) ** 2) for size in tile]
    weight = np.einsum("d,h,w->dhw", *axes)
    return np.asarray(weight / weight.max(), np.float32)


class Blend:
    """Running weighted sums of tile scores.

    Attributes:
        sum: Weighted scores, (C, D, H, W) float32, where the kernels run.
        weight_sum: Summed weights, (D, H, W) float32, there too.
    """

    def __init__(
        self, classes: int, shape: tuple[int, int, int], weight: NDArray[np.float32], kernels: Kernels
    ):
        """Start with nothing added.

        Args:
            classes: C.
            shape: (D, H, W) of the grid, no axis shorter than the tile.
            weight: Trust in each tile voxel, (d, h, w); see `gaussian_weight`.
            kernels: Where to run.
        """
        self.sum = kernels.zeros((classes, *shape), np.float32)
        self.weight_sum = kernels.zeros(shape, np.float32)
        self._weight = kernels.placed(weight)
        self._kernels = kernels
        self._done = False

    def add(self, tile: Any, origin: tuple[int, int, int]) -> None:
        """Add the scores of one tile.

        Args:
            tile: (C, d, h, w), C-contiguous float32; of the host, or where the kernels run.
            origin: Grid voxel of the tile's first voxel.

        Raises:
            ValueError: Sizes differ or the tile reaches outside the grid.
            UsageError: `result` was called before.
        """
        if self._done:
            raise UsageError("this blend is finished; start a new one to add tiles")
        kernels, tile = self._kernels, self._kernels.placed(tile)
        kernels.table.blend_add(tile, self._weight, self.sum, self.weight_sum, origin, kernels.threads)

    def result(self) -> Any:
        """Weighted mean scores, (C, D, H, W); 0 where no tile was added. Not a copy: it is `sum`."""
        if not self._done:
            self._kernels.table.blend_normalise(self.sum, self.weight_sum, self._kernels.threads)
            self._done = True
        return self.sum
