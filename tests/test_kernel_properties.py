"""What holds of every kernel for any shape, orientation, affine map and intensity."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.kernels import kernel_names
from tests.test_kernel_label import plain as plain_label
from tests.test_kernel_label import run as run_label
from tests.test_kernel_prepare import STORED, reference, tolerance
from tests.test_kernel_prepare import run as run_prepare

MOST = settings(max_examples=80, deadline=None, derandomize=True, database=None)
SHAPES = st.tuples(*[st.integers(1, 9)] * 3)
ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))
EXTREME = (0.0, -0.0, 1e-40, -3e38, 3e38, np.nan, np.inf, -np.inf, 1.0, 123456.75)

assert len(ORIENTATIONS) == 48


@st.composite
def maps(draw: st.DrawFn, source: tuple[int, ...]) -> NDArray[np.float64]:
    """Result index to source index: any orientation and scale, sometimes sheared or turned."""
    permutation, signs = draw(st.sampled_from(ORIENTATIONS))
    matrix = np.zeros((3, 4))
    for axis, (row, sign) in enumerate(zip(permutation, signs, strict=True)):
        matrix[row, axis] = sign * draw(st.floats(0.2, 2.5))
        matrix[row, 3] = draw(st.floats(-1.0, 1.0)) + (0 if sign > 0 else source[row] - 1)
    if draw(st.booleans()):
        for row, axis in itertools.product(range(3), repeat=2):
            matrix[row, axis] += draw(st.floats(-0.3, 0.3))
    return matrix


@st.composite
def sources(draw: st.DrawFn) -> NDArray[Any]:
    """A scan of any stored type over its whole range, damaged floats included."""
    dtype = np.dtype(draw(st.sampled_from(STORED)))
    shape, random = draw(SHAPES), np.random.default_rng(draw(st.integers(0, 2**16)))
    if dtype.kind == "f":
        usual = (random.standard_normal(shape) * 10.0 ** draw(st.integers(-3, 6))).astype(dtype)
        odd = random.choice(np.array(EXTREME, dtype), shape)
        return np.where(random.random(shape) < draw(st.sampled_from([0.0, 0.2])), odd, usual)
    limits = np.iinfo(dtype)
    return random.integers(limits.min, limits.max, shape, dtype, endpoint=True)


@MOST
@given(st.data())
def test_prepare_is_its_definition_and_the_same_bits_everywhere(data: st.DataObject) -> None:
    source = data.draw(sources())
    shape = data.draw(SHAPES)
    matrix = data.draw(maps(source.shape))
    samples = data.draw(st.tuples(*[st.integers(1, 4)] * 3))
    wide = {"clamp_low": -3.4e38, "clamp_high": 3.4e38}
    result = run_prepare(source, shape, matrix, samples, **wide)
    # Positions are exact in float64 and weights rounded once to float32, so an interpolation is
    # within a few roundings of the largest voxel; sums that leave float32 are clamped.
    expected = np.clip(reference(source, shape, matrix, samples), -3.4e38, 3.4e38)
    np.testing.assert_allclose(result, expected, rtol=0, atol=2 * tolerance(source) + 1e-37)
    for name, threads in itertools.product(kernel_names(), (1, 3)):
        again = run_prepare(source, shape, matrix, samples, name=name, threads=threads, **wide)
        assert again.tobytes() == result.tobytes()


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_prepare_of_every_orientation_only_moves_voxels(orientation: Any) -> None:
    permutation, signs = orientation
    source = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    expected = source.transpose(permutation)[tuple(slice(None, None, sign) for sign in signs)]
    matrix = np.zeros((3, 4))
    for axis, (row, sign) in enumerate(zip(permutation, signs, strict=True)):
        matrix[row, axis], matrix[row, 3] = sign, 0 if sign > 0 else source.shape[row] - 1
    assert np.array_equal(run_prepare(source, expected.shape, matrix), expected.astype(np.float32))


@MOST
@given(st.data())
def test_label_is_its_definition_and_the_same_bits_everywhere(data: st.DataObject) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    classes, dtype = data.draw(st.integers(2, 9)), data.draw(st.sampled_from([np.float32, np.float16]))
    score_shape, shape = data.draw(SHAPES), data.draw(SHAPES)
    scores = (random.standard_normal((classes, *score_shape)) * 3).astype(dtype)
    kind = data.draw(st.sampled_from(["plain", "ties", "odd"]))
    if kind == "ties":  # few values: neighbouring classes tie everywhere
        scores = np.round(scores / 3).astype(dtype)
    if kind == "odd":
        odd = random.choice(np.array([np.nan, np.inf, -np.inf, 6e4, -6e4], dtype), scores.shape)
        scores = np.where(random.random(scores.shape) < 0.1, odd, scores)
    matrix = data.draw(maps(score_shape))
    values = random.permutation(200)[:classes].astype(np.uint8)
    with np.errstate(invalid="ignore", over="ignore"):
        expected = plain_label(scores, shape, matrix, values)
    for name, threads in itertools.product(kernel_names(), (1, 3)):
        assert np.array_equal(run_label(scores, shape, matrix, values, name, threads), expected)
