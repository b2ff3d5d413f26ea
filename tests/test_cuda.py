"""CUDA kernels make the bits of the CPU's: on a device where there is one, and emulated anywhere."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from runtime import _kernels
from runtime.cuda.table import CudaTable
from runtime.errors import DeviceError
from runtime.kernels import Bfloat16Array, open_kernels
from tests.cuda_emulator import KINDS, real_table, table_under_test

CPU = open_kernels("cpu_baseline", 1).table
STORED = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.float32]
INTENSITY = {"slope": 0.7, "intercept": 3.0, "shift": 40.0, "gain": 0.37, "outside": -7.0}


@pytest.fixture(scope="module", params=KINDS)
def cuda(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CudaTable]:
    """The table under test."""
    yield from table_under_test(request.param, tmp_path_factory)


def noise(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    if np.issubdtype(dtype, np.floating):
        return (random.standard_normal(shape) * 100).astype(dtype)
    limits = np.iinfo(dtype)
    return random.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def aligned(permutation: Any, signs: Any, steps: Any, source: Any, shift: float = 0.13) -> np.ndarray:
    matrix = np.zeros((3, 4))
    for axis, (source_axis, sign, step) in enumerate(zip(permutation, signs, steps, strict=True)):
        matrix[source_axis, axis] = sign * step
        matrix[source_axis, 3] = shift if sign > 0 else source[source_axis] - 1 - shift
    return matrix


def oblique(steps: Any, shift: Any = (0.4, 2.1, -0.6)) -> np.ndarray:
    a, b = np.deg2rad([17.0, -31.0])
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn = turn @ np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return np.hstack([turn * np.array(steps), np.array(shift)[:, None]])


def every_map(steps: Any, source: Any) -> Iterator[np.ndarray]:
    yield oblique(steps)
    for permutation in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            yield aligned(permutation, signs, steps, source)


def as_dtype(bits: Any, dtype: Any) -> Any:
    """NumPy has no bfloat16: its arrays are made of uint16."""
    return Bfloat16Array(bits) if dtype == "bfloat16" else bits


def same_prepare(
    cuda: CudaTable, source: Any, shape: Any, matrix: Any, samples: Any, dtype: Any, empty: float = 0.0
) -> None:
    intensity = _kernels.Intensity(**INTENSITY, clamp_low=-1e30, clamp_high=1e30, empty=empty)
    expected = np.empty(shape, np.uint16 if dtype == "bfloat16" else dtype)
    into = as_dtype(expected, dtype)
    scratch = np.empty(CPU.prepare_scratch(source, into, matrix, samples, 1), np.uint8)
    CPU.prepare(source, into, matrix, samples, intensity, scratch, 1)
    given, made = cuda.to_device(source), cuda.empty(shape, expected.dtype)
    into = as_dtype(made, dtype)
    work = cuda.empty((cuda.prepare_scratch(given, into, matrix, samples, 1),), np.uint8)
    cuda.prepare(given, into, matrix, samples, intensity, work, 1)
    np.testing.assert_array_equal(cuda.to_host(made).view(np.uint8), expected.view(np.uint8))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, "bfloat16"])
@pytest.mark.parametrize("stored", STORED)
def test_cuda_prepare_makes_the_bits_of_the_cpu_for_every_type(cuda, stored, dtype):
    source = noise((9, 12, 17), stored)
    if stored == np.float32:
        source[2, 3, 4:8] = [np.nan, np.inf, -np.inf, 3e38]
    maps = (aligned((2, 0, 1), (1, -1, 1), (1.31, 0.77, 2.03), source.shape), oblique((0.9, 1.2, 0.7)))
    source[:, 5] = 0
    for matrix, samples in itertools.product(maps, ((1, 1, 1), (3, 1, 2))):
        same_prepare(cuda, source, (11, 10, 37), matrix, samples, dtype)
        same_prepare(cuda, source, (11, 10, 37), matrix, samples, dtype, empty=55.5)


def test_cuda_prepare_makes_the_bits_of_the_cpu_for_every_orientation(cuda):
    source = noise((9, 12, 17), np.int16)
    for matrix in every_map((1.31, 0.55, 0.83), source.shape):
        same_prepare(cuda, source, (7, 13, 35), matrix, (2, 1, 1), np.float32)


def test_cuda_prepare_makes_the_bits_of_the_cpu_for_many_samples(cuda):
    source = noise((60, 9, 40), np.int16)
    for matrix in every_map((19.4, 0.9, 6.5), source.shape):
        samples = (12, 1, 7) if np.count_nonzero(matrix[:, :3]) > 3 else (20, 1, 7)
        same_prepare(cuda, source, (3, 5, 6), matrix, samples, np.float32)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 70, 1), (70, 1, 33), (3, 2, 65)])
@pytest.mark.parametrize("source", [(1, 1, 1), (1, 6, 1), (2, 2, 2)])
def test_cuda_prepare_makes_the_bits_of_the_cpu_for_thin_shapes(cuda, source, shape):
    for matrix in (np.hstack([np.eye(3) * 0.4, [[-0.4]] * 3]), oblique((0.3, 0.3, 0.3)), np.eye(3, 4) * 9):
        same_prepare(cuda, noise(source, np.uint8), shape, matrix, (1, 2, 4), np.float32)


def scans(stored: Any) -> Iterator[np.ndarray]:
    wide, narrow = noise((3, 211, 437), stored), noise((1, 1, 1), stored)  # more than two blocks' voxels
    yield wide
    yield np.full((2, 90, 1000), narrow[0, 0, 0], stored)
    yield noise((1, 1, 7), stored)
    scan = (noise((5, 300, 211), np.float32, 3) * 4).clip(-128, 127 if stored == np.int8 else 400)
    scan[:2] = 0
    yield np.ascontiguousarray(scan.clip(0) if np.dtype(stored).kind == "u" else scan).astype(stored)
    if stored == np.float32:
        wide.ravel()[::5] = np.nan
        wide.ravel()[1::7] = np.inf
        wide[1, 0] = -np.inf
        yield wide
        yield np.full((1, 3, 40000), np.nan, np.float32)


@pytest.mark.parametrize("stored", STORED)
def test_cuda_histogram_counts_what_the_cpu_counts(cuda, stored):
    for source in scans(stored):
        expected = np.empty(65536, np.uint64)
        missing = CPU.histogram(source, expected, np.empty(CPU.histogram_scratch(1), np.uint8), 1)
        counts = cuda.to_device(np.full(65536, 77, np.uint64))
        scratch = cuda.empty((cuda.histogram_scratch(1),), np.uint8)
        assert cuda.histogram(cuda.to_device(source), counts, scratch, 1) == missing
        np.testing.assert_array_equal(cuda.to_host(counts), expected)


@pytest.mark.parametrize("classes", [1, 3])
def test_cuda_blend_makes_the_bits_of_the_cpu(cuda, classes):
    tile, whole = (4, 5, 9), (7, 11, 40)
    weight = np.abs(noise(tile, np.float32, 1))
    total, weights = np.zeros((classes, *whole), np.float32), np.zeros(whole, np.float32)
    on_device = [cuda.to_device(array) for array in (weight, total, weights)]
    for n, origin in enumerate([(0, 0, 0), (3, 6, 31), (1, 2, 3), (2, 2, 11), (1, 0, 3)]):
        scores = noise((classes, *tile), np.float32, n)
        CPU.blend_add(scores, weight, total, weights, origin, 1)
        cuda.blend_add(cuda.to_device(scores), *on_device, origin, 1)
    CPU.blend_normalise(total, weights, 1)
    cuda.blend_normalise(*on_device[1:], 1)
    np.testing.assert_array_equal(cuda.to_host(on_device[1]).view(np.uint32), total.view(np.uint32))
    np.testing.assert_array_equal(cuda.to_host(on_device[2]).view(np.uint32), weights.view(np.uint32))
    assert (total == 0).any()
    assert (total != 0).any()


def rough_scores(classes: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Smooth enough for decided cells, coarse enough for ties, with some that are not finite."""
    index = np.indices(shape).sum(0)
    scores = np.stack([np.round(4 * np.sin(index * 0.21 + c)) + (index % 7 == c) for c in range(classes)])
    random = np.random.default_rng(classes)
    for bad in (np.nan, np.inf, -np.inf):
        scores[:, random.random(shape) < 0.01] = bad
    if dtype == "bfloat16":  # cut off: a NaN stays one, as numpy's has its bits at the top
        return np.ascontiguousarray((scores.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16))
    return np.ascontiguousarray(scores.astype(dtype))


