"""The network's grid holds the head with a margin, and nothing absurd is ever allocated."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.bundle import ModelGrid
from runtime.errors import ImageError
from runtime.kernels import open_kernels
from runtime.stages.locate import model_grid
from runtime.volume import Affine, Grid, Volume

KERNELS = open_kernels("cpu", 1)
MODEL = ModelGrid((1.5, 1.5, 1.5), (128, 160, 128), 0.25)
MULTIPLE = 16
MARGIN_MM = 8.0
COARSE_MM = 4.0

UPRIGHT = np.diag([2.0, 2.0, 2.0, 1.0])
OBLIQUE = np.eye(4)
_TURN = np.linalg.qr(np.array([[0.9, -0.3, 0.2], [0.35, 0.85, -0.3], [-0.1, 0.35, 0.93]]))[0]
OBLIQUE[:3, :3] = _TURN * np.sign(np.diag(_TURN)) * [2.0, 2.5, 3.0]
OBLIQUE[:3, 3] = [-120.0, 40.0, 15.0]


def points(shape: tuple[int, ...], affine: Affine) -> NDArray[np.float64]:
    index = np.moveaxis(np.indices(shape, dtype=np.float64), 0, -1)
    return np.asarray(index @ affine[:3, :3].T + affine[:3, 3])


def ball(
    shape: tuple[int, int, int] = (90, 90, 90),
    affine: Affine = UPRIGHT,
    radius_mm: float = 40.0,
    inside: int = 300,
    outside: int = 5,
) -> tuple[Volume, NDArray[np.float64]]:
    """A bright ball around the middle of the scan, and its centre."""
    places = points(shape, affine)
    centre = places.reshape(-1, 3).mean(axis=0)
    voxels = np.full(shape, outside, np.int16)
    voxels[np.linalg.norm(places - centre, axis=-1) <= radius_mm] = inside
    return Volume(voxels, affine), centre


def located(volume: Volume, is_ct: bool = False, multiple: int = MULTIPLE) -> Grid:
    grid = model_grid(volume, is_ct, MODEL, multiple, KERNELS)
    assert all(side % multiple == 0 for side in grid.shape)
    assert np.allclose(grid.affine[:3, :3], np.diag(MODEL.spacing_mm))
    return grid


def bounds(grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Outer faces of the grid, RAS+ millimetres."""
    low = grid.affine[:3, 3] - np.array(MODEL.spacing_mm) / 2
    return low, low + np.array(grid.shape) * MODEL.spacing_mm


@pytest.mark.parametrize("affine", [UPRIGHT, OBLIQUE], ids=["upright", "oblique"])
def test_locate_holds_the_head_with_a_margin_and_not_much_more(affine: Affine) -> None:
    volume, centre = ball(affine=affine)
    grid = located(volume)
    low, high = bounds(grid)
    # A plane with less than 4 cm2 of the ball does not count: the cap it cuts off is 1.6 mm high.
    least = 40.0 - 1.6 - COARSE_MM / 2 + MARGIN_MM
    assert (low <= centre - least).all()
    assert (high >= centre + least).all()
    assert (np.array(grid.shape) * 1.5 <= 2 * (40.0 + COARSE_MM + MARGIN_MM) + MULTIPLE * 1.5).all()


def test_locate_ignores_specks_and_cables() -> None:
    volume, _ = ball()
    alone = located(volume)
    voxels = volume.voxels.copy()
    voxels[2:4, 3:8, 3:6] = 300  # 10 x 6 mm in each of two planes
    voxels[80:84, 80:84, 70:] = 300  # a cable, 8 x 8 x 40 mm: 3.2 cm2 from its side
    voxels[::44, ::44, ::44] = 300  # noise
    grid = located(Volume(voxels, volume.affine))
    assert grid.shape == alone.shape
    assert np.allclose(grid.affine, alone.affine)


