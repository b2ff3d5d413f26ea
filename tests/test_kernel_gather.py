"""What label gathers: counts, boxes and border contact exactly, margins and entropies against float64."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.kernels import kernel_names, open_kernels
from runtime.stages.label import Gathered, gather_table, label, label_features
from runtime.volume import Grid
from tests.test_kernel_label import aligned, mix, oblique, places, plain, random_scores, shuffled
from tests.test_kernel_mask_scores import plain_scores, random_features
from tests.test_kernel_properties import MOST, ORIENTATIONS, SHAPES, maps

MARGIN_ONE, MOST_MARGIN, ENTROPY_ONE = 2.0**16, 8192.0, 2.0**24
ENTROPY_ERROR = 2.0**-14
"""Bits; what kernels/confidence.h states."""


def run(
    source: Any, shape: Any, matrix: Any, values: Any, columns: int, name: str = "cpu", threads: int = 2
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Labels and the table; `source` is scores, or features with vectors and biases."""
    table, result = open_kernels(name).table, np.empty(shape, values.dtype)
    scores = table.mask_scores(*source) if isinstance(source, tuple) else source
    size = table.label_scratch(scores, result, matrix, threads)
    scratch = np.full(size + 64, 0x5A, np.uint8)
    gathered = np.full((len(values), columns), -77, np.int64)
    table.label(scores, result, matrix, values, 99, scratch[:size], threads, gathered)
    assert (scratch[size:] == 0x5A).all()
    return result, gathered


def full_scores(scores: Any, shape: Any, matrix: Any) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Float32 scores at every voxel of the result, and whether it lies inside."""
    index, size = np.indices(shape).astype(np.float64), scores.shape[1:]
    (d, z, in_d), (h, y, in_h), (w, x, in_w) = [places(matrix, n, index, size[n]) for n in range(3)]
    up = [np.minimum(low + 1, n - 1) for low, n in zip((d, h, w), size, strict=True)]
    made = []
    with np.errstate(invalid="ignore", over="ignore"):
        for score in scores.astype(np.float32):
            columns = [
                [mix(score[d, hh, ww], score[up[0], hh, ww], z) for hh in (h, up[1])] for ww in (w, up[2])
            ]
            made.append(mix(mix(*columns[0], y), mix(*columns[1], y), x))
    return np.stack(made), in_d & in_h & in_w


def counted(winner: NDArray[np.int64], inside: NDArray[np.bool_], classes: int) -> NDArray[np.int64]:
    """Columns 0…7 by plain NumPy."""
    shape, table = winner.shape, np.zeros((classes, 8), np.int64)
    border = np.ones(shape, np.bool_)
    border[1:-1, 1:-1, 1:-1] = False
    for c in range(classes):
        mask = inside & (winner == c)
        at = np.argwhere(mask)
        table[c, :2] = len(at), np.count_nonzero(mask & border)
        table[c, 2:5] = at.min(axis=0) if len(at) else shape
        table[c, 5:8] = at.max(axis=0) + 1 if len(at) else 0
    return table


def winners(full: NDArray[np.float32]) -> NDArray[np.int64]:
    """The first best class; NaN never wins."""
    return np.where(np.isnan(full), -np.inf, full).argmax(axis=0)


def confident(full: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Fixed-point margins, exact, and entropies in bits, float64."""
    scores = np.where(np.isnan(full), -np.inf, full)
    second, best = np.sort(scores, axis=0)[-2:]
    known = np.isfinite(best)
    with np.errstate(invalid="ignore", over="ignore"):
        margin = np.where(known, np.minimum(best - second, np.float32(MOST_MARGIN)), 0)
        behind = np.where(known, scores.astype(np.float64) - best, 0)
        share = np.exp(behind) / np.exp(behind).sum(axis=0)
        logs = np.log2(np.where(share > 0, share, 1))
    return (margin * np.float32(MARGIN_ONE)).astype(np.int64), -(share * logs).sum(axis=0)


