"""The argmax and label kernels and the label stage against the plain float32 definition, bit for bit."""

import itertools

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from runtime.errors import UsageError
from runtime.kernels import kernel_names, open_kernels
from runtime.stages.label import label
from runtime.volume import Grid

ONE = np.float32(1)


def random_scores(classes, shape=(9, 11, 13), dtype=np.float32, seed=0, sigma=1.5):
    random = np.random.default_rng(seed)
    scores = random.standard_normal((classes, *shape))
    scores = gaussian_filter(scores, (0, sigma, sigma, sigma)) * 10
    return np.ascontiguousarray(scores.astype(dtype))


def aligned(permutation=(0, 1, 2), signs=(1, 1, 1), steps=(0.45, 0.62, 0.31), shape=(9, 11, 13), offset=-0.7):
    matrix = np.zeros((3, 4))
    for axis, (score_axis, sign, step) in enumerate(zip(permutation, signs, steps, strict=True)):
        matrix[score_axis, axis] = sign * step
        matrix[score_axis, 3] = offset if sign > 0 else shape[score_axis] - 1 - offset
    return matrix


def oblique():
    a = np.deg2rad(20.0)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0.1], [0, 0.05, 1]])
    return np.hstack([turn * 0.5, [[1.0], [-0.5], [0.2]]])


def run(scores, shape, matrix, values, name="cpu", threads=2, outside=99):
    table, result = open_kernels(name).table, np.empty(shape, values.dtype)
    scratch = np.empty(table.label_scratch(scores, result, matrix, threads), np.uint8)
    table.label(scores, result, matrix, values, outside, scratch, threads)
    return result


def places(matrix, axis, index, size):
    """Cell and part along one score axis, in the arithmetic the header states."""
    row = matrix[axis]
    at = row[0] * index[0] + row[1] * index[1] + row[2] * index[2] + row[3]
    inside = (at >= -0.500001) & (at <= size - 1 + 0.500001)
    at = np.clip(at, 0, size - 1)
    low = np.clip(at.astype(np.int64), 0, max(size - 2, 0))
    return low, (at - low).astype(np.float32), inside


def mix(a, b, t):
    return a * (ONE - t) + b * t


def plain(scores, shape, matrix, values, outside=99):
    """The definition: full-resolution float32 scores, then the first best class."""
    index = np.indices(shape).astype(np.float64)
    size = scores.shape[1:]
    (d, z, in_d), (h, y, in_h), (w, x, in_w) = [places(matrix, n, index, size[n]) for n in range(3)]
    up = [np.minimum(low + 1, n - 1) for low, n in zip((d, h, w), size, strict=True)]
    best = np.full(shape, -np.inf, np.float32)
    winner = np.zeros(shape, np.int64)
    with np.errstate(invalid="ignore"):
        for c, score in enumerate(scores.astype(np.float32)):
            columns = [
                [mix(score[d, hh, ww], score[up[0], hh, ww], z) for hh in (h, up[1])] for ww in (w, up[2])
            ]
            full = mix(mix(*columns[0], y), mix(*columns[1], y), x)
            wins = full > best
            best, winner = np.where(wins, full, best), np.where(wins, c, winner)
    return np.where(in_d & in_h & in_w, values[winner], outside).astype(values.dtype)


def every_map():
    yield oblique()
    for permutation in itertools.permutations(range(3)):
        for signs in ((1, 1, 1), (-1, 1, -1)):
            yield aligned(permutation, signs)


def shuffled(classes):
    return np.random.default_rng(5).permutation(np.arange(classes, dtype=np.uint8))


@pytest.mark.parametrize("classes", [2, 14])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_label_equals_the_plain_definition(classes, dtype):
    scores, values = random_scores(classes, dtype=dtype), shuffled(classes)
    for matrix in every_map():
        np.testing.assert_array_equal(
            run(scores, (24, 22, 37), matrix, values), plain(scores, (24, 22, 37), matrix, values)
        )