def test_locate_takes_the_air_threshold_for_ct() -> None:
    """Otsu would split bone from the rest; -300 HU keeps the skin."""
    volume, centre = ball(inside=-100, outside=-1000)
    voxels = volume.voxels.copy()
    voxels[np.linalg.norm(points(voxels.shape, volume.affine) - centre, axis=-1) < 20.0] = 3000
    tissue = Volume(voxels, volume.affine)
    low, high = bounds(located(tissue, is_ct=True))
    assert (low <= centre - 40).all()
    assert (high >= centre + 40).all()
    assert max(located(tissue, is_ct=False).shape) < max(located(tissue, is_ct=True).shape)


def test_locate_applies_the_rescale() -> None:
    volume, _ = ball(inside=924, outside=24)
    scaled = Volume(volume.voxels, volume.affine, 1.0, -1024.0)
    plain, _ = ball(inside=-100, outside=-1000)
    assert np.allclose(located(scaled, is_ct=True).affine, located(plain, is_ct=True).affine)


@pytest.mark.parametrize("value", [0, 100])
@pytest.mark.parametrize("kind", [np.int16, np.float32])
def test_locate_refuses_a_scan_where_nothing_stands_out(value: int, kind: type) -> None:
    with pytest.raises(ImageError, match=r"nothing stands out .*; give a scan of a head"):
        located(Volume(np.full((30, 30, 30), value, kind), UPRIGHT))


def test_locate_refuses_a_ct_of_air_and_a_scan_of_nan() -> None:
    with pytest.raises(ImageError, match="nothing stands out"):
        located(Volume(np.full((30, 30, 30), -1000, np.int16), UPRIGHT), is_ct=True)
    with pytest.raises(ImageError, match="empty or damaged"):
        located(Volume(np.full((30, 30, 30), np.nan, np.float32), UPRIGHT))


def test_locate_makes_a_grid_for_a_scan_smaller_than_the_multiple() -> None:
    volume, centre = ball(shape=(13, 13, 13), radius_mm=12.5)
    grid = located(volume, multiple=64)
    assert grid.shape == (64, 64, 64)
    low, high = bounds(grid)
    assert np.allclose((low + high) / 2, centre, atol=1.5)


def test_locate_takes_a_thin_slab() -> None:
    volume, _ = ball(shape=(3, 90, 90), affine=np.diag([5.0, 2.0, 2.0, 1.0]))
    assert located(volume).shape[0] == MULTIPLE


def test_locate_refuses_a_body() -> None:
    volume, _ = ball(shape=(120, 120, 120), affine=np.diag([4.0, 4.0, 4.0, 1.0]), radius_mm=220.0)
    with pytest.raises(ImageError, match=r"spans 4\d\d mm.*give a scan of a head|give a head scan"):
        located(volume)


@pytest.mark.parametrize("spacing_mm", [49.0, 1e4, 1e7])
def test_locate_refuses_absurd_extents_without_allocating_them(spacing_mm: float) -> None:
    """A file of one megabyte may claim voxels of any size."""
    volume = Volume(
        np.arange(100**3, dtype=np.int32).reshape(100, 100, 100), np.diag([*[spacing_mm] * 3, 1.0])
    )
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match=r"not credible; check its voxel size"):
            located(volume)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_locate_leaves_the_couch_of_a_wide_ct_out() -> None:
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    volume, _ = ball((125, 80, 60), affine, radius_mm=80.0, inside=40, outside=-1000)
    alone = located(volume, is_ct=True)
    voxels = volume.voxels.copy()
    voxels[2:123, 8:10, :] = 200  # 484 mm wide, 8 mm thick, as long as the scan
    with_couch = located(Volume(voxels, affine), is_ct=True)
    assert with_couch.shape == alone.shape
    assert np.array_equal(with_couch.affine, alone.affine)
    voxels[2:123, 8:14, :] = 40  # a shoulder is no couch
    with pytest.raises(ImageError, match="not a head"):
        located(Volume(voxels, affine), is_ct=True)