def check(source: Any, scores: Any, shape: Any, matrix: Any, values: Any) -> None:
    """Both tables on every target, against the definition."""
    full, inside = full_scores(scores, shape, matrix)
    winner, classes = winners(full), len(values)
    with np.errstate(invalid="ignore", over="ignore"):
        expected = plain(scores, shape, matrix, values)
    counts = counted(winner, inside, classes)
    margins, bits = confident(full)
    _, first = run(source, shape, matrix, values, 10, "cpu_baseline", 1)
    for c in range(classes):
        mask = inside & (winner == c)
        assert first[c, 8] == margins[mask].sum()
        assert abs(first[c, 9] / ENTROPY_ONE - bits[mask].sum()) <= ENTROPY_ERROR * max(mask.sum(), 1)
    for name, threads in itertools.product(kernel_names(), (1, 2, 5)):
        result, table = run(source, shape, matrix, values, 8, name, threads)
        np.testing.assert_array_equal(result, expected)
        np.testing.assert_array_equal(table, counts)
        result, table = run(source, shape, matrix, values, 10, name, threads)
        np.testing.assert_array_equal(result, expected)
        np.testing.assert_array_equal(table[:, :8], counts)
        np.testing.assert_array_equal(table, first)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_gathered_in_every_orientation(orientation: Any) -> None:
    scores = random_scores(4, (5, 6, 18), np.float16)
    matrix = aligned(*orientation, steps=(0.7, 0.6, 0.9), shape=(5, 6, 18), offset=-0.9)
    check(scores, scores, (8, 7, 17), matrix, shuffled(4))


@pytest.mark.parametrize(
    "matrix", [oblique(), aligned(), aligned(offset=60.0)], ids=["oblique", "aligned", "miss"]
)
def test_gathered_from_features_with_labels_above_255(matrix: Any) -> None:
    features = random_features(5, 6)
    values = np.array([0, 256, 512, 3, 259, 65535], np.uint16)  # lower bytes that meet
    check(features, plain_scores(*features), (13, 11, 33), matrix, values)


@pytest.mark.parametrize("classes", [2, 128, 255])
def test_gathered_with_many_classes(classes: int) -> None:
    scores = random_scores(classes, (4, 5, 7), sigma=0.5)
    check(scores, scores, (6, 7, 19), aligned(shape=(4, 5, 7)), shuffled(classes))


def test_gathered_where_scores_are_not_finite() -> None:
    scores = random_scores(4)
    scores[:, np.random.default_rng(1).random(scores.shape[1:]) < 0.02] = np.nan
    scores[2, 4:6], scores[0, 7:, 3], scores[:, 0], scores[1, 8] = np.inf, -np.inf, -np.inf, np.nan
    for matrix in (aligned(), oblique()):
        check(scores, scores, (14, 13, 20), matrix, shuffled(4))


@MOST
@given(st.data())
def test_gathered_is_its_definition_everywhere(data: st.DataObject) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    classes, shape, onto = data.draw(st.integers(2, 9)), data.draw(SHAPES), data.draw(SHAPES)
    scores = (random.standard_normal((classes, *shape)) * data.draw(st.sampled_from([0.1, 3, 300]))).astype(
        data.draw(st.sampled_from([np.float32, np.float16]))
    )
    if data.draw(st.booleans()):
        scores = np.round(scores)
    values = random.permutation(200)[:classes].astype(np.uint8)
    check(scores, scores, onto, data.draw(maps(shape)), values)


def test_entropy_of_one_voxel_is_within_the_stated_error() -> None:
    # One voxel after the other, so that no error cancels: two classes, then many that are close.
    behind = np.concatenate([np.linspace(0, 90, 3001), np.geomspace(1e-6, 1, 500)]).astype(np.float32)
    for name in kernel_names():
        for gap in behind[:: 1 if name == "cpu" else 50]:
            scores = np.zeros((2, 1, 1, 1), np.float32)
            scores[1] = -gap
            _, table = run(scores, (1, 1, 1), np.eye(3, 4), np.array([0, 1], np.uint8), 10, name, 1)
            _, bits = confident(scores)
            assert abs(table[0, 9] / ENTROPY_ONE - bits.item()) < 2.0**-19
    random = np.random.default_rng(4)
    for spread in (0.0, 0.01, 1.0, 10.0):
        scores = (random.standard_normal((255, 1, 1, 1)) * spread).astype(np.float32)
        _, table = run(scores, (1, 1, 1), np.eye(3, 4), np.arange(255, dtype=np.uint8), 10)
        _, bits = confident(scores)
        assert abs(table[:, 9].sum() / ENTROPY_ONE - bits.item()) < ENTROPY_ERROR


