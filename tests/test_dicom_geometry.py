"""Slices become one affine, or the refusal names the slice and the millimetre."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.errors import ImageError
from runtime.formats.dicom_geometry import slice_positions, stack_slices
from runtime.formats.study_input import read_study
from runtime.study import Series
from tests.dicom_factory import T1_TAGS, SeriesPlan, marked_voxels, orientations, ras_affine, write_series

SHAPE, MARK = (5, 6, 7), (1, 4, 2)
AXIAL = np.array([1.0, 0, 0, 0, 1, 0])
OBLIQUE = (0.05378466, 0.96501313, 0.25662592, 0.01811332, 0.25601276, -0.96650368)


def read_one(folder: Path) -> Series:
    (series,) = read_study([str(folder)]).series
    return series


def assert_mark_is_found(series: Series, plan: SeriesPlan) -> None:
    (found,) = np.argwhere(series.volume.voxels == 1000)
    world = series.volume.affine @ [*found, 1]
    np.testing.assert_allclose(world, ras_affine(plan) @ [*MARK, 1], atol=1e-3)


def positions(distances: list[float], shift: float = 0.0) -> NDArray[np.float64]:
    """Axial slice positions, optionally sheared along y by `shift` mm per mm."""
    return np.array([[-100.0, -120.0 + shift * distance, distance] for distance in distances])


def stack(distances: list[float], shift: float = 0.0, orientation: NDArray[np.float64] = AXIAL) -> None:
    names = [f"slice {at}" for at in range(len(distances))]
    stack_slices(positions(distances, shift), orientation, np.array([1.0, 1.0]), names)


@pytest.mark.parametrize("frame", list(orientations()))
def test_geometry_marked_voxel_lands_at_its_millimetre(tmp_path: Path, frame: tuple[float, ...]) -> None:
    step = (frame[6], frame[7], frame[8])
    plan = SeriesPlan(orientation=frame[:6], slice_step=step, tags=T1_TAGS)
    write_series(tmp_path, marked_voxels(SHAPE, MARK), plan)
    series = read_one(tmp_path)
    assert_mark_is_found(series, plan)
    np.testing.assert_allclose(series.volume.spacing_mm, plan.spacing_mm, atol=1e-6)


def test_geometry_oblique_voxel_lands_at_its_millimetre(tmp_path: Path) -> None:
    plan = SeriesPlan(orientation=OBLIQUE, spacing_mm=(0.9, 0.859375, 0.7), tags=T1_TAGS)
    write_series(tmp_path, marked_voxels(SHAPE, MARK), plan)
    assert_mark_is_found(read_one(tmp_path), plan)


def test_geometry_instances_follow_axis_0(tmp_path: Path) -> None:
    plan = SeriesPlan(slice_step=(0.0, 0.0, -1.0), tags=T1_TAGS)
    write_series(tmp_path, marked_voxels(SHAPE, MARK), plan)
    series = read_one(tmp_path)
    assert [instance.header.InstanceNumber for instance in series.instances] == [5, 4, 3, 2, 1]
    for index, instance in enumerate(series.instances):
        lps = series.volume.affine @ [index, 0, 0, 1] * [-1, -1, 1, 1]
        np.testing.assert_allclose(lps[:3], instance.header.ImagePositionPatient, atol=1e-6)


def test_stack_orders_along_the_normal() -> None:
    made = stack_slices(positions([4, 0, 2]), AXIAL, np.array([1.0, 2.0]), ["a", "b", "c"])
    assert made.order == (1, 2, 0)
    expected = [[0, 0, -2, 100], [0, -1, 0, 120], [2, 0, 0, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(made.affine, expected)
    np.testing.assert_allclose(slice_positions(positions([4, 0, 2]), AXIAL), [4, 0, 2])


def test_stack_accepts_positions_rounded_by_the_scanner() -> None:
    stack([round(at * 0.9375, 2) for at in range(150)])


def test_stack_names_the_missing_slice() -> None:
    with pytest.raises(ImageError, match=r"missing: 2 between slice 3 and slice 4 \(after 9\.0 mm\)"):
        stack([0, 3, 6, 9, 18, 21, 24])


def test_stack_refuses_uneven_spacing() -> None:
    with pytest.raises(ImageError, match=r"uneven, 3\.00 to 4\.20 mm \(first odd gap between slice 2 and"):
        stack([0, 3, 6, 10.2, 13.2])


def test_stack_refuses_errors_that_add_up() -> None:
    gaps = [1.008] * 60 + [0.992] * 60
    with pytest.raises(ImageError, match=r"slice 60 lies 0\.48 mm off a regular grid"):
        stack(np.cumsum([0.0, *gaps]).tolist())


def test_stack_refuses_gantry_tilt_and_says_the_angle() -> None:
    with pytest.raises(ImageError, match=r"15\.0 degrees \(gantry tilt\)"):
        stack([0, 3, 6, 9], shift=float(np.tan(np.radians(15))))


def test_stack_refuses_one_slice_moved_sideways() -> None:
    moved = positions([0, 3, 6, 9])
    moved[2, 0] += 2
    with pytest.raises(ImageError, match=r"c lies 2\.00 mm off"):
        stack_slices(moved, AXIAL, np.array([1.0, 1.0]), list("abcd"))


def test_stack_refuses_directions_that_are_not_orthonormal() -> None:
    with pytest.raises(ImageError, match="ImageOrientationPatient"):
        stack([0, 3, 6], orientation=np.array([1.0, 0, 0, 0.1, 1, 0]))


def test_stack_refuses_absurd_voxels() -> None:
    with pytest.raises(ImageError, match="not plausible"):
        stack([0, 3000, 6000])
    with pytest.raises(ImageError, match="not plausible"):
        stack([0, 0, 0])


def test_stack_refuses_two_slices_at_one_position() -> None:
    with pytest.raises(ImageError, match="slice 1 and slice 2 lie at the same position"):
        stack([0, 3, 3, 6])
