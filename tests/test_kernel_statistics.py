"""The histogram kernel and the statistics stage."""

import itertools

import numpy as np
import pytest

from runtime.errors import ImageError
from runtime.kernels import kernel_names, open_kernels
from runtime.stages.statistics import statistics
from runtime.volume import Volume

EXACT = [np.int8, np.uint8, np.int16, np.uint16]


def histogram(source, name="cpu", threads=2):
    table, counts = open_kernels(name).table, np.full(65536, 77, np.uint64)
    missing = table.histogram(source, counts, np.empty(table.histogram_scratch(threads), np.uint8), threads)
    return counts, missing


def random_source(dtype, shape=(7, 31, 33)):
    limits = np.iinfo(dtype)
    return np.random.default_rng(0).integers(limits.min, limits.max, shape, dtype, endpoint=True)


@pytest.mark.parametrize("dtype", EXACT)
def test_histogram_is_exact_up_to_16_bits(dtype):
    source = random_source(dtype)
    for name, threads in itertools.product(kernel_names(), (1, 2, 5)):
        counts, missing = histogram(source, name, threads)
        expected = np.bincount(source.ravel().astype(np.int64) - np.iinfo(dtype).min, minlength=65536)
        np.testing.assert_array_equal(counts, expected)
        assert missing == 0


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_histogram_of_wide_types_keeps_order_and_counts_what_is_not_finite(dtype):
    source = np.ascontiguousarray(
        np.concatenate([random_source(np.int32), random_source(np.int16)]).astype(dtype)
    )
    if dtype == np.float32:
        source.ravel()[:6] = [np.nan, np.inf, -np.inf, -np.nan, -0.0, 0.0]
    wanted = source[np.isfinite(source)].astype(np.float32).view(np.uint32)
    key = np.where(wanted >> 31, ~wanted, wanted | np.uint32(0x80000000)) >> np.uint32(16)
    for name, threads in itertools.product(kernel_names(), (1, 4)):
        counts, missing = histogram(source, name, threads)
        np.testing.assert_array_equal(counts, np.bincount(key, minlength=65536))
        assert missing == (4 if dtype == np.float32 else 0)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_histogram_of_fewer_voxels_than_threads_misses_none(size):
    counts, _ = histogram(np.full((1, 1, size), 5, np.uint8), threads=4)
    assert counts[5] == size == counts.sum()


def test_histogram_refuses_wrong_arrays():
    table, source = open_kernels().table, np.zeros((3, 3, 3), np.int16)
    counts, scratch = np.empty(65536, np.uint64), np.empty(table.histogram_scratch(1), np.uint8)
    for wrong in (
        (source.astype(np.int64), counts, scratch), (source.T[:2], counts, scratch),
        (source, counts.astype(np.int64), scratch), (source, counts[:-1], scratch),
    ):  # fmt: skip
        with pytest.raises(TypeError):
            table.histogram(*wrong, 1)
    with pytest.raises(ValueError, match="scratch"):
        table.histogram(source, counts, scratch, 2)


@pytest.mark.parametrize("slope", [1.0, 0.25, -2.0])
@pytest.mark.parametrize("dtype", [np.int16, np.uint8])
def test_statistics_of_integers_equal_numpy(slope, dtype):
    source = random_source(dtype, (5, 17, 19))
    found = statistics(Volume(source, np.eye(4), slope, -3.0), open_kernels())
    values = slope * source.astype(np.float64) - 3.0
    limit = float(np.median(values))
    for q in (0, 0.5, 37.3, 50, 99.5, 100):
        assert found.percentile(q) == pytest.approx(np.percentile(values, q), rel=1e-12, abs=1e-9)
        assert found.percentile(q, limit) == pytest.approx(np.percentile(values[values > limit], q), abs=1e-9)
    assert found.mean() == pytest.approx(values.mean())
    assert found.mean(limit) == pytest.approx(values[values > limit].mean())
    assert (np.diff(found.lower) > 0).all()


@pytest.mark.parametrize("slope", [1.0, -0.5])
def test_statistics_of_floats_are_within_a_bin(slope):
    source = (np.random.default_rng(0).standard_normal((20, 30, 40)) * 50 + 20).astype(np.float32)
    source[0, 0, 0] = np.nan
    found = statistics(Volume(source, np.eye(4), slope, 0.0), open_kernels())
    values = slope * source[np.isfinite(source)].astype(np.float64)
    assert found.not_finite == 1
    for q in (0, 1, 50, 90, 100):
        expected = np.percentile(values, q)
        assert abs(found.percentile(q) - expected) <= abs(expected) * 2**-7 + 1e-3
    assert found.mean() == pytest.approx(values.mean(), rel=2**-7)


def test_otsu_splits_two_classes():
    random = np.random.default_rng(0)
    dark, bright = random.normal(100, 10, (10, 20, 30)), random.normal(300, 20, (10, 20, 30))
    both = np.concatenate([dark, bright])
    for dtype in (np.int16, np.float32):
        threshold = statistics(Volume(both.astype(dtype), np.eye(4)), open_kernels()).otsu()
        assert dark.max() * 0.95 < threshold < bright.min() * 1.05


def test_otsu_equals_the_brute_force_threshold():
    source = np.random.default_rng(3).gamma(2.0, 20.0, (8, 9, 10)).astype(np.uint8)

    def spread(threshold):
        low, high = source[source <= threshold], source[source > threshold]
        return low.size * high.size * (low.mean() - high.mean()) ** 2 if high.size else 0.0

    best = max(np.unique(source)[:-1], key=spread)
    assert statistics(Volume(source, np.eye(4)), open_kernels()).otsu() == best


def test_statistics_of_one_value():
    found = statistics(Volume(np.full((3, 3, 3), 4, np.int16), np.eye(4)), open_kernels())
    assert found.otsu() == found.percentile(50) == found.mean() == 4


def test_statistics_say_when_nothing_is_left():
    found = statistics(Volume(np.full((3, 3, 3), np.nan, np.float32), np.eye(4)), open_kernels())
    with pytest.raises(ImageError, match="no finite voxel"):
        found.mean()
