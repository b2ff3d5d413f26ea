from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from runtime.content import SliceContent, slice_content
from runtime.errors import UsageError
from runtime.formats.preview import PreviewChannel, write_preview
from runtime.formats.preview_planes import PLANES, View, centre_of, cut_labels, cut_volume, display_window
from runtime.kernels import open_kernels
from runtime.structure import Code, Structure
from runtime.volume import Affine, Labels, Volume

image_module = pytest.importorskip("PIL.Image")

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
ANATOMY = Code("123037004", "SCT", "Anatomical Structure")
LESION = Code("49755003", "SCT", "Morphologically Abnormal Structure")
LEFT = Structure(1, "left block", ANATOMY, Code("42695009", "SCT", "Thalamus"), (0, 200, 0))
RIGHT = Structure(2, "right block", ANATOMY, Code("89278009", "SCT", "Putamen"), (0, 0, 255))
TUMOUR = Structure(3, "tumour", LESION, Code("108369006", "SCT", "Neoplasm"), (255, 0, 0))
BOTH = Structure(
    9, "both", ANATOMY, Code("12738006", "SCT", "Brain"), (255, 255, 0), ("left block", "right block")
)
NAMES = {1: "left block", 2: "right block", 3: "tumour"}


def counted(labels: Labels) -> SliceContent:
    return slice_content(labels.voxels, open_kernels())


def oblique_affine() -> Affine:
    """Axes permuted and turned by 20 degrees; 2.0, 1.0 and 1.5 mm."""
    a = np.deg2rad(20)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.array([[0, 0, -1.5], [0, -1.0, 0], [2.0, 0, 0]])
    affine[:3, 3] = -affine[:3, :3] @ [20, 40, 25]
    return affine


def world_of(shape: tuple[int, int, int], affine: Affine) -> np.ndarray:
    """RAS coordinates of every voxel, (I, J, K, 3)."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    return index @ affine[:3, :3].T + affine[:3, 3]


@pytest.fixture
def volume() -> Volume:
    """A ball of 35 mm whose brightness grows towards right, anterior and superior."""
    place = world_of((40, 80, 50), oblique_affine())
    bright = 500 + place @ [1.0, 2.0, 4.0]
    ball = np.linalg.norm(place, axis=-1) < 35
    return Volume(np.where(ball, bright, 0).astype(np.int16), oblique_affine())


@pytest.fixture
def labels() -> Labels:
    """A block on the patient's left (x < -8) and one on the right (x > 8)."""
    place = world_of((40, 80, 50), oblique_affine())
    near = (np.abs(place[..., 1]) < 10) & (np.abs(place[..., 2]) < 10)
    voxels = np.zeros(place.shape[:3], np.uint8)
    voxels[near & (place[..., 0] < -8) & (place[..., 0] > -20)] = 1
    voxels[near & (place[..., 0] > 8) & (place[..., 0] < 20)] = 2
    return Labels(voxels, oblique_affine(), NAMES)


@pytest.fixture
def view() -> View:
    return View(np.zeros(3), np.full(3, -30.0), np.full(3, 30.0), 2.0)


def test_cut_shows_the_patients_right_at_the_left(labels: Labels, view: View) -> None:
    for plane in PLANES[:2]:
        columns = [np.nonzero(cut_labels(labels, plane, view) == value)[1] for value in (1, 2)]
        assert columns[1].max() < columns[0].min()


@pytest.mark.parametrize("plane", PLANES, ids=lambda plane: str(plane.name))
def test_cut_follows_the_patients_axes(volume: Volume, view: View, plane: object) -> None:
    cut = cut_volume(volume, None, plane, view)  # type: ignore[arg-type]
    assert cut.shape == (120, 120)
    gradient = np.array([1.0, 2.0, 4.0])
    rows, columns = np.meshgrid(np.arange(120), np.arange(120), indexing="ij")
    wanted = 500 + gradient[plane.down] * (29.75 - rows / 2) + gradient[plane.across] * (29.75 - columns / 2)  # type: ignore[attr-defined]
    inner = (slice(30, 90), slice(30, 90))
    assert np.abs(cut[inner] - wanted[inner]).max() < 1.5  # stored values are rounded down


def test_cut_follows_a_registration(volume: Volume, view: View) -> None:
    shift = np.eye(4)
    shift[:3, 3] = 4, -6, 8
    moved = Volume(volume.voxels, shift @ volume.affine)
    for plane in PLANES:
        straight = cut_volume(volume, None, plane, view)
        assert np.allclose(straight, cut_volume(moved, shift, plane, view), atol=1e-2, equal_nan=True)


def test_cut_outside_is_empty(volume: Volume, labels: Labels) -> None:
    far = View(np.full(3, 500.0), np.full(3, 470.0), np.full(3, 530.0), 1.0)
    assert np.isnan(cut_volume(volume, None, PLANES[0], far)).all()
    assert not cut_labels(labels, PLANES[0], far).any()


def test_window_of_ct_is_the_brain_window(volume: Volume) -> None:
    assert display_window(volume, is_ct=True) == (-10.0, 90.0)
    low, high = display_window(volume, is_ct=False)
    assert low == 0
    assert 500 < high < 700


def test_centre_lies_in_a_piece_not_between_pieces(labels: Labels) -> None:
    table = np.zeros(256, bool)
    table[[1, 2]] = True
    centre = centre_of(labels, table)
    assert centre is not None
    assert 8 <= abs(centre[0]) <= 20
    assert centre[1:] == pytest.approx([0, 0], abs=1.5)
    assert centre_of(labels, np.zeros(256, bool)) is None


