"""Views show the same picture whatever the storage order, the right way up, in millimetres, without a tag."""

from __future__ import annotations

import itertools
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.errors import ImageError
from runtime.formats.study_input import read_study
from runtime.language.views import PLANES, VIEWS, slice_axis, slice_plane, views
from runtime.volume import Volume

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SIZE = 96
HEAD_MM = (150.0, 190.0, 170.0)
"""Right to left, back to front, bottom to top."""
SPACINGS = ((5.0, 1.0, 1.25), (1.0, 5.0, 1.25), (1.0, 1.25, 5.0))
"""Thick sagittal, coronal and axial slices."""


def head(spacing_mm: tuple[float, ...], dtype: str = "int16") -> Volume:
    """An ellipsoid with a bright ball in front, on the left, at the top; no two axes (R, A, S) alike."""
    shape = tuple(
        round((side + 30.0 + 7 * axis) / mm)
        for axis, (side, mm) in enumerate(zip(HEAD_MM, spacing_mm, strict=True))
    )
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = -np.array(spacing_mm) * (np.array(shape) - 1) / 2 + (4.0, -9.0, 13.0)
    points = np.moveaxis(np.indices(shape, dtype=np.float64), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    inside = np.linalg.norm(points / (np.array(HEAD_MM) / 2), axis=-1) <= 1
    ball = np.linalg.norm(points - BALL_MM, axis=-1) <= 18
    random = np.random.default_rng(5).integers(0, 30, shape)
    return Volume(np.ascontiguousarray((random + 300 * inside + 400 * ball).astype(dtype)), affine)


BALL_MM = np.array([-35.0, 40.0, 30.0])


def stored(volume: Volume, order: tuple[int, ...], flips: tuple[bool, ...]) -> Volume:
    """The same scan, stored with other axes; `order` and `flips` are of the new axes."""
    voxels, affine = volume.voxels.transpose(order), volume.affine[:, [*order, 3]]
    for axis, flip in enumerate(flips):
        if flip:
            voxels, turn = np.flip(voxels, axis), np.eye(4)
            turn[axis, axis], turn[axis, 3] = -1, voxels.shape[axis] - 1
            affine = affine @ turn
    return Volume(np.ascontiguousarray(voxels), affine, volume.slope, volume.intercept)


def every_order(volume: Volume) -> list[Volume]:
    orders = itertools.permutations(range(3))
    return [
        stored(volume, *way) for way in itertools.product(orders, itertools.product((False, True), repeat=3))
    ]


@pytest.mark.parametrize(("spacing", "plane"), [*zip(SPACINGS, PLANES, strict=True)])
def test_picture_is_the_same_however_it_is_stored(spacing: tuple[float, ...], plane: str) -> None:
    volume = head(spacing)
    expected = views(volume, SIZE)
    assert expected.shape == (VIEWS, SIZE, SIZE)
    assert expected.dtype == np.float32
    assert len(set(volume.voxels.shape)) == 3
    others = every_order(volume)
    assert len(others) == 48
    for other in others:
        assert slice_plane(other) == plane
        np.testing.assert_array_equal(views(other, SIZE), expected)


def brightest(picture: NDArray[np.float32]) -> tuple[float, float]:
    """Row and column of the ball, -1…1 from the middle."""
    row, column = np.argwhere(picture > 0.9).mean(axis=0) / SIZE * 2 - 1
    return float(row), float(column)


@pytest.mark.parametrize(("spacing", "plane"), [*zip(SPACINGS, PLANES, strict=True)])
def test_pictures_are_the_right_way_up(spacing: tuple[float, ...], plane: str) -> None:
    made = dict.fromkeys(PLANES, np.zeros((SIZE, SIZE), np.float32))
    volume = head(spacing)
    pictures = views(volume, SIZE)
    made[plane] = pictures[:4].max(axis=0)  # the ball is in one of the slices
    across = [other for other in PLANES if other != plane]
    made |= dict(zip(across, pictures[4:], strict=True))
    side_mm = max(HEAD_MM)
    left, front, top = (-BALL_MM[0], BALL_MM[1], BALL_MM[2]) / np.array(side_mm / 2)
    places = {"axial": (-front, left), "coronal": (-top, left), "sagittal": (-top, -front)}
    row, column = brightest(made[plane])
    assert (row, column) == pytest.approx(places[plane], abs=0.12)


def test_middle_planes_across_slices_show_where_things_are() -> None:
    volume = head((1.0, 1.25, 5.0))
    points = np.indices(volume.voxels.shape)
    voxels = np.where(volume.voxels > 150, 300, 0)
    voxels[(voxels > 0) & (points[1] > 110) & (points[2] > 20)] = 900  # the front of the top
    sagittal, coronal = views(Volume(voxels.astype(np.int16), volume.affine), SIZE)[4:]
    assert (sagittal > 0.9).any()
    row, column = brightest(sagittal)
    assert row < -0.1
    assert column < -0.1
    assert not (coronal > 0.9).any()


def test_slices_lie_at_their_heights() -> None:
    spacing = (2.0, 2.0, 4.0)
    voxels = np.zeros((80, 90, 70), np.float32)
    voxels[10:70, 10:80, 10:60] = np.arange(21, 71)  # 50 slices of head, each of its own brightness
    for turned in (1, -1):
        affine = np.diag([*spacing[:2], turned * spacing[2], 1.0])
        pictures = views(Volume(np.ascontiguousarray(voxels[..., ::turned]), affine), SIZE)
        shown = [float(picture[48, 48]) * 70 for picture in pictures[:4]]
        assert shown == pytest.approx([36, 43, 51, 57], abs=0.01)


def test_field_is_square_and_in_millimetres() -> None:
    voxels = np.zeros((100, 40, 20), np.uint8)
    voxels[20:80, 8:32, 5:15] = 200  # 60 x 72 x 80 mm
    pictures = views(Volume(voxels, np.diag([1.0, 3.0, 8.0, 1.0])), 100)
    for picture, (tall, wide) in zip(pictures, [(72, 60)] * 4 + [(80, 72), (80, 60)], strict=True):
        assert (picture.sum(axis=0) > 1).sum() == pytest.approx(wide / (80 * 1.08) * 100, abs=2)
        assert (picture.sum(axis=1) > 1).sum() == pytest.approx(tall / (80 * 1.08) * 100, abs=2)


def test_thick_slices_look_thick_and_pixels_are_means() -> None:
    random = np.random.default_rng(1).integers(300, 900, (64, 64, 8)).astype(np.int16)
    pictures = views(Volume(random, np.diag([1.0, 1.0, 8.0, 1.0])), 64)
    rows = np.abs(np.diff(pictures[4], axis=0)).sum(axis=1)
    assert (rows > 0.5).sum() <= 2 * 9  # 8 slices: a pixel on each border may hold two of them
    inside = pictures[0][8:-8, 8:-8]
    assert inside.mean() == pytest.approx(random.mean() / np.percentile(random, 99.5), rel=0.02)


@pytest.mark.parametrize(
    ("slope", "intercept", "dtype"), [(1.0, -1024.0, "uint16"), (0.5, 0.0, "int16"), (-1.0, 0.0, "int16")]
)
def test_hounsfield_units_are_known_by_air(slope: float, intercept: float, dtype: str) -> None:
    hounsfield = np.full((60, 70, 40), -1000.0)
    hounsfield[10:50, 10:60, 5:35] = 50
    hounsfield[28:32, 33:37, 18:22] = 1000
    voxels = ((hounsfield - intercept) / slope).astype(dtype)
    pictures = views(Volume(voxels, np.diag([3.0, 3.0, 5.0, 1.0]), slope, intercept), SIZE)
    assert np.unique(np.round(pictures[:, 20, 48], 3)).tolist() == [0.5]  # 50 HU in -100…200
    assert pictures[4].max() == 1
    assert pictures[:, 0].max() == 0


def test_values_that_no_scan_has_are_dark() -> None:
    volume = head((1.0, 1.25, 5.0), "float32")
    expected = views(volume, SIZE)
    volume.voxels[volume.voxels < 20] = np.nan
    assert np.isfinite(views(volume, SIZE)).all()
    assert np.abs(views(volume, SIZE) - expected).max() < 0.06


def test_equal_spacings_are_cut_along_the_first_axis() -> None:
    voxels = np.zeros((30, 40, 50), np.int16)
    assert slice_axis(Volume(voxels, np.diag([1.0, 1.0, 1.0, 1.0]))) == 0
    assert slice_axis(Volume(voxels, np.diag([1.0, 1.005, 1.0, 1.0]))) == 0
    assert slice_axis(Volume(voxels, np.diag([1.0, 1.05, 1.0, 1.0]))) == 1
    assert slice_axis(Volume(voxels, np.diag([1.05, 1.0, 1.0, 1.0]))) == 0


def test_turned_head_is_shown_in_its_nearest_planes() -> None:
    volume = head((1.0, 1.25, 5.0))
    angle = np.deg2rad(25)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turned = Volume(volume.voxels, turn @ volume.affine)
    assert slice_plane(turned) == "axial"
    np.testing.assert_array_equal(views(turned, SIZE), views(volume, SIZE))


@pytest.mark.parametrize("value", [0, 7, -3])
def test_scan_without_contrast_is_refused(value: int) -> None:
    with pytest.raises(ImageError, match="nothing stands out"):
        views(Volume(np.full((20, 20, 20), value, np.int16), np.eye(4)), SIZE)


def test_absurd_scans_cost_no_memory() -> None:
    volume = Volume(np.zeros((1, 1, 1 << 20), np.uint8), np.diag([1e-6, 1e6, 1e3, 1.0]))
    volume.voxels[..., : 1 << 19] = 1
    assert np.isfinite(views(volume, 8)).all()


def test_large_scan_is_never_copied() -> None:
    voxels = np.zeros((256, 256, 256), np.int16)
    voxels[40:200, 50:220, 30:210] = 500
    voxels[80:90] = 900
    tracemalloc.start()
    views(Volume(voxels, np.eye(4)), SIZE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < voxels.nbytes / 2


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is absent")
@pytest.mark.parametrize(
    ("source", "plane"),
    [
        ("FLAIR=openms/patient01/raw/study1_FLAIR.nii.gz", "axial"),
        ("T1=enhanced-xa30/Ref/5_anat-T1w_acq-tfl.nii", "axial"),
        ("CT=totalseg/example_ct_sm.nii.gz", None),
    ],
)
def test_real_scan_looks_the_same_however_it_is_stored(source: str, plane: str | None) -> None:
    modality, name = source.split("=")
    (series,) = read_study([f"{modality}={DATA / name}"]).series
    expected = views(series.volume, SIZE)
    if plane is not None:
        assert slice_plane(series.volume) == plane
    spacing = series.volume.spacing_mm
    ways = every_order(series.volume)
    if spacing.max() < 1.01 * np.sort(spacing)[1]:  # then the first axis decides, and has to stay
        ways = [way for way in ways if slice_plane(way) == slice_plane(series.volume)]
        assert len(ways) == 16
    for way in ways:
        np.testing.assert_array_equal(views(way, SIZE), expected)


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is absent")
def test_real_heads_fill_their_field() -> None:
    study = read_study([str(DATA / "tcia-pgbm-002" / "PGBM-002_Study1.tar.gz")])
    assert len(study.series) == 4
    for series in study.series:
        pictures = views(series.volume, SIZE)
        assert slice_plane(series.volume) == "axial"
        assert pictures[:, 40:56, 40:56].mean() > 0.1
        tall: Any = (pictures[:4] > 0.1).any(axis=2).sum(axis=1)
        assert tall.max() > 0.75 * SIZE
        assert pictures[:4, 0].max() < 0.2
