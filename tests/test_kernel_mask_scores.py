"""Labels straight from features: the bits of label() on scores that were made by the stated definition."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from runtime.bundle import Target
from runtime.errors import UsageError
from runtime.kernels import kernel_names, open_kernels
from runtime.stages.label import label, label_features
from runtime.volume import Grid
from tests.test_kernel_label import aligned, every_map, oblique, plain, shuffled
from tests.test_kernel_label import run as run_label
from tests.test_kernel_properties import MOST, ORIENTATIONS, SHAPES, maps

KERNELS = open_kernels("cpu", 2)


def random_features(
    features: int, classes: int, shape: tuple[int, ...] = (9, 11, 13), dtype: Any = np.float32, seed: int = 0
) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[np.float32]]:
    """Smooth features, with vectors and biases that give every class some voxels."""
    random = np.random.default_rng(seed)
    values = gaussian_filter(random.standard_normal((features, *shape)), (0, 1.5, 1.5, 1.5)) * 10
    vectors = random.standard_normal((classes, features)).astype(np.float32)
    biases = random.standard_normal(classes).astype(np.float32)
    return np.ascontiguousarray(values.astype(dtype)), vectors, biases


def plain_scores(features: Any, vectors: Any, biases: Any) -> NDArray[np.float32]:
    """The definition: every product and every sum rounded to float32, features in their order."""
    made = []
    with np.errstate(invalid="ignore", over="ignore"):
        values = features.astype(np.float32)
        for vector, bias in zip(vectors, biases, strict=True):
            score = values[0] * vector[0]
            for feature, weight in zip(values[1:], vector[1:], strict=True):
                score = score + feature * weight
            made.append(score + bias)
    return np.stack(made)


def run(
    given: Any, shape: Any, matrix: Any, values: Any, name: str = "cpu", threads: int = 2, outside: int = 99
) -> NDArray[Any]:
    table, result = open_kernels(name).table, np.empty(shape, values.dtype)
    scores = table.mask_scores(*given)
    size = table.label_scratch(scores, result, matrix, threads)
    scratch = np.full(size + 64, 0x5A, np.uint8)
    table.label(scores, result, matrix, values, outside, scratch[:size], threads)
    assert (scratch[size:] == 0x5A).all()
    return result


@pytest.mark.parametrize(("features", "classes"), [(1, 2), (3, 5), (16, 14)])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_labels_of_features_are_those_of_their_plain_scores(features: int, classes: int, dtype: Any) -> None:
    made, values = random_features(features, classes, dtype=dtype), shuffled(classes)
    scores = plain_scores(*made)
    for matrix in every_map():
        expected = plain(scores, (24, 22, 37), matrix, values)
        assert len(np.unique(expected)) > min(classes, 3) - 1  # it tells classes apart
        np.testing.assert_array_equal(run(made, (24, 22, 37), matrix, values), expected)


@pytest.mark.parametrize("name", kernel_names())
@pytest.mark.parametrize("shape", [(9, 10, 45), (5, 33, 17), (34, 6, 16), (3, 3, 700)])
def test_labels_of_features_of_rows_longer_than_a_segment(name: str, shape: tuple[int, ...]) -> None:
    made, values = random_features(4, 3, shape), shuffled(3)
    scores = plain_scores(*made)
    maps_there = (
        oblique(), aligned(shape=shape), aligned((2, 1, 0), (-1, 1, 1), (0.8, 0.5, 0.7), shape),
        aligned((1, 2, 0), (1, -1, 1), (2.3, 0.5, 1.7), shape),
    )  # fmt: skip
    for matrix in maps_there:
        onto = (30, 21, 40)
        expected = plain(scores, onto, matrix, values)
        np.testing.assert_array_equal(run(made, onto, matrix, values, name), expected)


@pytest.mark.parametrize("classes", [128, 255])
def test_labels_of_features_with_many_classes(classes: int) -> None:
    made, values = random_features(7, classes, (6, 5, 20)), shuffled(classes)
    scores = plain_scores(*made)
    for matrix in (aligned(shape=(6, 5, 20)), oblique()):
        np.testing.assert_array_equal(
            run(made, (13, 9, 50), matrix, values), plain(scores, (13, 9, 50), matrix, values)
        )


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_labels_of_features_in_every_orientation_on_every_target(orientation: Any) -> None:
    made, values = random_features(5, 6, (7, 9, 18)), np.array([0, 300, 2, 65535, 4, 5], np.uint16)
    matrix = aligned(*orientation, steps=(0.52, 0.62, 0.31), shape=(7, 9, 18), offset=-0.7)
    expected = plain(plain_scores(*made), (12, 13, 31), matrix, values)
    for name, threads in itertools.product(kernel_names(), (1, 2, 5)):
        np.testing.assert_array_equal(run(made, (12, 13, 31), matrix, values, name, threads), expected)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("name", kernel_names())
def test_labels_of_features_on_an_oblique_grid_on_every_target(name: str, threads: int) -> None:
    made, values = random_features(6, 9, (12, 14, 40), np.float16), shuffled(9)
    expected = plain(plain_scores(*made), (25, 30, 70), oblique(), values)
    np.testing.assert_array_equal(run(made, (25, 30, 70), oblique(), values, name, threads), expected)


@MOST
@given(st.data())
def test_labels_of_features_are_their_definition_everywhere(data: st.DataObject) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    features, classes = data.draw(st.integers(1, 5)), data.draw(st.integers(2, 9))
    dtype, shape, onto = (
        data.draw(st.sampled_from([np.float32, np.float16])),
        data.draw(SHAPES),
        data.draw(SHAPES),
    )
    values = (random.standard_normal((features, *shape)) * 3).astype(dtype)
    vectors = random.standard_normal((classes, features)).astype(np.float32)
    biases = random.standard_normal(classes).astype(np.float32)
    kind = data.draw(st.sampled_from(["plain", "ties", "odd"]))
    if kind == "ties":
        values, vectors, biases = np.round(values / 3), np.round(vectors), np.round(biases)
    if kind == "odd":
        odd = random.choice(np.array([np.nan, np.inf, -np.inf, 6e4, -6e4], dtype), values.shape)
        values = np.where(random.random(values.shape) < 0.1, odd, values)
    matrix, names = data.draw(maps(shape)), random.permutation(200)[:classes].astype(np.uint8)
    scores = plain_scores(values, vectors, biases)
    with np.errstate(invalid="ignore", over="ignore"):
        expected = plain(scores, onto, matrix, names)
    assert np.array_equal(run_label(scores, onto, matrix, names), expected)
    for name, threads in itertools.product(kernel_names(), (1, 3)):
        assert np.array_equal(run((values, vectors, biases), onto, matrix, names, name, threads), expected)


def test_mask_scores_refuse_wrong_arrays() -> None:
    features, vectors, biases = random_features(3, 4)
    table = KERNELS.table
    good = {"features": features, "vectors": vectors, "biases": biases}
    assert table.mask_scores(**good) is not None
    for wrong in (
        {"features": features.astype(np.float64)}, {"features": features[..., ::2]},
        {"features": features[0]}, {"vectors": vectors.astype(np.float16)}, {"vectors": vectors[:, :2]},
        {"biases": biases[:, None]},
        {"biases": biases.astype(np.float64)},
    ):  # fmt: skip
        with pytest.raises((TypeError, ValueError), match=r"\w"):
            table.mask_scores(**{**good, **wrong})
    for wrong, words in (
        ({"vectors": vectors[:1], "biases": biases[:1]}, "2 to 255 classes"),
        (
            {"vectors": np.zeros((256, 3), np.float32), "biases": np.zeros(256, np.float32)},
            "2 to 255 classes",
        ),
        ({"biases": biases[:3]}, "one entry per row of vectors"),
        ({"vectors": np.zeros((4, 2), np.float32)}, "one column per feature"),
        ({"features": features[:0], "vectors": vectors[:, :0].copy()}, "1 to 4096 features"),
        ({"features": np.zeros((3, 4, 0, 2), np.float32)}, "no voxels"),
    ):
        with pytest.raises(ValueError, match=words):
            table.mask_scores(**{**good, **wrong})
    result, values = np.empty((5, 6, 7), np.uint8), shuffled(4)
    scores, scratch = table.mask_scores(**good), np.empty(1 << 20, np.uint8)
    table.label(scores, result, aligned(), values, 0, scratch, 1)
    with pytest.raises(ValueError, match="one entry per class"):
        table.label(scores, result, aligned(), values[:3], 0, scratch, 1)
    with pytest.raises(ValueError, match="scratch has 99 bytes"):
        table.label(scores, result, aligned(), values, 0, scratch[:99], 1)


def test_mask_scores_keep_their_arrays_alive() -> None:
    features, vectors, biases = random_features(3, 4)
    scores = KERNELS.table.mask_scores(features.copy(), vectors.copy(), biases.copy())
    result, values = np.empty((5, 6, 7), np.uint8), shuffled(4)
    scratch = np.empty(KERNELS.table.label_scratch(scores, result, aligned(), 1), np.uint8)
    KERNELS.table.label(scores, result, aligned(), values, 99, scratch, 1)
    expected = plain(plain_scores(features, vectors, biases), (5, 6, 7), aligned(), values)
    np.testing.assert_array_equal(result, expected)


def test_label_features_stage_is_label_of_the_scores_through_the_world() -> None:
    features, vectors, biases = random_features(3, 4)
    targets = [
        Target(str(n), tuple(v.tolist()), float(b))
        for n, (v, b) in enumerate(zip(vectors, biases, strict=True))
    ]
    grid, onto = Grid((9, 11, 13), np.diag([2.0, 2.0, 2.0, 1.0])), Grid((30, 22, 24), np.eye(4))
    world = np.eye(4)
    world[:3, 3] = -2.0, 1.0, 0.3
    values = np.array([0, 300, 7, 9], np.uint16)
    made = label_features(features, grid, targets, onto, values, KERNELS, world)
    expected = label(plain_scores(features, vectors, biases), grid, onto, values, KERNELS, world)
    assert made.dtype == np.uint16
    assert len(np.unique(made)) == 4
    np.testing.assert_array_equal(made, expected)
    with pytest.raises(UsageError, match=r"features have shape .* must agree"):
        label_features(features, onto, targets, onto, values, KERNELS)
