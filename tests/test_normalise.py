"""z-score and percentile channels: what MONAI and nnU-Net compute, from a histogram and one pass."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime import _kernels
from runtime.bundle import Channel
from runtime.errors import ImageError, UsageError
from runtime.kernels import kernel_names, open_kernels
from runtime.stages.normalise import channel_normalisation
from runtime.stages.prepare import Normalisation, prepare
from runtime.stages.statistics import statistics
from runtime.volume import Grid, Volume
from tests.test_kernel_prepare import STORED, aligned, oblique, random_source, reference, tolerance
from tests.test_kernel_prepare import run as run_prepare

KERNELS = open_kernels("cpu", 2)
WIDE = (-1e6, 1e6)
Z_SCORE = Channel("T1", "z_score", 0.0, 1.0, WIDE)
PERCENTILE = Channel("T2", "percentile", 1.0, 99.0, WIDE)
INTEGERS = [np.int8, np.uint8, np.int16, np.uint16]
MOST = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def shown(volume: Volume, channel: Channel, name: str = "cpu") -> NDArray[np.float32]:
    """The channel on the scan's own grid."""
    kernels = open_kernels(name, 2)
    into = np.empty(volume.voxels.shape, np.float32)
    prepare(volume, volume.grid, into, channel_normalisation(volume, channel, kernels), kernels)
    return into


def masked(dtype: Any, shape: tuple[int, ...] = (9, 14, 11), seed: int = 0) -> NDArray[Any]:
    """A scan over the middle of its type's range, one half of it blanked."""
    random = np.random.default_rng(seed)
    low, high = (-80, 100) if dtype == np.int8 else (20, 250)
    voxels = random.integers(low, high, shape).astype(dtype)
    voxels[:, : shape[1] // 2] = 0
    return voxels


def plain_z_score(voxels: NDArray[Any], slope: float, intercept: float) -> NDArray[np.float64]:
    """Straight from the definition."""
    values = slope * voxels.astype(np.float64) + intercept
    there = voxels != 0
    return np.where(there, (values - values[there].mean()) / values[there].std(), 0.0)


def rounding(volume: Volume, made: Normalisation) -> float:
    """float32 rounds the voxel, the gain, the bias and their sum: a few 2^-24 of the largest of them."""
    largest = float(np.abs(volume.voxels.astype(np.float64) * volume.slope).max())
    return 4 * 2.0**-24 * (largest + abs(volume.intercept - made.shift)) * abs(made.gain)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.25, -40.0), (-2.0, 7.0)])
def test_z_score_leaves_out_what_is_stored_as_zero(dtype: Any, slope: float, intercept: float) -> None:
    volume = Volume(masked(dtype), np.eye(4), slope, intercept)
    made = channel_normalisation(volume, Z_SCORE, KERNELS)
    values = slope * volume.voxels.astype(np.float64) + intercept
    there = values[volume.voxels != 0]
    # The counts are exact; what remains is float64 rounding.
    assert made.shift == made.empty == pytest.approx(there.mean(), rel=1e-13, abs=1e-13)
    assert 1 / made.gain == pytest.approx(there.std(), rel=1e-13)
    expected = plain_z_score(volume.voxels, slope, intercept)
    np.testing.assert_allclose(shown(volume, Z_SCORE), expected, rtol=0, atol=rounding(volume, made))
    assert np.abs(shown(volume, Z_SCORE)[volume.voxels == 0]).max() <= rounding(volume, made)


def test_z_score_goes_by_what_is_stored_not_by_rescaled_zero() -> None:
    # A rescaled 0 is water, where the intercept is -1024; a stored 0 is what nobody measured.
    voxels = np.array([0, 0, 1024, 1024, 1064, 984, 1104, 944], np.int16).reshape(2, 2, 2)
    volume = Volume(voxels, np.eye(4), 1.0, -1024.0)
    made = channel_normalisation(volume, Z_SCORE, KERNELS)
    assert made.shift == pytest.approx(np.mean([0, 0, 40, -40, 80, -80]))
    assert 1 / made.gain == pytest.approx(np.std([0, 0, 40, -40, 80, -80]))


