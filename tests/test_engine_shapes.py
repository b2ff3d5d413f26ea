"""A bundle tells which shapes its networks get, so that an engine can be built before the first study."""

from __future__ import annotations

import dataclasses

import numpy as np

from runtime.bundle import open_bundle
from runtime.engines.engine import InputRange
from runtime.engines.shapes import input_ranges
from runtime.stages.encode import tile_shape
from tests.tiny_bundle import tiny_manifest


def within(item: InputRange, shape: tuple[int, ...]) -> bool:
    return all(
        low <= side <= high for low, side, high in zip(item.smallest, shape, item.largest, strict=True)
    )


def test_shapes_of_the_shipped_bundle_hold_what_its_stages_make() -> None:
    manifest = open_bundle().manifest
    multiple, channels = manifest.encoder.multiple_of, len(manifest.channels)
    (image,) = input_ranges(manifest, manifest.encoder)
    assert image.name == "image"
    random = np.random.default_rng(0)
    for _ in range(200):  # grids of all sizes, cut into tiles as the stage does
        sides = random.integers(1, 40, 3) * multiple
        tile = tile_shape((int(sides[0]), int(sides[1]), int(sides[2])), manifest)
        assert within(image, (1, channels, *tile)), sides
    assert not within(image, (1, channels, *(2 * side for side in manifest.grid.tile_voxels)))
    given = manifest.instructions
    assert given is not None
    bottom, condition = input_ranges(manifest, given.decoder)  # `present` has no free axis
    coarse = [side // multiple for side in manifest.grid.tile_voxels]
    assert bottom.usual[2:] == tuple(coarse)
    assert within(condition, (1, channels, len(given.asked), condition.usual[3]))
    (ids,) = input_ranges(manifest, given.text.network)
    assert (ids.smallest, ids.largest) == ((1, 1), (1, given.text.most_tokens))


def test_shapes_lie_in_order_and_fixed_axes_stay() -> None:
    manifest = tiny_manifest()
    for network in (manifest.encoder, dataclasses.replace(manifest.encoder, file="other.onnx")):
        for item in input_ranges(manifest, network):
            tensor = next(tensor for tensor in network.inputs if tensor.name == item.name)
            sides = zip(tensor.shape, item.smallest, item.usual, item.largest, strict=True)
            for side, low, usual, high in sides:
                assert 1 <= low <= usual <= high
                assert side == 0 or side == low == high
