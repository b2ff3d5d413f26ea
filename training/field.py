"""What of a head is scanned and shown: without the skull, in the box the runtime would cut out, as a slab.

Instance normalisation sees all of what the network is given, so training has to give it what the
runtime does: `runtime.stages.locate` cuts air away and leaves the rest whole.
"""

from __future__ import annotations

import torch
from numpy.random import Generator
from torch import Tensor

from training.tissues import TISSUES, index_of

__all__ = ["Box", "head_box", "slab", "without_skull"]

Box = tuple[slice, slice, slice]

_MULTIPLE = 16
"""Sides the network can take are divisible by this."""

_LEAST_MM2 = 400.0
_MARGIN_MM = (0.0, 14.0)
"""The runtime's 8 mm, give or take what its 4 mm voxels round and a noisy background adds."""

_OUTSIDE = [n for n, tissue in enumerate(TISSUES) if tissue.structure in ("head", "outer_csf")]


def without_skull(fractions: Tensor) -> Tensor:
    """A copy in which voxels that are mostly outside the brain are air.

    Args:
        fractions: (tissues, I, J, K) uint8 counts of 0…8.
    """
    lost = fractions[_OUTSIDE].sum(0) > 4
    kept = fractions * ~lost
    kept[index_of("air")] += 8 * lost
    return kept


def head_box(fractions: Tensor, random: Generator, spacing_mm: float) -> Box:
    """The box around everything that is not air, as the runtime finds it in a scan.

    Planes at the ends that show less than 4 cm² are left out; sides are divisible by 16 and no longer
    than the patch's.

    Args:
        fractions: (tissues, I, J, K) uint8 counts of 0…8, sides divisible by 16.
        random: Draws the margin.
        spacing_mm: Voxel size.
    """
    solid = fractions[index_of("air")] < 4
    margin = round(float(random.uniform(*_MARGIN_MM)) / spacing_mm)
    sides = []
    for axis, size in enumerate(solid.shape):
        area = solid.sum([n for n in range(3) if n != axis]) * spacing_mm**2
        planes = torch.nonzero(area >= _LEAST_MM2)
        low, high = (int(planes[0]), int(planes[-1]) + 1) if len(planes) else (0, size)
        low, high = max(0, low - margin), min(size, high + margin)
        length = -(-(high - low) // _MULTIPLE) * _MULTIPLE
        first = min(max(0, (low + high - length) // 2), size - length)
        sides.append(slice(first, first + length))
    return sides[0], sides[1], sides[2]


def slab(size: int, random: Generator, shortest: int) -> slice:
    """Where along an axis a scan lies that does not cover the head.

    Args:
        size: Voxels along the axis, divisible by 16.
        random: Draws the place.
        shortest: Fewest voxels that stay, divisible by 16.
    """
    blocks, least = size // _MULTIPLE, shortest // _MULTIPLE
    if blocks <= least:
        return slice(0, size)
    count = int(random.integers(least, blocks))
    first = int(random.integers(0, blocks - count + 1)) * _MULTIPLE
    return slice(first, first + count * _MULTIPLE)
