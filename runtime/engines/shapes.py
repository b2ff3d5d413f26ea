"""Which shapes a bundle gives its networks; engines that are built for shapes ask before the first study."""

from __future__ import annotations

import math

from runtime.engines.engine import InputRange
from runtime.manifest import Manifest, Network

__all__ = ["input_ranges"]

Span = tuple[int, int, int]
"""Smallest, usual and largest length of one axis."""

_MOST_TILES = 4
"""Along an axis of a grid: the decoder sees the coarse map of all of them."""
_MOST_TARGETS = 64
_MOST_COPIES = 8
"""Of a tile in one batch: mirrored along three axes."""


def input_ranges(manifest: Manifest, network: Network) -> tuple[InputRange, ...]:
    """Shapes of every input that has a free axis.

    Args:
        manifest: Of the bundle.
        network: One of its networks.
    """
    ranges = []
    for tensor in network.inputs:
        free = [axis for axis, side in enumerate(tensor.shape) if side == 0]
        if not free:
            continue
        rank = len(tensor.shape)
        spans = [
            _span(manifest, network, rank, axis) if axis in free else (side, side, side)
            for axis, side in enumerate(tensor.shape)
        ]
        smallest, usual, largest = (tuple(span[kind] for span in spans) for kind in range(3))
        ranges.append(InputRange(tensor.name, smallest, usual, largest))
    return tuple(ranges)


def _span(manifest: Manifest, network: Network, rank: int, axis: int) -> Span:
    """Lengths of one free axis."""
    multiple = manifest.encoder.multiple_of
    given, writer = manifest.instructions, manifest.writer
    if given is not None and network == given.text.network:
        return 1, min(16, given.text.most_tokens), given.text.most_tokens
    if writer is not None and network == writer.vision:
        series = max(1, len(manifest.channels))
        return 1, series, series
    spatial = axis - (rank - 3)
    if network == manifest.encoder:
        if rank < 5 or spatial < 0:
            return 1, 1, _MOST_COPIES
        largest = math.ceil(manifest.grid.tile_voxels[spatial] / multiple) * multiple
        return min(multiple, largest), largest, largest
    if rank < 5:
        return 1, 1, _MOST_TARGETS
    if spatial < 0:
        return 1, 1, _MOST_COPIES
    usual = math.ceil(manifest.grid.tile_voxels[spatial] / multiple)
    return 1, usual, _MOST_TILES * usual
