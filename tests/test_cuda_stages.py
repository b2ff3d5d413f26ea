"""Stages are one text for CPU and device: with the kernels of a device they give the bits of the CPU."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from runtime.bundle import Manifest, open_bundle
from runtime.cuda.arrays import DeviceArray
from runtime.cuda.table import CudaTable
from runtime.errors import DeviceError, UsageError
from runtime.kernels import Kernels, open_kernels
from runtime.stages.blend import Blend, gaussian_weight
from runtime.stages.encode import encode_with_bottom
from runtime.stages.label import label, label_into
from runtime.stages.locate import model_grid
from runtime.stages.prepare import Normalisation, prepare
from runtime.stages.statistics import statistics
from runtime.volume import Grid, Volume
from tests.cuda_emulator import KINDS, table_under_test

CPU = open_kernels("cpu_baseline", 1)


@pytest.fixture(scope="module", params=KINDS)
def kernels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernels]:
    """The kernels under test."""
    for table in table_under_test(request.param, tmp_path_factory):
        yield Kernels(table, 1)


def scan(slope: float = 1.0) -> Volume:
    """A bright ball in the dark, 4 mm voxels."""
    shape = (40, 42, 44)
    place = np.indices(shape).reshape(3, -1).T - np.array(shape) / 2
    inside = (np.linalg.norm(place, axis=1) < 18).reshape(shape)
    noise = np.random.default_rng(8).integers(0, 60, shape)
    return Volume((inside * 800 + noise).astype(np.int16), np.diag([4.0, -4.0, 4.0, 1.0]), slope, -20.0)


GRID = Grid((15, 17, 19), np.diag([7.0, -6.0, 5.0, 1.0]))
NORMALISATION = Normalisation(100.0, 0.01, -1.0, 5.0, outside=-1.0)


def test_stage_prepare_makes_the_bits_of_the_cpu(kernels: Kernels) -> None:
    into, expected = kernels.zeros((2, *GRID.shape), np.float32), np.zeros((2, *GRID.shape), np.float32)
    prepare(scan(), GRID, into[1], NORMALISATION, kernels)
    prepare(scan(), GRID, expected[1], NORMALISATION, CPU)
    np.testing.assert_array_equal(kernels.to_host(into), expected)
    assert len(np.unique(expected)) > 100


@pytest.mark.parametrize("slope", [0.5, -2.0])
def test_stage_statistics_counts_what_the_cpu_counts(kernels: Kernels, slope: float) -> None:
    found, expected = statistics(scan(slope), kernels), statistics(scan(slope), CPU)
    np.testing.assert_array_equal(found.counts, expected.counts)
    np.testing.assert_array_equal(found.lower, expected.lower)
    assert found.otsu() == expected.otsu()


@pytest.mark.parametrize("is_ct", [True, False])
def test_stage_locate_finds_the_grid_of_the_cpu(kernels: Kernels, is_ct: bool) -> None:
    model = open_bundle().manifest.grid
    found, expected = (model_grid(scan(), is_ct, model, 16, which) for which in (kernels, CPU))
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found.affine, expected.affine)


def test_stage_blend_makes_the_bits_of_the_cpu_from_tiles_of_host_and_device(kernels: Kernels) -> None:
    tile = (6, 7, 8)
    tiles = np.random.default_rng(3).standard_normal((2, 2, *tile)).astype(np.float32)
    results = []
    for which in (kernels, CPU):
        blend = Blend(2, (9, 9, 9), gaussian_weight(tile), which)
        blend.add(tiles[0], (0, 0, 0))
        blend.add(which.placed(tiles[1]), (3, 1, 1))
        results.append(which.to_host(blend.result()))
    np.testing.assert_array_equal(*results)


class Doubling:
    """An engine whose features, and coarse map, are its input many times over."""

    def __init__(self, manifest: Manifest) -> None:
        self._network = manifest.encoder

    def run(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        first = arrays[self._network.inputs[0].name][:, :1] * np.float32(1.7)
        every = self._network.multiple_of
        coarse = first[:, :, ::every, ::every, ::every]
        features, bottom = self._network.outputs
        return {
            features.name: np.repeat(first, features.shape[1], axis=1),
            bottom.name: np.repeat(coarse, bottom.shape[1], axis=1),
        }


@pytest.mark.parametrize("shape", [(32, 32, 32), (16, 16, 176)])
def test_stage_encode_makes_the_bits_of_the_cpu_in_one_tile_and_in_several(
    kernels: Kernels, shape: tuple[int, int, int]
) -> None:
    manifest = open_bundle().manifest
    engine, channels = Doubling(manifest), len(manifest.channels)
    image = np.random.default_rng(1).random((channels, *shape), np.float32)
    found = encode_with_bottom(kernels.placed(image), engine, manifest, kernels, lambda _: None)
    expected = encode_with_bottom(image, engine, manifest, CPU, lambda _: None)
    for one, other in zip(found, expected, strict=True):
        assert isinstance(one, np.ndarray)
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_stage_label_makes_the_bits_of_the_cpu_from_scores_of_host_and_device(
    kernels: Kernels, dtype: type
) -> None:
    smooth = np.indices(GRID.shape).sum(0) * 0.4
    scores = np.stack([np.sin(smooth + n) for n in range(5)]).astype(dtype)
    values = np.array([9, 3, 1, 7, 5], np.uint8)
    expected = label(scores, GRID, scan().grid, values, CPU)
    for given in (scores, kernels.placed(scores)):
        np.testing.assert_array_equal(label(given, GRID, scan().grid, values, kernels), expected)
    assert len(np.unique(expected)) == 5


def test_stage_label_refuses_a_result_of_another_shape() -> None:
    scores, values = np.zeros((2, *GRID.shape), np.float32), np.arange(2, dtype=np.uint8)
    with pytest.raises(UsageError, match=r"its grid .*allocate it from the grid"):
        label_into(np.zeros(GRID.shape, np.uint8), scores, GRID, scan().grid, values, CPU)


def test_kernels_place_arrays_where_they_work(kernels: Kernels) -> None:
    values = np.arange(12, dtype=np.int16).reshape(3, 4)
    there = kernels.placed(values)
    assert isinstance(there, DeviceArray)
    assert kernels.placed(there) is there
    np.testing.assert_array_equal(kernels.to_host(there), values)
    assert kernels.to_host(values) is values
    assert isinstance(kernels.scratch(7), DeviceArray)
    assert isinstance(kernels.cuda, CudaTable)


def test_kernels_of_the_cpu_copy_nothing() -> None:
    values = np.arange(12, dtype=np.int16).reshape(3, 4)
    assert CPU.placed(values) is values
    assert CPU.to_host(values) is values
    assert (CPU.empty((2, 3), np.float16).shape, CPU.scratch(7).nbytes) == ((2, 3), 7)
    assert not CPU.zeros((2, 3), np.float16).any()
    with pytest.raises(DeviceError, match="cpu_baseline runs on the CPU; give the kernels of a CUDA device"):
        _ = CPU.cuda
