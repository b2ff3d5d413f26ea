"""Tiles add up to the whole, and a network that lies about its output is found out."""

from __future__ import annotations

import dataclasses
import itertools
from types import TracebackType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.bundle import Manifest, ModelGrid, Tensor
from runtime.engines.engine import EngineDescription
from runtime.errors import BundleError
from runtime.kernels import open_kernels
from runtime.stages.blend import tile_origins
from runtime.stages.encode import encode, encode_with_bottom, tile_shape
from tests.tiny_bundle import tiny_manifest

KERNELS = open_kernels("cpu", 1)


class Pointwise:
    """An engine whose features are linear in each voxel; remembers the tiles it saw."""

    def __init__(self, answer: str = "features", features: int = 4, cut: int = 0) -> None:
        self.weights = np.random.default_rng(1).standard_normal((features, 5)).astype(np.float32)
        self.tiles: list[tuple[int, ...]] = []
        self._answer, self._cut = answer, cut

    @property
    def description(self) -> EngineDescription:
        return EngineDescription("fake", "cpu", "fp32", "0", "test")

    def run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        image = inputs["image"]
        assert image.flags.c_contiguous
        assert image.dtype == np.float32
        self.tiles.append(image.shape)
        features = np.einsum("fc,ncijk->nfijk", self.weights, image)
        return {self._answer: features[..., : features.shape[-1] - self._cut]}

    def __enter__(self) -> Pointwise:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to free."""


def tiled(tile: tuple[int, int, int], overlap: float = 0.25) -> Manifest:
    manifest = tiny_manifest()
    grid = dataclasses.replace(manifest.grid, tile_voxels=tile, overlap=overlap)
    return dataclasses.replace(manifest, grid=grid)


def image(shape: tuple[int, int, int]) -> NDArray[np.float32]:
    return np.random.default_rng(0).random((5, *shape), np.float32)


@pytest.mark.parametrize("shape", [(16, 16, 16), (8, 16, 4)], ids=["equal", "smaller"])
def test_encode_takes_what_fits_in_one_tile_whole(shape: tuple[int, int, int]) -> None:
    engine, whole, told = Pointwise(), image(shape), list[float]()
    features = encode(whole, engine, tiled((16, 16, 16)), KERNELS, told.append)
    assert engine.tiles == [(1, 5, *shape)]
    assert np.array_equal(features, np.einsum("fc,cijk->fijk", engine.weights, whole))
    assert features.flags.c_contiguous
    assert told == [1.0]


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.75])
@pytest.mark.parametrize("shape", [(32, 16, 16), (20, 24, 28), (8, 40, 16)])
def test_encode_blends_tiles_into_the_whole(shape: tuple[int, int, int], overlap: float) -> None:
    engine, whole, told = Pointwise(), image(shape), list[float]()
    features = encode(whole, engine, tiled((16, 16, 16), overlap), KERNELS, told.append)
    wanted = np.einsum("fc,cijk->fijk", engine.weights, whole)
    # Sums of at most 27 weighted float32 values, each within 2^-24 of its own size (below 8).
    assert np.abs(features - wanted).max() < 8 * 27 * 2**-24
    assert len(engine.tiles) > 1
    assert set(engine.tiles) == {(1, 5, *tile_shape(shape, tiled((16, 16, 16), overlap)))}
    assert max(engine.tiles[0][2:]) <= 16
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) == len(engine.tiles)


@pytest.mark.parametrize("shape", [(16, 16, 16), (32, 16, 16)], ids=["whole", "tiles"])
@pytest.mark.parametrize(
    ("engine", "words"),
    [
        (Pointwise(answer="other"), "gave nothing for 'features'"),
        (Pointwise(features=3), r"gave \(1, 3, 16, 16, 16\)"),
        (Pointwise(cut=1), r"gave \(1, 4, 16, 16, 15\)"),
    ],
    ids=["name", "features", "shape"],
)
def test_encode_refuses_a_network_that_is_not_its_manifest(
    engine: Pointwise, words: str, shape: tuple[int, int, int]
) -> None:
    with pytest.raises(BundleError, match=rf"tiny-head: the network {words}.*export the bundle again"):
        encode(image(shape), engine, tiled((16, 16, 16)), KERNELS, lambda share: None)


class Pooling(Pointwise):
    """Has a second output: means of the features over 4 x 4 x 4 voxels."""

    def run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        (features,) = super().run(inputs).values()
        return {"features": features, "bottom": pooled(features[0])[None]}


def pooled(features: NDArray[np.float32]) -> NDArray[np.float32]:
    f, i, j, k = features.shape
    means = features.reshape(f, i // 4, 4, j // 4, 4, k // 4, 4).mean((2, 4, 6))
    return np.asarray(means, np.float32)


def with_bottom(tile: tuple[int, int, int], overlap: float = 0.25) -> Manifest:
    manifest = tiled(tile, overlap)
    outputs = (*manifest.encoder.outputs, Tensor("bottom", "float32", (1, 4, 0, 0, 0)))
    return dataclasses.replace(manifest, encoder=dataclasses.replace(manifest.encoder, outputs=outputs))


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.3, 0.75])
@pytest.mark.parametrize("shape", [(16, 16, 16), (32, 16, 16), (20, 24, 28), (8, 44, 16)])
def test_encode_blends_bottoms_into_that_of_the_whole(shape: tuple[int, int, int], overlap: float) -> None:
    engine, whole = Pooling(), image(shape)
    manifest = with_bottom((16, 16, 16), overlap)
    features, bottom = encode_with_bottom(whole, engine, manifest, KERNELS, lambda share: None)
    wanted = np.einsum("fc,cijk->fijk", engine.weights, whole)
    assert np.abs(features - wanted).max() < 8 * 27 * 2**-24
    assert bottom.shape == (1, 4, *(n // 4 for n in shape))
    # As the features; a mean of 64 values, each within 2^-24 of its own size, in another order.
    assert np.abs(bottom[0] - pooled(wanted)).max() < 8 * (27 + 64) * 2**-24


@pytest.mark.parametrize("shape", [(16, 16, 16), (32, 16, 16)], ids=["whole", "tiles"])
def test_encode_refuses_a_network_without_its_bottom(shape: tuple[int, int, int]) -> None:
    with pytest.raises(BundleError, match="gave nothing for 'bottom'"):
        encode_with_bottom(image(shape), Pointwise(), with_bottom((16, 16, 16)), KERNELS, lambda share: None)


@pytest.mark.parametrize("multiple", [4, 16])
@pytest.mark.parametrize("overlap", [0.0, 0.1, 0.25, 0.5])
def test_tile_origins_at_multiples_leave_no_gap(multiple: int, overlap: float) -> None:
    for tile in range(multiple, 9 * multiple, multiple):
        for length in range(multiple, 40 * multiple, multiple):
            starts = [d for d, _, _ in tile_origins((length, 1, 1), (tile, 1, 1), overlap, multiple)]
            assert all(start % multiple == 0 for start in starts)
            assert all(b - a <= tile for a, b in itertools.pairwise(starts))
            assert starts[0] == 0
            assert starts[-1] == max(0, length - tile)


@pytest.mark.parametrize(
    ("length", "wanted"), [(16, 16), (128, 128), (144, 96), (160, 96), (224, 128), (240, 112), (400, 128)]
)
def test_tile_shape_is_no_larger_than_it_must_be(length: int, wanted: int) -> None:
    manifest = dataclasses.replace(
        tiny_manifest(),
        grid=ModelGrid((1.5, 1.5, 1.5), (128, 128, 128), 0.25),
        encoder=dataclasses.replace(tiny_manifest().encoder, multiple_of=16),
    )
    side = tile_shape((length, 16, 16), manifest)[0]
    assert side == wanted
    most = tile_origins((length, 16, 16), (min(length, 128), 16, 16), 0.25)
    assert len(tile_origins((length, 16, 16), (side, 16, 16), 0.25)) == len(most)