@pytest.mark.parametrize("name", kernel_names())
def test_label_equals_the_plain_definition_where_classes_tie(name):
    # Few distinct scores: corners tie, and so do sums after rounding.
    random = np.random.default_rng(2)
    coarse = random.integers(-2, 3, (5, 9, 11, 13)).astype(np.float32)
    close = (ONE / 3 + coarse * np.float32(2**-25)).astype(np.float32)
    for scores, matrix in itertools.product((coarse, close), (aligned(), aligned((2, 0, 1)), oblique())):
        values = shuffled(5)
        np.testing.assert_array_equal(
            run(scores, (21, 19, 30), matrix, values, name), plain(scores, (21, 19, 30), matrix, values)
        )


def test_label_where_rounding_makes_a_strict_winner_tie_still_equals_the_definition():
    random = np.random.default_rng(3)
    low = random.random((1, 12, 12, 12), np.float32) + ONE
    scores = np.concatenate([low, np.nextafter(low, np.float32(9))])  # class 1 wins everywhere by one bit
    result = run(
        scores, (40, 40, 40), aligned(steps=(0.29, 0.29, 0.29), offset=0.0), np.array([0, 1], np.uint8)
    )
    expected = plain(scores, (40, 40, 40), aligned(steps=(0.29, 0.29, 0.29), offset=0.0), np.array([0, 1]))
    np.testing.assert_array_equal(result, expected)
    assert 0 < np.count_nonzero(result == 0) < result.size  # it does happen, and it is not the whole grid


def test_label_equals_the_plain_definition_with_255_classes():
    scores, values = random_scores(255, (6, 5, 20), sigma=0.7), shuffled(255)
    for matrix in (aligned(shape=(6, 5, 20)), oblique()):
        np.testing.assert_array_equal(
            run(scores, (13, 9, 50), matrix, values), plain(scores, (13, 9, 50), matrix, values)
        )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_label_equals_the_plain_definition_with_scores_that_are_not_finite(bad):
    scores = random_scores(4)
    scores[:, np.random.default_rng(1).random(scores.shape[1:]) < 0.02] = bad
    scores[2, 4:6] = bad
    scores[0, 7:, 3] = bad
    for matrix in (aligned(), aligned((1, 2, 0)), aligned(steps=(0.5, 0.5, 0.5), offset=0.0), oblique()):
        np.testing.assert_array_equal(
            run(scores, (20, 20, 36), matrix, shuffled(4)), plain(scores, (20, 20, 36), matrix, shuffled(4))
        )


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (1, 7, 2), (5, 1, 9), (2, 3, 1), (3, 3, 8), (3, 3, 9), (3, 3, 10)]
)
def test_label_accepts_small_score_grids(shape):
    scores = random_scores(3, shape, sigma=0.4)
    for matrix in (aligned(shape=shape), aligned((2, 1, 0), (-1, 1, 1), shape=shape), oblique()):
        np.testing.assert_array_equal(
            run(scores, (11, 12, 33), matrix, shuffled(3)), plain(scores, (11, 12, 33), matrix, shuffled(3))
        )


def test_label_may_shrink_and_miss():
    scores = random_scores(3)
    for matrix in (aligned(steps=(2.2, 1.9, 3.1)), aligned(offset=60.0), aligned(offset=-60.0)):
        np.testing.assert_array_equal(
            run(scores, (8, 9, 10), matrix, shuffled(3)), plain(scores, (8, 9, 10), matrix, shuffled(3))
        )


