"""The components kernel against scipy.ndimage, for every connectivity, number of threads and target."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from runtime.kernels import Kernels, kernel_names, open_kernels
from runtime.stages.components import Neighbours, keep_largest, keep_largest_union, remove_islands

RANKS: dict[Neighbours, int] = {6: 1, 18: 2, 26: 3}
SHAPES = [(1, 1, 1), (1, 1, 40), (1, 17, 9), (17, 1, 9), (9, 9, 1), (8, 5, 16), (19, 13, 33)]


def noise(shape: tuple[int, int, int], labels: int, share: float, seed: int) -> NDArray[np.uint8]:
    """Voxels of `labels` labels, thinly or thickly spread: components of every shape."""
    random = np.random.default_rng(seed)
    made = random.integers(1, labels + 1, shape, np.uint8)
    made[random.random(shape) > share] = 0
    return made


def plain(
    labels: NDArray[np.uint8], values: list[int], neighbours: Neighbours, largest: bool, least: int
) -> NDArray[np.uint8]:
    """The definition, one label and one component at a time."""
    result = labels.copy()
    for value in values:
        parts, count = ndimage.label(labels == value, ndimage.generate_binary_structure(3, RANKS[neighbours]))
        sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
        kept = sizes >= least
        if largest and count:
            kept &= np.arange(count) == sizes.argmax()
        result[np.isin(parts, 1 + np.flatnonzero(~kept))] = 0
    return result


@pytest.mark.parametrize("neighbours", [6, 18, 26])
@pytest.mark.parametrize("shape", SHAPES)
def test_components_are_those_of_the_definition(shape: tuple[int, int, int], neighbours: Neighbours) -> None:
    for seed, (labels, share) in enumerate([(1, 0.2), (1, 0.6), (2, 0.9), (3, 0.5), (3, 1.0)]):
        given = noise(shape, labels, share, seed)
        for largest, least in ((True, 0), (False, 3)):
            found, kernels = given.copy(), open_kernels("cpu", 2)
            if largest:
                removed = keep_largest(found, [1, 3], kernels, neighbours)
            else:
                removed = remove_islands(found, [1, 3], least, kernels, neighbours)
            assert np.array_equal(found, plain(given, [1, 3], neighbours, largest, least))
            for value in (1, 3):
                assert removed[value] == int((given == value).sum() - (found == value).sum())


@pytest.mark.parametrize("neighbours", [6, 18, 26])
def test_labels_of_a_union_hold_each_other_together(neighbours: Neighbours) -> None:
    for seed in range(8):
        given = noise((11, 12, 31), 4, 0.35, seed)
        union = np.isin(given, [1, 2, 4])
        kept = plain(union.astype(np.uint8), [1], neighbours, True, 0) == 1
        found = given.copy()
        removed = keep_largest_union(found, [1, 2, 4], open_kernels("cpu", 2), neighbours)
        assert np.array_equal(found, np.where(kept | (given == 3), given, 0))
        assert removed == {v: int(((given == v) & ~kept).sum()) for v in (1, 2, 4)}


@pytest.mark.parametrize("name", kernel_names())
def test_components_are_the_same_on_every_target_and_thread_count(name: str) -> None:
    given = noise((45, 21, 37), 4, 0.55, 9)
    expected = plain(given, [1, 2, 4], 26, True, 0)
    for threads in (1, 2, 3, 7):
        found = given.copy()
        keep_largest(found, [1, 2, 4], open_kernels(name, threads))
        assert np.array_equal(found, expected)


def test_of_equal_components_the_first_is_kept() -> None:
    given = np.zeros((20, 4, 12), np.uint8)
    given[3, 1, 2:5] = given[17, 2, 6:9] = given[1, 0, 0] = 6
    keep_largest(given, [6], open_kernels())
    assert np.array_equal(np.argwhere(given), [[3, 1, 2], [3, 1, 3], [3, 1, 4]])


def test_runs_that_end_together_touch_across_their_ends() -> None:
    given = np.zeros((1, 2, 6), np.uint8)
    given[0, 0] = [1, 1, 2, 2, 1, 1]
    given[0, 1] = [2, 2, 1, 1, 2, 2]
    for values in ([1], [2], [1, 2]):
        found = given.copy()
        assert keep_largest(found, values, open_kernels()) == dict.fromkeys(values, 0)
        assert np.array_equal(found, given)


def test_a_noisy_map_makes_the_scratch_grow() -> None:
    given = noise((12, 40, 41), 2, 0.5, 1)
    found = given.copy()
    remove_islands(found, [1, 2], 5, open_kernels("cpu", 2))
    assert np.array_equal(found, plain(given, [1, 2], 26, False, 5))


@pytest.mark.parametrize("values", [[0], [256], [-1, 4]])
def test_values_out_of_range_are_refused(values: list[int]) -> None:
    with pytest.raises(ValueError, match="values must be 1 to 255"):
        keep_largest(np.zeros((2, 2, 2), np.uint8), values, open_kernels())


def call(kernels: Kernels, labels: Any, **changed: Any) -> int:
    options: dict[str, Any] = {
        "groups": np.arange(256, dtype=np.uint8),
        "neighbours": 26,
        "largest": True,
        "least_voxels": 0,
        "background": 0,
        "removed": np.zeros(256, np.uint64),
        "scratch": np.empty(4096, np.uint8),
        "threads": 1,
    }
    return kernels.table.components(labels, **(options | changed))


def test_binding_is_strict() -> None:
    kernels, labels = open_kernels(), np.ones((3, 4, 5), np.uint8)
    assert call(kernels, labels) <= 4096
    for changed, message in (
        ({"groups": np.ones(255, np.uint8)}, "256"),
        ({"neighbours": 8}, "6, 18 or 26"),
        ({"least_voxels": -1}, "least_voxels"),
        ({"least_voxels": 2**31}, "least_voxels"),
        ({"scratch": np.empty(8, np.uint8)}, "scratch has 8 bytes"),
        ({"threads": 0}, "threads"),
    ):
        with pytest.raises(ValueError, match=message):
            call(kernels, labels, **changed)
    for wrong in (labels.astype(np.uint16), labels[::2], labels[0]):
        with pytest.raises(TypeError):
            call(kernels, wrong)
    fixed = labels.copy()
    fixed.setflags(write=False)
    with pytest.raises(TypeError):
        call(kernels, fixed)


def test_too_little_scratch_changes_nothing() -> None:
    kernels, given = open_kernels("cpu", 1), noise((6, 9, 30), 3, 0.7, 5)
    least = kernels.table.components_scratch(given, 0)
    found = given.copy()
    needed = call(kernels, found, scratch=np.empty(least, np.uint8))
    assert needed > least
    assert np.array_equal(found, given)
    assert call(kernels, found, scratch=np.empty(needed, np.uint8)) == needed
    assert np.array_equal(found, plain(given, [1, 2, 3], 26, True, 0))
