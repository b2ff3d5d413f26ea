"""blend: what a sliding window costs beside its network."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.comparison import Agreement, Case, CaseMaker, Peer, Setting, largest_difference
from benchmarks.peers import with_monai, with_numpy
from benchmarks.tasks import BlendTask, Triple
from runtime.kernels import Kernels
from runtime.stages.blend import Blend, gaussian_weight, tile_origins

__all__ = ["cases"]

_CLASSES = 14
_TILE, _TILE_QUICK = 96, 16
_OVERLAP = 0.5
_STEPS: Triple = (3, 3, 2)
"""Half tiles beyond the first along each axis: MONAI's tiles lie as ours only on whole steps."""


def cases(setting: Setting) -> Iterator[CaseMaker]:
    """Every case of this kernel."""
    side = _TILE_QUICK if setting.quick else _TILE
    half = side // 2
    shape = (side + _STEPS[0] * half, side + _STEPS[1] * half, side + _STEPS[2] * half)
    name = f"blend C={_CLASSES} {'x'.join(map(str, shape))} by {side}^3, overlap {_OVERLAP}"
    yield CaseMaker(name, lambda: _case(side, shape, setting.kernels))


def _case(side: int, shape: Triple, kernels: Kernels) -> Case:
    random = np.random.default_rng(4)
    tile = random.standard_normal((_CLASSES, side, side, side), np.float32)
    task = BlendTask(tile, gaussian_weight((side, side, side)), shape, _OVERLAP, kernels.threads)
    origins = tile_origins(shape, (side, side, side), _OVERLAP)

    def ours() -> object:
        blend = Blend(_CLASSES, shape, task.weight, kernels)
        for origin in origins:
            blend.add(task.tile.copy(), origin)  # the copy is the network's result; peers copy too
        return blend.result()

    largest = float(np.abs(tile).max())
    # At most 2 x 2 x 2 tiles meet in a voxel: so many products and sums are rounded.
    close = Agreement(32 * 2.0**-23 * largest, f"float32 sums of up to 8 tiles of scores up to {largest:.1f}")
    peers = (
        Peer("numpy slices", "numpy", lambda: with_numpy.blend(task), close),
        Peer("MONAI sliding_window_inference", "monai", lambda: with_monai.blend(task), close),
    )
    moved = len(origins) * tile.nbytes + 4 * _CLASSES * int(np.prod(shape))
    return Case(ours, peers, moved, largest_difference, "largest absolute difference of scores")