@pytest.mark.parametrize("name", kernel_names())
def test_labels_above_255_are_uint16(name):
    scores, values = random_scores(5), np.array([0, 255, 256, 40000, 65535], np.uint16)
    for matrix in every_map():
        np.testing.assert_array_equal(
            run(scores, (20, 19, 31), matrix, values, name, outside=777),
            plain(scores, (20, 19, 31), matrix, values, outside=777),
        )
    result = np.empty(scores.shape[1:], np.uint16)
    open_kernels(name).table.argmax(scores, result, values, 2)
    np.testing.assert_array_equal(result, values[scores.argmax(0)])


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_label_has_the_same_bits_on_every_target_and_thread_count(dtype):
    scores, values = random_scores(6, dtype=dtype), shuffled(6)
    for matrix in every_map():
        expected = run(scores, (25, 21, 30), matrix, values, "cpu_baseline", 1)
        for name, threads in itertools.product(kernel_names(), (1, 2, 7)):
            np.testing.assert_array_equal(run(scores, (25, 21, 30), matrix, values, name, threads), expected)


def test_argmax_takes_the_first_best_class_on_every_target():
    scores = np.random.default_rng(0).integers(-3, 4, (9, 7, 20, 30)).astype(np.float32)
    values = shuffled(9)
    for dtype, name, threads in itertools.product((np.float32, np.float16), kernel_names(), (1, 3)):
        result = np.empty(scores.shape[1:], np.uint8)
        open_kernels(name).table.argmax(scores.astype(dtype), result, values, threads)
        np.testing.assert_array_equal(result, values[scores.argmax(0)])


@pytest.mark.parametrize("name", kernel_names())
def test_argmax_reads_every_half(name):
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)]
    zero = np.zeros_like(halves)
    scores = np.ascontiguousarray(np.stack([zero, halves]).reshape(2, 1, 1, -1))
    result = np.empty(scores.shape[1:], np.uint8)
    open_kernels(name).table.argmax(scores, result, np.array([0, 1], np.uint8), 1)
    np.testing.assert_array_equal(result.ravel(), halves > 0)


def test_label_refuses_wrong_arrays():
    scores, values = random_scores(3), shuffled(3)
    table, result, matrix = open_kernels().table, np.empty((5, 6, 7), np.uint8), aligned()
    scratch = np.empty(1 << 20, np.uint8)

    def call(
        scores=scores, result=result, matrix=matrix, values=values, scratch=scratch, threads=1, outside=0
    ):
        table.label(scores, result, matrix, values, outside, scratch, threads)

    call()
    for wrong in (
        {"scores": scores.astype(np.float64)}, {"scores": scores[..., ::2]}, {"scores": scores[0]},
        {"result": result.astype(np.int16)}, {"values": values.astype(np.int64)}, {"matrix": np.eye(4)},
        {"values": values.astype(np.uint16)}, {"result": result.astype(np.uint16)}, {"outside": 65536},
    ):  # fmt: skip
        with pytest.raises(TypeError):
            call(**wrong)
    many = np.zeros((256, 2, 2, 2), np.float32)
    for wrong in (
        {"scores": scores[:1], "values": values[:1]}, {"values": values[:2]}, {"scratch": scratch[:99]},
        {"threads": 0}, {"outside": 256}, {"matrix": matrix * np.nan},
        {"scores": many, "values": np.zeros(256, np.uint8)},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"\w"):
            call(**wrong)


def test_label_stage_goes_through_the_world_and_calls_outside_background():
    scores = np.zeros((2, 4, 4, 4), np.float32)
    scores[1] = 1
    grid = Grid((4, 4, 4), np.diag([2.0, 2.0, 2.0, 1.0]))
    onto = Grid((12, 12, 12), np.eye(4))
    world = np.eye(4)
    world[0, 3] = -2.0
    result = label(scores, grid, onto, np.array([0, 7], np.uint8), open_kernels(), world)
    expected = np.zeros((12, 12, 12), np.uint8)
    expected[1:10, :8, :8] = 7  # score voxels reach half of 2 mm beyond their centres
    np.testing.assert_array_equal(result, expected)
    with pytest.raises(UsageError, match="must agree"):
        label(scores, onto, grid, np.array([0, 7], np.uint8), open_kernels())
