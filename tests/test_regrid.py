"""Resampling along axes: the numbers of SciPy, from matrices of our own."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import ndimage

from runtime.errors import UsageError
from runtime.stages.frame import resampled
from runtime.stages.regrid import nearest_index, regrid
from runtime.volume import Grid
from tests.recipes import NNUNET, RECIPE

SHAPE = (17, 9, 23)


def values(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(3).normal(0, 1, shape).astype(np.float32)


def grid(shape: tuple[int, int, int] = SHAPE, spacing: tuple[float, ...] = (1.0, 1.0, 1.0)) -> Grid:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = 5.0, -40.0, 12.0
    return Grid(shape, affine)


@pytest.mark.parametrize("wanted", [(0.6, 1.7, 0.9), (3.1, 0.4, 1.0), (1.0, 1.0, 2.5)])
def test_splines_are_those_of_scipy(wanted: tuple[float, float, float]) -> None:
    onto = resampled(grid(), NNUNET, wanted)
    found = regrid(values(), grid(), onto, "spline")
    factors = [new / old for new, old in zip(onto.shape, SHAPE, strict=True)]
    expected = ndimage.zoom(values().astype(np.float64), factors, order=3, mode="nearest", grid_mode=True)
    expected = np.clip(expected, values().min(), values().max())
    assert found.shape == expected.shape
    # float32 sums over at most 23 voxels an axis, and 0.268^12 where the spline's padding ends
    assert np.abs(found - expected).max() < 3e-6


def test_a_held_axis_takes_the_nearest_slice_and_splines_stay_within_each() -> None:
    spacing = (6.0, 1.0, 1.0)
    source = grid(spacing=spacing)
    onto = resampled(source, NNUNET, (2.5, 0.7, 1.3))
    found = regrid(values(), source, onto, "spline", held=0)
    slices = []
    for plane in values().astype(np.float64):
        factors = [onto.shape[n] / SHAPE[n] for n in (1, 2)]
        made = ndimage.zoom(plane, factors, order=3, mode="nearest", grid_mode=True)
        slices.append(np.clip(made, plane.min(), plane.max()))
    scale = SHAPE[0] / onto.shape[0]
    at = np.indices(onto.shape, dtype=np.float64)
    at[0] = (at[0] + 0.5) * scale - 0.5
    expected = ndimage.map_coordinates(np.stack(slices), at, order=0, mode="nearest")
    assert np.abs(found - expected).max() < 3e-6


def test_linear_is_that_of_scipy_up_to_the_border_and_beyond() -> None:
    onto = resampled(grid(), RECIPE, (0.7, 2.2, 1.4))
    found = regrid(values(), grid(), onto, "linear")
    at = np.stack(np.meshgrid(*(np.arange(n) for n in onto.shape), indexing="ij")).astype(np.float64)
    at *= np.array([0.7, 2.2, 1.4])[:, None, None, None]
    expected = ndimage.map_coordinates(values().astype(np.float64), at, order=1, mode="nearest")
    assert np.abs(found - expected).max() < 1e-6


def test_a_grid_of_the_same_voxels_costs_nothing() -> None:
    given = values()
    assert regrid(given, grid(), grid(), "spline") is given


def test_nearest_rounds_halves_up_and_repeats_the_border() -> None:
    assert nearest_index(3, np.array([-0.9, 0.49, 0.5, 1.5, 9.0])).tolist() == [0, 0, 1, 2, 2]


def test_grids_that_are_turned_are_refused() -> None:
    affine = np.eye(4)
    affine[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    with pytest.raises(UsageError, match="turned"):
        regrid(values(), grid(), Grid(SHAPE, affine), "linear")


def test_one_voxel_can_be_made_many_and_many_one() -> None:
    for shape, wanted in itertools.product([(1, 4, 4), (4, 1, 4)], [(0.5, 0.5, 0.5), (8.0, 8.0, 8.0)]):
        source = grid(shape)
        constant = np.full(shape, 7.0, np.float32)
        made = regrid(constant, source, resampled(source, NNUNET, wanted), "spline")
        assert np.abs(made - 7).max() < 1e-5