def shuffled(classes: int, dtype: Any = np.uint8) -> np.ndarray:
    values = np.random.default_rng(5).permutation(np.arange(classes, dtype=dtype))
    return values if dtype == np.uint8 else values * dtype(257)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, "bfloat16"])
@pytest.mark.parametrize(("classes", "label"), [(2, np.uint8), (9, np.uint16), (255, np.uint8)])
def test_cuda_argmax_makes_the_bits_of_the_cpu(cuda, classes, label, dtype):
    scores, values = rough_scores(classes, (5, 11, 23), dtype), shuffled(classes, label)
    expected = np.empty(scores.shape[1:], label)
    CPU.argmax(as_dtype(scores, dtype), expected, values, 1)
    made = cuda.empty(expected.shape, label)
    cuda.argmax(as_dtype(cuda.to_device(scores), dtype), made, cuda.to_device(values), 1)
    np.testing.assert_array_equal(cuda.to_host(made), expected)


def cell_maps(scratch: np.ndarray, address: int, voxels: int) -> list[np.ndarray]:
    """Guarded winners and cells, at the start of the scratch of a label call; each on a line of 64 bytes."""
    first = -address % 64
    second = first + voxels + -voxels % 64
    return [scratch[start : start + voxels] for start in (first, second)]


def same_label(
    cuda: CudaTable, scores: Any, shape: Any, matrix: Any, label: Any = np.uint8, dtype: Any = None
) -> None:
    values, expected = shuffled(len(scores), label), np.empty(shape, label)
    source = as_dtype(scores, dtype)
    scratch = np.empty(CPU.label_scratch(source, expected, matrix, 1), np.uint8)
    CPU.label(source, expected, matrix, values, 99, scratch, 1)
    given, made = as_dtype(cuda.to_device(scores), dtype), cuda.empty(shape, label)
    work = cuda.empty((cuda.label_scratch(given, made, matrix, 1),), np.uint8)
    cuda.label(given, made, matrix, cuda.to_device(values), 99, work, 1)
    np.testing.assert_array_equal(cuda.to_host(made), expected)
    voxels = scores[0].size
    maps = zip(
        cell_maps(cuda.to_host(work), work.address, voxels),
        cell_maps(scratch, scratch.ctypes.data, voxels),
        strict=True,
    )
    for on_device, on_cpu in maps:
        np.testing.assert_array_equal(on_device, on_cpu)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, "bfloat16"])