def test_z_score_before_resampling_is_z_score_after_it() -> None:
    # nnU-Net and MONAI normalise first: blanked voxels then weigh as the mean, and so they do here.
    voxels = masked(np.int16)
    volume, affine = Volume(voxels, np.eye(4)), np.diag([0.7, 1.3, 0.6, 1.0])
    affine[:3, 3] = (1.1, 0.4, 2.2)
    grid = Grid((8, 9, 12), affine)
    made, into = channel_normalisation(volume, Z_SCORE, KERNELS), np.empty((8, 9, 12), np.float32)
    prepare(volume, grid, into, made, KERNELS)
    first = plain_z_score(voxels, 1.0, 0.0)
    expected = reference(first, grid.shape, affine, (1, 2, 1), outside=0.0)
    # One float32 rounding more for each weight and each of its sums.
    np.testing.assert_allclose(into, expected, rtol=0, atol=16 * rounding(volume, made))


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.25, -40.0), (-2.0, 7.0)])
def test_percentiles_become_zero_and_one(dtype: Any, slope: float, intercept: float) -> None:
    volume = Volume(masked(dtype), np.eye(4), slope, intercept)
    values = slope * volume.voxels.astype(np.float64) + intercept
    low, high = np.percentile(values, (1.0, 99.0))
    made = channel_normalisation(volume, PERCENTILE, KERNELS)
    assert made.shift == pytest.approx(low, rel=1e-13, abs=1e-12)
    assert 1 / made.gain == pytest.approx(high - low, rel=1e-12)
    assert made.empty is None
    expected = (values - low) / (high - low)
    np.testing.assert_allclose(shown(volume, PERCENTILE), expected, rtol=0, atol=rounding(volume, made))
    clipped = Channel("T2", "percentile", 1.0, 99.0, (0.0, 1.0))
    found = shown(volume, clipped)
    assert (found.min(), found.max()) == (0, 1)


@st.composite
def scans(draw: st.DrawFn) -> Volume:
    """Integers over any part of their range, blanked here and there."""
    dtype = np.dtype(draw(st.sampled_from(INTEGERS)))
    limits, random = np.iinfo(dtype), np.random.default_rng(draw(st.integers(0, 2**16)))
    low = draw(st.integers(limits.min, limits.max - 2))
    high = draw(st.integers(low + 1, limits.max))
    shape = draw(st.tuples(*[st.integers(1, 7)] * 3))
    voxels = random.integers(low, high, shape, dtype, endpoint=True)
    voxels[random.random(shape) < draw(st.sampled_from([0.0, 0.3]))] = 0
    slope = draw(st.sampled_from([1.0, -1.0, 0.1, 3.7])) * 10.0 ** draw(st.integers(-3, 3))
    return Volume(voxels, np.eye(4), slope, draw(st.floats(-2000, 2000)))


@MOST
@given(scans(), st.floats(0, 49), st.floats(51, 100))
def test_any_integer_scan_has_the_moments_and_percentiles_of_numpy(
    volume: Volume, low: float, high: float
) -> None:
    values = volume.slope * volume.voxels.astype(np.float64) + volume.intercept
    size = float(np.abs(values).max())
    counted, there = statistics(volume, KERNELS, nonzero=True), values[volume.voxels != 0]
    assert int(counted.counts.sum()) == there.size
    if there.size:
        assert counted.mean() == pytest.approx(there.mean(), abs=1e-12 * size)
        assert counted.deviation() == pytest.approx(there.std(), abs=1e-12 * size)
    whole = statistics(volume, KERNELS)
    assert whole.deviation() == pytest.approx(values.std(), abs=1e-12 * size)
    for q in (low, high):
        assert whole.percentile(q) == pytest.approx(np.percentile(values, q), abs=1e-12 * size)
    assert whole.resolution(size) == 0


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_wide_types_are_measured_within_a_bin(dtype: Any) -> None:
    voxels = np.random.default_rng(2).normal(400, 90, (20, 30, 20)).astype(dtype)
    voxels[:10] = -0.0
    if dtype == np.float32:
        voxels[0, 0] = np.nan
    there = voxels[(voxels != 0) & np.isfinite(voxels)].astype(np.float64)
    volume = Volume(voxels, np.eye(4))
    counted = statistics(volume, KERNELS, nonzero=True)
    assert int(counted.counts.sum()) == there.size
    made = channel_normalisation(volume, Z_SCORE, KERNELS)
    assert made.shift == pytest.approx(there.mean(), rel=2**-8)
    assert 1 / made.gain == pytest.approx(there.std(), abs=counted.resolution(600.0))
    assert np.abs(shown(volume, Z_SCORE)[:10]).max() < 1e-5  # NaN is blank too


