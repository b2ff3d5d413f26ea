"""Benchmark metrics: right against brute force, and in patient space."""

import numpy as np
import pytest

from runtime.volume import Grid, Labels
from training.metrics import compare, labels_on


def _ball(shape, centre, radius):
    axes = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    return sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True)) <= radius**2


def _brute_hd95(a, b, spacing):
    def border(mask):
        padded = np.pad(mask, 1)
        inner = padded.copy()
        for axis in range(3):
            inner &= np.roll(padded, 1, axis) & np.roll(padded, -1, axis)
        return np.argwhere((padded & ~inner)[1:-1, 1:-1, 1:-1]) * spacing

    first, second = border(a), border(b)
    gaps = np.linalg.norm(first[:, None] - second[None], axis=-1)
    return max(np.percentile(gaps.min(1), 95), np.percentile(gaps.min(0), 95))


def test_compare_equals_brute_force():
    grid = Grid((20, 22, 24), np.diag([1.0, 1.5, 2.0, 1]))
    a, b = _ball(grid.shape, (10, 11, 12), 6), _ball(grid.shape, (12, 11, 11), 5)
    score = compare(a, b, grid)
    assert score.dice == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))
    assert score.hd95_mm == pytest.approx(_brute_hd95(a, b, grid.spacing_mm), abs=1e-5)
    assert score.volume_error_percent == pytest.approx(100 * (a.sum() - b.sum()) / b.sum())
    assert score.reference_ml == pytest.approx(b.sum() * 3e-3)


def test_compare_of_equal_masks_is_perfect():
    grid = Grid((10, 10, 10), np.eye(4))
    mask = _ball(grid.shape, (5, 5, 5), 3)
    score = compare(mask, mask, grid)
    assert (score.dice, score.hd95_mm, score.volume_error_percent) == (1.0, 0.0, 0.0)


def test_compare_with_nothing_found_has_no_distance():
    grid = Grid((5, 5, 5), np.eye(4))
    truth = _ball(grid.shape, (2, 2, 2), 1)
    score = compare(np.zeros_like(truth), truth, grid)
    assert score.dice == 0
    assert np.isnan(score.hd95_mm)


def test_labels_on_finds_a_voxel_in_patient_space():
    affine = np.array([[0, -2.0, 0, 30], [0, 0, 3.0, -20], [1.5, 0, 0, 5], [0, 0, 0, 1]])
    voxels = np.zeros((6, 7, 8), np.uint8)
    voxels[2, 3, 4] = 9
    labels = Labels(voxels, affine, {9: "here"})
    place = (affine @ [2, 3, 4, 1])[:3]
    other = np.eye(4)
    other[:3, 3] = place - [5, 5, 5]
    moved = np.eye(4)
    moved[:3, 3] = [0, 0, 2]
    found = labels_on(labels, Grid((11, 11, 11), other))
    assert found[5, 5, 5] == 9
    assert labels_on(labels, Grid((11, 11, 11), other), moved)[5, 5, 3] == 9