def test_classes_of_one_label_are_gathered_under_the_first() -> None:
    scores, values = random_scores(4), np.array([7, 3, 7, 3], np.uint8)
    _, table = run(scores, (20, 19, 30), aligned(), values, 10)
    full, inside = full_scores(scores, (20, 19, 30), aligned())
    counts = counted(winners(full) % 2, inside, 4)
    np.testing.assert_array_equal(table[:, :8], counts)
    assert (table[2:, 8:] == 0).all()


def test_gathered_tables_of_a_wrong_shape_or_type_are_refused() -> None:
    scores, values = random_scores(3), shuffled(3)
    for wrong, error in (
        (np.zeros((3, 9), np.int64), ValueError), (np.zeros((2, 8), np.int64), ValueError),
        (np.zeros((3, 8), np.int32), TypeError), (np.zeros((3, 16), np.int64)[:, ::2], TypeError),
    ):  # fmt: skip
        table, result = open_kernels().table, np.empty((5, 6, 7), np.uint8)
        scratch = np.empty(table.label_scratch(scores, result, aligned(), 1), np.uint8)
        with pytest.raises(error, match=r"gathered must have|incompatible"):
            table.label(scores, result, aligned(), values, 0, scratch, 1, wrong)


@pytest.mark.parametrize("confidence", [False, True])
def test_gathered_stage_gives_means_in_their_units(confidence: bool) -> None:
    scores = np.zeros((4, 3, 3, 3), np.float32)
    scores[1, :, :, 1:] = 2.5  # class 1 leads by 2.5; class 2 and 3 win nowhere
    grid, values, table = (
        Grid((3, 3, 3), np.eye(4)),
        np.arange(4, dtype=np.uint8),
        gather_table(4, confidence),
    )
    label(scores, grid, grid, values, open_kernels(), gathered=table)
    found = Gathered.of(table)
    assert found.voxels.tolist() == [9, 18, 0, 0]
    assert found.border_voxels.tolist() == [9, 17, 0, 0]
    assert found.first[1].tolist() == [0, 0, 1]
    assert found.last[1].tolist() == [3, 3, 3]
    if not confidence:
        assert found.mean_margin is found.mean_entropy is None
        return
    share = np.exp([2.5, 0, 0, 0]) / np.exp([2.5, 0, 0, 0]).sum()
    entropy = -(share * np.log2(share)).sum() / 2
    np.testing.assert_allclose(found.mean_margin, [0, 2.5, np.nan, np.nan], atol=2.0**-16)
    np.testing.assert_allclose(found.mean_entropy, [1, entropy, np.nan, np.nan], atol=ENTROPY_ERROR)


def test_features_stage_gathers_what_scores_do() -> None:
    from runtime.bundle import Target

    features, vectors, biases = random_features(3, 4)
    pairs = zip(vectors.tolist(), biases.tolist(), strict=True)
    targets = [Target(str(n), tuple(vector), bias) for n, (vector, bias) in enumerate(pairs)]
    grid, onto, values = (
        Grid((9, 11, 13), np.eye(4)),
        Grid((8, 9, 10), np.eye(4)),
        np.arange(4, dtype=np.uint8),
    )
    ours, theirs = gather_table(4, True), gather_table(4, True)
    label_features(features, grid, targets, onto, values, open_kernels(), gathered=ours)
    label(plain_scores(features, vectors, biases), grid, onto, values, open_kernels(), gathered=theirs)
    np.testing.assert_array_equal(ours, theirs)
    assert ours[:, 0].sum() == 720