@pytest.mark.parametrize("dtype", STORED)
@pytest.mark.parametrize("samples", [(1, 1, 1), (2, 3, 1)])
def test_kernel_counts_a_stored_zero_as_another_value(dtype: Any, samples: tuple[int, int, int]) -> None:
    source = random_source(dtype, (13, 9, 21))
    source[np.random.default_rng(1).random(source.shape) < 0.4] = 0
    if dtype == np.float32:
        source[3, 4, 5:9] = [np.nan, np.inf, -np.inf, -0.0]
    filled = np.where(np.isfinite(source) & (source != 0), source.astype(np.float64), 61.5)
    maps = [oblique(), aligned((2, 0, 1), (1, -1, 1), (1.3, 0.8, 1.1), source.shape)]
    for matrix in (*maps, np.eye(3, 4)):
        made = run_prepare(source, (11, 12, 40), matrix, samples, empty=61.5)
        expected = reference(filled, (11, 12, 40), matrix, samples)
        np.testing.assert_allclose(made, expected, rtol=0, atol=tolerance(filled))
        assert not np.array_equal(made, run_prepare(source, (11, 12, 40), matrix, samples))
        for name, threads in itertools.product(kernel_names(), (1, 3)):
            again = run_prepare(source, (11, 12, 40), matrix, samples, name=name, threads=threads, empty=61.5)
            assert again.tobytes() == made.tobytes()


def scan(values: Any, dtype: Any = np.int16, slope: float = 1.0) -> Volume:
    return Volume(np.asarray(values, dtype).reshape(2, 2, -1), np.eye(4), slope)


@pytest.mark.parametrize(
    ("channel", "made", "message"),
    [
        (Z_SCORE, scan([0] * 8), "the T1 scan: no voxel that is finite and not stored as 0"),
        (Z_SCORE, scan([np.nan, 0] * 4, np.float32), "the T1 scan: no voxel"),
        (Z_SCORE, scan([7] * 8), "the T1 scan: its voxels not stored as 0 are all 7"),
        (Z_SCORE, scan([0, 0, 7, 7, 7, 7, 0, 7], slope=0.3), r"are all 2\.1"),
        (Z_SCORE, scan([1000.0, 1000.5] * 4, np.float32), "too close to it"),
        (Z_SCORE, scan([1e-38, 2e-38] * 4, np.float32), "too close to it"),
        (PERCENTILE, scan([7] * 8), "the T2 scan: its percentiles 1 and 99 are both 7"),
        (PERCENTILE, scan([3.7] * 8, np.float32), "too close to it"),
        (PERCENTILE, scan([np.nan] * 8, np.float32), "the T2 scan: the scan has no finite voxel"),
        (PERCENTILE, scan([0, 0, 0, 0, 0, 0, 0, 1e-38], np.float32), "the T2 scan: its percentiles"),
    ],
)
def test_scans_that_show_nothing_are_refused_by_name(channel: Channel, made: Volume, message: str) -> None:
    with pytest.raises(ImageError, match=f"{message}.*; leave it out, with --as UID=other"):
        channel_normalisation(made, channel, KERNELS)


def test_numbers_that_are_not_finite_are_refused() -> None:
    with pytest.raises(UsageError, match="empty must be finite"):
        Normalisation(0.0, 1.0, empty=np.nan)
    with pytest.raises(ValueError, match="empty must be finite in float32"):
        _kernels.Intensity(
            slope=1, intercept=0, shift=0, gain=1, clamp_low=0, clamp_high=1, outside=0, empty=1e39
        )
