"""Labels of a window are those of a whole call, and outside its candidate box a class wins nowhere."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.bundle import Target
from runtime.errors import UsageError
from runtime.kernels import kernel_names, open_kernels
from runtime.stages.candidates import candidate_window, joined
from runtime.stages.label import Gathered, gather_table, label, label_features, mask_scores, relabel_window
from runtime.volume import Grid
from tests.test_kernel_label import aligned, every_map, oblique, plain, random_scores, shuffled
from tests.test_kernel_label import run as run_label
from tests.test_kernel_mask_scores import plain_scores, random_features
from tests.test_kernel_properties import MOST, ORIENTATIONS, SHAPES, maps

ONE = np.float32(1)
SLACK, TINY = np.float32(2e-6), np.float32(1e-37)


def box_of(scores: Any, target: int, name: str = "cpu", threads: int = 2) -> list[int]:
    table, box = open_kernels(name).table, np.full(6, 77, np.int64)
    size = table.candidate_scratch(scores, threads)
    scratch = np.full(size + 64, 0x5A, np.uint8)
    table.candidate_box(scores, target, box, scratch[:size], threads)
    assert (scratch[size:] == 0x5A).all()
    return [int(n) for n in box]


def plain_box(scores: NDArray[Any], target: int) -> list[int]:
    """The definition, one comparison after the other."""
    values = scores.astype(np.float32)
    own, size = values[target], values.shape[1:]
    with np.errstate(invalid="ignore", over="ignore"):
        beaten = np.stack(
            [(score >= own) if c < target else least(score) > most(own) for c, score in enumerate(values)]
        )
        beaten &= np.abs(values) < np.float32(1e38)
    beaten[target] = False
    for axis in (1, 2, 3):
        if beaten.shape[axis] > 1:
            low, high = (np.take(beaten, range(n, beaten.shape[axis] - 1 + n), axis) for n in (0, 1))
            beaten = low & high
    cells = np.argwhere(~beaten.any(axis=0))
    if not len(cells):
        return [*size, 0, 0, 0]
    return [*cells.min(axis=0).tolist(), *(cells.max(axis=0) + 1).tolist()]


def most(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return x * np.where(x < 0, ONE - SLACK, ONE + SLACK) + TINY


def least(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return x * np.where(x < 0, ONE + SLACK, ONE - SLACK) - TINY


def local(classes: int, shape: tuple[int, ...], dtype: Any = np.float32) -> NDArray[Any]:
    """Scores of which class 1 wins in a small part only, if anywhere."""
    scores = random_scores(classes, shape)
    index = np.indices(shape) - np.array([n // 2 for n in shape]).reshape(3, 1, 1, 1)
    scores[1] = 6 - 3 * np.abs(index).max(axis=0)
    return np.ascontiguousarray(scores.astype(dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("classes", [2, 3, 33, 255])
def test_box_is_its_definition_on_every_target(classes: int, dtype: Any) -> None:
    scores = local(classes, (7, 9, 11), dtype)
    for target in {0, 1, classes - 1}:
        expected = plain_box(scores, target)
        for name, threads in itertools.product(kernel_names(), (1, 3)):
            assert box_of(scores, target, name, threads) == expected
    first, last = np.reshape(plain_box(scores, 1), (2, 3))
    assert 0 < (last - first).prod() < 6 * 8 * 10


@pytest.mark.parametrize("features", [1, 7])
@pytest.mark.parametrize("classes", [2, 14, 40])
def test_box_of_features_is_that_of_their_plain_scores(features: int, classes: int) -> None:
    made = random_features(features, classes, (6, 7, 45))
    scores, table = plain_scores(*made), open_kernels("cpu").table
    for target in {0, 1, classes - 1}:
        expected = plain_box(scores, target)
        for name, threads in itertools.product(kernel_names(), (1, 3)):
            assert box_of(table.mask_scores(*made), target, name, threads) == expected


def test_box_of_a_class_that_is_beaten_everywhere_is_empty() -> None:
    scores = np.zeros((3, 4, 5, 6), np.float32)
    assert box_of(scores, 1) == box_of(scores, 2) == [4, 5, 6, 0, 0, 0]  # a lower class wins a tie
    assert box_of(scores, 0) == [0, 0, 0, 3, 4, 5]
    scores[1] = np.nan
    assert box_of(scores, 0) == [0, 0, 0, 3, 4, 5]  # NaN beats nobody
    scores[:] = [[[[1]]], [[[2]]], [[[np.inf]]]]
    assert box_of(scores, 0) == [4, 5, 6, 0, 0, 0]
    assert box_of(scores, 1) == [0, 0, 0, 3, 4, 5]  # infinity is no lead: an interpolation may be NaN


def test_window_leaves_all_else_as_it_is() -> None:
    scores, values = random_scores(5), shuffled(5)
    for name, matrix in itertools.product(kernel_names(), every_map()):
        whole = run_label(scores, (24, 22, 37), matrix, values)
        window = ((3, 9), (0, 22), (11, 12))
        assert_window(scores, whole, matrix, values, window, name)


def assert_window(
    scores: Any, whole: NDArray[Any], matrix: Any, values: Any, window: Any, name: str, threads: int = 2
) -> None:
    table, result = open_kernels(name).table, np.full(whole.shape, 201, values.dtype)
    scratch = np.full(table.label_scratch(scores, result, matrix, threads), 0x5A, np.uint8)
    table.label_window(scores, result, matrix, values, 99, scratch, threads, window)
    inside = tuple(slice(*pair) for pair in window)
    expected = np.full_like(whole, 201)
    expected[inside] = whole[inside]
    np.testing.assert_array_equal(result, expected)


@MOST
@given(st.data())
def test_window_has_the_bits_of_a_whole_call_everywhere(data: st.DataObject) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    classes, shape, onto = data.draw(st.integers(2, 6)), data.draw(SHAPES), data.draw(SHAPES)
    features = (random.standard_normal((3, *shape)) * 3).astype(np.float32)
    vectors = random.standard_normal((classes, 3)).astype(np.float32)
    biases = random.standard_normal(classes).astype(np.float32)
    values = random.permutation(200)[:classes].astype(np.uint8)
    matrix = data.draw(maps(shape))
    window = []
    for side in onto:
        first = data.draw(st.integers(0, side - 1))
        window.append((first, data.draw(st.integers(first + 1, side))))
    scores = plain_scores(features, vectors, biases)
    whole = plain(scores, onto, matrix, values)
    made = open_kernels("cpu").table.mask_scores(features, vectors, biases)
    for name, threads in itertools.product(kernel_names(), (1, 3)):
        assert_window(made, whole, matrix, values, window, name, threads)
        assert_window(scores, whole, matrix, values, window, name, threads)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_window_has_the_bits_of_a_whole_call_in_every_orientation(orientation: Any) -> None:
    made, values = random_features(5, 6, (7, 9, 18)), shuffled(6)
    matrix = aligned(*orientation, steps=(0.52, 0.62, 0.31), shape=(7, 9, 18), offset=-0.7)
    whole = plain(plain_scores(*made), (12, 13, 31), matrix, values)
    for name, window in itertools.product(
        kernel_names(), (((0, 1), (0, 1), (0, 1)), ((11, 12), (4, 13), (0, 31)), ((5, 8), (3, 9), (7, 30)))
    ):
        made_there = open_kernels(name).table.mask_scores(*made)
        assert_window(made_there, whole, matrix, values, window, name)


KERNELS = open_kernels("cpu", 2)


def targets_of(vectors: NDArray[np.float32], biases: NDArray[np.float32]) -> list[Target]:
    pairs = zip(vectors.tolist(), biases.tolist(), strict=True)
    return [Target(str(n), tuple(vector), bias) for n, (vector, bias) in enumerate(pairs)]


def relabelled(
    features: NDArray[Any], grid: Grid, before: list[Target], after: list[Target], onto: Grid, values: Any
) -> tuple[NDArray[Any], float]:
    """Labels of `after`, made from those of `before`; and the share of voxels that were labelled again."""
    table, share = gather_table(len(before), confidence=False), 0.0
    labels = label_features(features, grid, before, onto, values, KERNELS, gathered=table)
    boxes, scores = Gathered.of(table), mask_scores(features, after, KERNELS)
    for n, (one, other) in enumerate(zip(before, after, strict=True)):
        if one == other:
            continue
        old = tuple((int(a), int(b)) for a, b in zip(boxes.first[n], boxes.last[n], strict=True))
        window = joined(
            old if boxes.voxels[n] else None,  # type: ignore[arg-type]
            candidate_window(scores, grid, n, onto, KERNELS),
        )
        if window is not None:
            relabel_window(labels, window, scores, grid, onto, values, KERNELS)
            share += float(np.prod([b - a for a, b in window]) / labels.size)
    return labels, share


@MOST
@given(st.data())
def test_labels_of_changed_targets_are_those_of_labelling_everything(data: st.DataObject) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    classes, shape, size = data.draw(st.integers(2, 7)), data.draw(SHAPES), data.draw(SHAPES)
    dtype = data.draw(st.sampled_from([np.float32, np.float16]))
    features = (random.standard_normal((3, *shape)) * 3).astype(dtype)
    vectors = random.standard_normal((classes, 3)).astype(np.float32)
    biases = random.standard_normal(classes).astype(np.float32)
    if data.draw(st.booleans()):  # ties
        features, vectors, biases = np.round(features / 3), np.round(vectors), np.round(biases)
    changed = data.draw(st.sets(st.integers(1, classes - 1), min_size=1, max_size=2))
    new_vectors, new_biases = vectors.copy(), biases.copy()
    for n in changed:
        new_vectors[n] = vectors[n] * np.float32(data.draw(st.sampled_from([-1.0, 1.0, 1.0 + 2**-23, 0.3])))
        new_biases[n] += np.float32(data.draw(st.sampled_from([-5.0, -0.1, 0.0, 0.2, 4.0])))
    onto_affine = np.eye(4)
    onto_affine[:3] = data.draw(maps(shape))
    if abs(np.linalg.det(onto_affine[:3, :3])) < 1e-3:
        return
    grid, onto = Grid(shape, np.eye(4)), Grid(size, onto_affine)
    values = random.permutation(200)[:classes].astype(np.uint8)
    before, after = targets_of(vectors, biases), targets_of(new_vectors, new_biases)
    found, _ = relabelled(features, grid, before, after, onto, values)
    assert np.array_equal(found, label_features(features, grid, after, onto, values, KERNELS))


@pytest.mark.parametrize("matrix", [aligned((1, 2, 0), (1, -1, 1)), oblique()], ids=["aligned", "oblique"])
def test_a_small_target_costs_a_small_window(matrix: Any) -> None:
    scores = local(4, (20, 22, 24))
    vectors, biases = np.eye(4, dtype=np.float32), np.zeros(4, np.float32)
    affine = np.eye(4)
    affine[:3] = matrix
    grid, onto = Grid((20, 22, 24), np.eye(4)), Grid((44, 40, 46), affine)
    bigger = biases.copy()
    bigger[1] = 1.0
    before, after = targets_of(vectors, biases), targets_of(vectors, bigger)
    values = np.arange(4, dtype=np.uint8)
    found, share = relabelled(scores, grid, before, after, onto, values)
    assert np.array_equal(found, label_features(scores, grid, after, onto, values, KERNELS))
    first = label_features(scores, grid, before, onto, values, KERNELS)
    assert (found == 1).sum() > (first == 1).sum()
    assert share < 0.3


def test_windows_of_nothing() -> None:
    one = ((0, 2), (1, 3), (4, 5))
    assert joined(None, None) is None
    assert joined(one, None) == joined(None, one) == one
    assert joined(one, ((1, 4), (2, 3), (0, 1))) == ((0, 4), (1, 3), (0, 5))
    scores, grid = np.zeros((2, 4, 5, 6), np.float32), Grid((4, 5, 6), np.eye(4))
    assert candidate_window(scores, grid, 1, grid, KERNELS) is None
    far = np.eye(4)
    far[:3, 3] = 100.0
    assert candidate_window(scores, grid, 0, Grid((3, 3, 3), far), KERNELS) is None
    assert candidate_window(scores, grid, 0, grid, KERNELS) == ((0, 4), (0, 5), (0, 6))


def test_candidates_and_windows_are_strict() -> None:
    table, scores, box = KERNELS.table, random_scores(4), np.empty(6, np.int64)
    scratch = np.empty(1 << 20, np.uint8)
    for target, given_box, words in (
        (4, box, "target must be"),
        (-1, box, "target must be"),
        (1, box[:5], "6 entries"),
    ):
        with pytest.raises(ValueError, match=words):
            table.candidate_box(scores, target, given_box, scratch, 1)
    with pytest.raises(ValueError, match="scratch has 9 bytes"):
        table.candidate_box(scores, 1, box, scratch[:9], 1)
    with pytest.raises(ValueError, match="threads must be"):
        table.candidate_box(scores, 1, box, scratch, 0)
    for wrong in (scores.astype(np.float64), scores[0]):
        with pytest.raises(TypeError):
            table.candidate_box(wrong, 1, box, scratch, 1)
    with pytest.raises(TypeError):
        table.candidate_box(scores, 1, box.astype(np.int32), scratch, 1)
    result, values = np.empty((5, 6, 7), np.uint8), shuffled(4)
    good = ((0, 5), (0, 6), (0, 7))
    table.label_window(scores, result, aligned(), values, 99, scratch, 1, good)
    for axis, pair in itertools.product(range(3), ((-1, 3), (2, 2), (3, 2), (0, 8))):
        window = [*good[:axis], pair, *good[axis + 1 :]]
        with pytest.raises(ValueError, match="window must hold voxels of result"):
            table.label_window(scores, result, aligned(), values, 99, scratch, 1, window)
    grid, onto = Grid((9, 11, 13), np.eye(4)), Grid((5, 6, 7), np.eye(4))
    with pytest.raises(UsageError, match="labels have shape"):
        relabel_window(np.empty((5, 6, 8), np.uint8), good, scores, grid, onto, values, KERNELS)
    assert np.array_equal(
        label(scores, grid, onto, values, KERNELS), relabelled_whole(scores, grid, onto, values)
    )


def relabelled_whole(scores: Any, grid: Grid, onto: Grid, values: Any) -> NDArray[np.uint8]:
    result = np.zeros(onto.shape, np.uint8)
    whole = ((0, onto.shape[0]), (0, onto.shape[1]), (0, onto.shape[2]))
    relabel_window(result, whole, scores, grid, onto, values, KERNELS)
    return result
