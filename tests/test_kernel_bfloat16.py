"""bfloat16 in and out of the kernels: rounded as IEEE 754 says, never mistaken for integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.errors import UsageError
from runtime.kernels import Bfloat16Array, kernel_names, open_kernels
from runtime.stages.prepare import Normalisation, prepare
from runtime.volume import Volume
from tests.test_kernel_prepare import run as run_prepare

MOST = settings(max_examples=200, deadline=None, derandomize=True, database=None)
LARGEST = 3.4028234663852886e38
WIDE = {"clamp_low": -LARGEST, "clamp_high": LARGEST}


def as_float(bits: NDArray[np.uint16]) -> NDArray[np.float64]:
    return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def nearest(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The nearest bfloat16 by float64 distances to the two around, the even one where they tie."""
    magnitude = np.abs(values).astype(np.float64)
    low = (np.abs(values).view(np.uint32) >> 16).astype(np.uint16)
    high = (low + 1).astype(np.uint16)
    upper = np.where(high == 0x7F80, 2.0**128, as_float(high))  # past the largest comes 2^128, as infinity
    below, above = magnitude - as_float(low), upper - magnitude
    up = (above < below) | ((above == below) & (low % 2 == 1))
    return np.where(up, high, low) | (np.signbit(values).astype(np.uint16) << 15)


def rounded(values: NDArray[np.float32], name: str, **changed: Any) -> NDArray[np.uint16]:
    """Values through an identity map; none is NaN or infinite, which stored voxels cannot be."""
    source = values.reshape(1, 1, -1)
    made = run_prepare(source, source.shape, np.eye(4), dtype="bfloat16", name=name, **{**WIDE, **changed})
    return np.asarray(made).ravel()


def hard_values() -> NDArray[np.float32]:
    """Every tie and its neighbours around some exponents, subnormals, the largest floats, both signs."""
    tops = [n << 7 | part for n in (0, 1, 90, 127, 200, 254) for part in (0, 1, 2, 63, 126, 127)]
    halves = [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF]
    bits = np.array([top << 16 | half for top in tops for half in halves], np.uint32)
    values = np.concatenate([bits.view(np.float32), -bits.view(np.float32)])
    assert np.isfinite(values).all()
    assert (np.abs(values) == np.float32(LARGEST)).any()
    return values


@pytest.mark.parametrize("name", kernel_names())
def test_prepare_rounds_bfloat16_to_nearest_even(name: str) -> None:
    values = hard_values()
    made = rounded(values, name)
    # -0 * 1 + 0 is +0: a stored minus zero loses its sign before it is rounded, in every result type.
    expected = nearest(np.where(values == 0, np.float32(0), values))
    assert np.array_equal(made, expected)
    assert (as_float(made) == np.inf).any()


@MOST
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=70))
def test_prepare_rounds_any_float_to_the_nearest_bfloat16(values: list[float]) -> None:
    given_values = np.array(values, np.float32) + np.float32(0)
    expected = nearest(given_values)
    for name in kernel_names():
        assert np.array_equal(rounded(given_values, name), expected)


@pytest.mark.parametrize("name", kernel_names())
@pytest.mark.parametrize("tilt", [0.0, 0.2])
def test_nan_and_infinity_stay_what_they_are(name: str, tilt: float) -> None:
    matrix = np.eye(4)
    matrix[0, 1], matrix[0, 3] = tilt, 50.0
    source = np.zeros((2, 3, 40), np.int16)
    for outside, expected in ((np.nan, None), (np.inf, 0x7F80), (-np.inf, 0xFF80)):
        made = run_prepare(source, source.shape, matrix, dtype="bfloat16", name=name, outside=outside)
        assert np.isnan(as_float(made)).all() if expected is None else (made == expected).all()


@pytest.mark.parametrize("name", kernel_names())
def test_argmax_and_label_read_bfloat16_scores_as_the_floats_they_are(name: str) -> None:
    random = np.random.default_rng(4)
    bits = (random.standard_normal((5, 6, 7, 40)).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    bits[2, 0, 0, :3] = [0x7FC0, 0x7F80, 0xFF80]  # NaN and both infinities
    floats = as_float(bits).astype(np.float32)
    table, values = open_kernels(name).table, np.arange(10, 15, dtype=np.uint8)
    chosen = []
    for scores in (floats, Bfloat16Array(bits)):
        plain, turned = np.empty((6, 7, 40), np.uint8), np.empty((9, 9, 50), np.uint8)
        table.argmax(scores, plain, values, 2)
        matrix = np.array([[0.6, 0.05, 0, 0], [0, 0.7, 0, 0.1], [0, 0, 0.75, 0.2]])
        work = np.empty(table.label_scratch(scores, turned, matrix, 2), np.uint8)
        table.label(scores, turned, matrix, values, 99, work, 2)
        chosen.append((plain, turned))
    for ours, same in zip(*chosen, strict=True):
        assert len(np.unique(ours)) >= 5
        assert np.array_equal(ours, same)


def test_prepare_stage_fills_a_bfloat16_channel() -> None:
    source = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    volume, bits = Volume(source, np.eye(4)), np.zeros((2, 3, 4), np.uint16)
    prepare(volume, volume.grid, Bfloat16Array(bits), Normalisation(3.0, 0.1), open_kernels())
    # 7 bits of fraction, wrong by half a unit in the last place: 2^-8 relative.
    np.testing.assert_allclose(as_float(bits), (source - 3.0) * 0.1, rtol=2**-8, atol=1e-7)
    with pytest.raises(UsageError, match="allocate it from the grid"):
        prepare(volume, volume.grid, Bfloat16Array(bits[:1]), Normalisation(0.0, 1.0), open_kernels())
    with pytest.raises(TypeError, match="float32, float16 or bfloat16"):
        prepare(volume, volume.grid, bits, Normalisation(0.0, 1.0), open_kernels())


def test_bfloat16_arrays_share_their_bits_and_refuse_others() -> None:
    bits = np.zeros((2, 3, 4), np.uint16)
    array = Bfloat16Array(bits)
    assert array.shape == (2, 3, 4)
    assert array.__dlpack_device__() == (1, 0)
    with pytest.raises(BufferError, match="copy `bits` first"):
        array.__dlpack__(copy=True)
    read_only = bits.copy()
    read_only.flags.writeable = False
    for wrong in (bits.T, bits[:, :, ::2], bits.astype(np.int16), bits.astype(np.float16), read_only, "bits"):
        with pytest.raises(TypeError, match="C-contiguous uint16"):
            Bfloat16Array(wrong).__dlpack__()


@pytest.mark.torch
def test_torch_reads_and_rounds_the_same_bfloat16() -> None:
    torch = pytest.importorskip("torch")
    bits, values = np.zeros(len(hard_values()), np.uint16), hard_values()
    shared = torch.from_dlpack(Bfloat16Array(bits))
    assert shared.dtype == torch.bfloat16
    shared.copy_(torch.from_numpy(values))
    assert np.array_equal(bits, nearest(values))