def colours(path: Path) -> np.ndarray:
    with image_module.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def test_preview_draws_structures_in_their_colours(tmp_path: Path, volume: Volume, labels: Labels) -> None:
    write_preview(
        tmp_path / "a.png",
        [PreviewChannel("T1", volume)],
        labels,
        counted(labels),
        (LEFT, RIGHT, BOTH),
        "model",
    )
    picture = colours(tmp_path / "a.png")
    green, blue, yellow = (
        (np.abs(picture - np.array(colour)).max(axis=-1) < 30).nonzero()[1]
        for colour in ((0, 200, 0), (0, 0, 255), (255, 255, 0))
    )
    assert min(len(green), len(blue), len(yellow)) > 100
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_preview_grows_by_a_row_for_each_channel(tmp_path: Path, volume: Volume, labels: Labels) -> None:
    channels = [PreviewChannel(name, volume) for name in ("T1", "T2", "FLAIR", "CT head")]
    sizes = []
    for count in (1, 2, 4):
        write_preview(tmp_path / "a.png", channels[:count], labels, counted(labels), (LEFT,), "model")
        sizes.append(colours(tmp_path / "a.png").shape)
    assert sizes[0][0] < sizes[1][0] < sizes[2][0]


def test_preview_goes_through_the_lesion(tmp_path: Path, volume: Volume, labels: Labels) -> None:
    voxels = labels.voxels.copy()
    place = world_of(voxels.shape, labels.affine)
    voxels[np.linalg.norm(place - [0, 20, 20], axis=-1) < 5] = 3
    changed = Labels(voxels, labels.affine, NAMES)
    write_preview(
        tmp_path / "a.png", [PreviewChannel("T1", volume)], changed, counted(changed), (LEFT, TUMOUR), "model"
    )
    picture = colours(tmp_path / "a.png")
    panels = picture[80:540, 54:1100]
    assert (np.abs(panels - [255, 0, 0]).max(axis=-1) < 30).sum() > 100


def test_preview_of_nothing_found_still_shows_the_scan(tmp_path: Path, volume: Volume) -> None:
    empty = Labels(np.zeros(volume.voxels.shape, np.uint8), volume.affine, NAMES)
    write_preview(
        tmp_path / "a.png", [PreviewChannel("T1", volume)], empty, counted(empty), (LEFT, BOTH), "model"
    )
    assert colours(tmp_path / "a.png").std() > 20


def test_preview_survives_long_names_and_many_structures(
    tmp_path: Path, volume: Volume, labels: Labels
) -> None:
    many = [
        Structure(10 + n, f"a structure with a very long name, number {n}", ANATOMY, LEFT.kind, (200, n, 0))
        for n in range(120)
    ]
    write_preview(
        tmp_path / "a.png",
        [PreviewChannel("T1 " * 40, volume)],
        labels,
        counted(labels),
        many,
        "caption " * 90,
    )
    assert colours(tmp_path / "a.png").shape[1] < 2500


@pytest.mark.parametrize("fill", [0.0, np.nan])
def test_preview_survives_an_empty_image(tmp_path: Path, labels: Labels, fill: float) -> None:
    blank = Volume(np.full(labels.voxels.shape, fill, np.float32), labels.affine)
    write_preview(
        tmp_path / "a.png", [PreviewChannel("T1", blank)], labels, counted(labels), (LEFT,), "model"
    )
    assert (tmp_path / "a.png").exists()


def test_preview_needs_a_channel(tmp_path: Path, labels: Labels) -> None:
    with pytest.raises(UsageError, match="at least one channel"):
        write_preview(tmp_path / "a.png", [], labels, counted(labels), (LEFT,), "model")


def test_preview_import_is_light() -> None:
    code = (
        "import sys, runtime.formats.preview; "
        "print(sorted({'PIL', 'matplotlib', 'nibabel', 'pydicom'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.data
def test_preview_of_a_real_head_shows_its_volumes(tmp_path: Path) -> None:
    nib = pytest.importorskip("nibabel")
    folder = DATA / "t1-aseg"
    if not folder.exists():
        pytest.skip(f"{folder} is absent")
    image, parcels = nib.load(folder / "norm.mgz"), nib.load(folder / "aparc.a2009s+aseg.mgz")
    affine = np.ascontiguousarray(image.affine[:, [2, 1, 0, 3]])
    aseg = np.ascontiguousarray(np.asarray(parcels.dataobj).T)
    voxels = np.where(np.isin(aseg, (10, 11, 12)), 1, np.where(np.isin(aseg, (49, 50, 51)), 2, 0))
    scan = Volume(np.ascontiguousarray(np.asarray(image.dataobj).T), affine)
    found = Labels(voxels.astype(np.uint8), affine, NAMES)
    write_preview(
        tmp_path / "a.png", [PreviewChannel("T1", scan)], found, counted(found), (LEFT, RIGHT), "model"
    )
    picture = colours(tmp_path / "a.png")
    panels = picture[80:540, 54:400]  # axial: left basal ganglia at the right of the picture
    green, blue = (
        (np.abs(panels - np.array(c)).max(axis=-1) < 40).nonzero()[1] for c in ((0, 200, 0), (0, 0, 255))
    )
    assert blue.mean() < green.mean()