def test_cuda_label_makes_the_bits_of_the_cpu_for_every_orientation(cuda, dtype):
    scores = rough_scores(6, (9, 11, 13), dtype)
    for matrix in every_map((0.45, 0.62, 0.31), scores.shape[1:]):
        same_label(cuda, scores, (19, 17, 41), matrix, dtype=dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_cuda_label_makes_the_bits_of_the_cpu_above_255(cuda, dtype):
    scores = rough_scores(6, (9, 11, 13), dtype)
    same_label(cuda, scores, (11, 12, 35), oblique((0.7, 0.6, 0.4)), np.uint16, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(("features", "classes"), [(1, 2), (16, 14)])
def test_cuda_label_of_features_makes_the_bits_of_the_cpu(cuda, features, classes, dtype):
    given = (
        rough_scores(features, (9, 11, 13), dtype),
        noise((classes, features), np.float32),
        noise((classes,), np.float32, 1),
    )
    shape, label = (11, 12, 35), np.uint16 if features == 1 else np.uint8
    values, expected = shuffled(classes, label), np.empty(shape, label)
    scores, device_scores = CPU.mask_scores(*given), cuda.mask_scores(*map(cuda.to_device, given))
    made, device_values = cuda.empty(shape, label), cuda.to_device(values)
    for matrix in (oblique((0.7, 0.6, 0.4)), aligned((2, 0, 1), (1, -1, 1), (0.4, 0.9, 0.8), (9, 11, 13))):
        scratch = np.empty(CPU.label_scratch(scores, expected, matrix, 1), np.uint8)
        CPU.label(scores, expected, matrix, values, 99, scratch, 1)
        work = cuda.empty((cuda.label_scratch(device_scores, made, matrix, 1),), np.uint8)
        cuda.label(device_scores, made, matrix, device_values, 99, work, 1)
        np.testing.assert_array_equal(cuda.to_host(made), expected)


@pytest.mark.parametrize("columns", [8, 10])
@pytest.mark.parametrize(("classes", "label"), [(5, np.uint8), (14, np.uint16), (255, np.uint8)])
def test_cuda_label_gathers_what_the_cpu_does(cuda, classes, label, columns):
    given = (
        rough_scores(4, (6, 7, 9), np.float16),
        noise((classes, 4), np.float32),
        noise((classes,), np.float32, 1),
    )
    shape, values = (9, 8, 21), shuffled(classes, label)
    device = [cuda.to_device(array) for array in given]
    stored = rough_scores(classes, (6, 7, 9), np.float32)
    pairs = [(stored, cuda.to_device(stored)), (CPU.mask_scores(*given), cuda.mask_scores(*device))]
    maps = (oblique((0.7, 0.6, 0.4)), aligned((2, 0, 1), (1, -1, 1), (0.4, 0.9, 0.8), (6, 7, 9), -0.9))
    for (scores, on_device), matrix in itertools.product(pairs, maps):
        expected, table = np.empty(shape, label), np.full((classes, columns), -5, np.int64)
        scratch = np.empty(CPU.label_scratch(scores, expected, matrix, 1), np.uint8)
        CPU.label(scores, expected, matrix, values, 99, scratch, 1, table)
        made, gathered = cuda.empty(shape, label), cuda.to_device(np.full_like(table, 77))
        work = cuda.empty((cuda.label_scratch(on_device, made, matrix, 1),), np.uint8)
        cuda.label(on_device, made, matrix, cuda.to_device(values), 99, work, 1, gathered)
        np.testing.assert_array_equal(cuda.to_host(made), expected)
        np.testing.assert_array_equal(cuda.to_host(gathered), table)
        assert table[:, 0].sum() > 0


@pytest.mark.parametrize("size", [(1, 1, 1), (1, 7, 2), (5, 1, 9), (2, 3, 1), (3, 3, 33)])
def test_cuda_label_makes_the_bits_of_the_cpu_for_thin_scores(cuda, size):
    for matrix in (aligned((0, 1, 2), (1, 1, 1), (0.4, 0.3, 0.2), size, -0.7), oblique((0.3, 0.3, 0.3))):
        same_label(cuda, rough_scores(3, size, np.float32), (5, 6, 35), matrix)


def test_cuda_label_makes_the_bits_of_the_cpu_with_255_classes(cuda):
    scores = noise((255, 5, 6, 7), np.float32)
    same_label(cuda, scores, (9, 10, 33), aligned((0, 1, 2), (1, 1, 1), (0.5, 0.5, 0.2), (5, 6, 7)))


@pytest.mark.gpu
def test_cuda_device_out_of_memory_says_so():
    table = real_table()
    with pytest.raises(DeviceError, match=r"OUT_OF_MEMORY.*close other programs"):
        table.empty((1 << 50,), np.uint8)
    assert table.built
