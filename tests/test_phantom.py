"""The analytic head: plausible, reproducible, and where it says it is."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from runtime.errors import DestinationError
from runtime.volume import Grid
from training.phantom.__main__ import main
from training.phantom.head import Head, head_to_world, labels_at, sample_labels
from training.phantom.instances import deterministic_uid
from training.phantom.parameters import HeadParameters, Lesion
from training.phantom.protocol import PROTOCOLS
from training.phantom.scanner import paint
from training.phantom.study import Truth, write_dicom_study

PAIRS = {
    2: 41,
    3: 42,
    4: 43,
    5: 44,
    7: 46,
    8: 47,
    10: 49,
    11: 50,
    12: 51,
    13: 52,
    17: 53,
    18: 54,
    26: 58,
    28: 60,
}
BRAIN = {*PAIRS, *PAIRS.values(), 14, 15, 16, 24}

# Mean ± three standard deviations over the 20 real maps, in ml, widened where the real heads are old.
VOLUMES_ML = {
    2: (135, 300),
    3: (130, 320),
    4: (4, 50),
    7: (9, 20),
    8: (32, 73),
    10: (4, 11),
    11: (1.9, 5.4),
    12: (2.9, 7.6),
    13: (0.6, 2.2),
    14: (0.5, 4.0),
    15: (0.5, 3.2),
    16: (15, 29),
    17: (1.5, 6.5),
    18: (0.5, 2.6),
    24: (150, 650),
    26: (0.2, 0.9),
    28: (2.2, 5.8),
    506: (6, 19),
    511: (180, 520),
    515: (240, 650),
}


def whole_head(spacing_mm: float) -> Grid:
    shape = tuple(round(length / spacing_mm) for length in (192, 240, 225))
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = (-96 + spacing_mm / 2, -116, -125)
    return Grid(shape, affine)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def demo_head() -> np.ndarray:
    return sample_labels(HeadParameters(), whole_head(2.0))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return write_dicom_study(tmp_path_factory.mktemp("phantom") / "study", HeadParameters())


def test_phantom_is_the_same_twice(demo_head: np.ndarray) -> None:
    assert np.array_equal(demo_head, sample_labels(HeadParameters(), whole_head(2.0)))


def test_phantom_without_asymmetry_is_a_mirror_image() -> None:
    labels = sample_labels(HeadParameters(asymmetry=0.0, lesions=()), whole_head(3.0))
    swap = np.arange(1024)
    for left, right in PAIRS.items():
        swap[left], swap[right] = right, left
    assert np.array_equal(labels, swap[labels[::-1]])


def test_phantom_volumes_are_those_of_heads(demo_head: np.ndarray) -> None:
    for label, (low, high) in VOLUMES_ML.items():
        for value in {label, PAIRS.get(label, label)}:
            volume_ml = float((demo_head == value).sum()) * 8 / 1000
            assert low < volume_ml < high, f"label {value}: {volume_ml} ml"


def test_demo_lesions_have_the_asked_sizes() -> None:
    affine = np.eye(4)
    affine[:3, 3] = (-50, -50, -10)
    labels = sample_labels(HeadParameters(), Grid((110, 120, 70), affine))
    tumour_ml = float(np.isin(labels, (9001, 9002, 9003)).sum()) / 1000
    assert 20 < tumour_ml < 30
    assert all((labels == part).sum() > 1500 for part in (9001, 9002, 9003))
    assert 400 < (labels == 77).sum() < 1500


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_heads_have_every_structure_and_stay_in_their_box(seed: int) -> None:
    grid = whole_head(2.0)
    labels = sample_labels(HeadParameters.random(seed), grid)
    assert set(np.unique(labels)) >= BRAIN
    assert not labels[0].any()
    assert not labels[-1].any()
    assert not labels[:, 0].any()
    assert not labels[:, -1].any()
    assert not labels[:, :, -1].any()


def test_random_heads_repeat_and_differ() -> None:
    assert HeadParameters.random(5) == HeadParameters.random(5)
    assert HeadParameters.random(5) != HeadParameters.random(6)


def test_labels_at_agrees_with_an_oblique_grid() -> None:
    parameters = HeadParameters.random(4)
    affine = head_to_world(replace(parameters, tilt_deg=(20.0, -30.0, 10.0))) @ np.diag([4.0, 3.0, 5.0, 1.0])
    affine[:3, 3] += affine[:3, :3] @ (-20.0, -25.0, -16.0)
    grid = Grid((40, 50, 32), affine)
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1).reshape(-1, 3)
    points = index @ affine[:3, :3].T + affine[:3, 3]
    direct = labels_at(parameters, points).reshape(grid.shape)
    assert (direct != sample_labels(parameters, grid)).mean() < 1e-4  # float64 rounding at borders


def test_tilt_and_offset_move_the_head_rigidly() -> None:
    still = HeadParameters(lesions=(Lesion("tumour", (30.0, 20.0, 20.0), (15.0, 15.0, 15.0)),))
    moved = replace(still, tilt_deg=(10.0, -5.0, 7.0), offset_mm=(4.0, -6.0, 9.0))
    affine = np.diag([5.0, 5.0, 5.0, 1.0])
    affine[:3, 3] = (-90, -110, -120)
    here = sample_labels(still, Grid((36, 44, 40), affine))
    there = sample_labels(moved, Grid((36, 44, 40), head_to_world(moved) @ affine))
    assert (here != there).mean() < 2e-3  # float32 rounding at borders


def test_blocks_outside_the_head_are_skipped() -> None:
    head = Head.of(HeadParameters())
    assert not head.may_touch(np.array([[200.0, 210.0], [0.0, 10.0], [0.0, 10.0]]), np.eye(4))
    assert head.may_touch(np.array([[0.0, 10.0], [0.0, 10.0], [0.0, 10.0]]), np.eye(4))


def test_paint_orders_the_tissues_of_each_contrast(demo_head: np.ndarray) -> None:
    grid = whole_head(2.0)
    means = {}
    for modality in ("T1", "T2", "FLAIR", "CT"):
        image = paint([demo_head], grid, modality, np.random.default_rng(0))
        means[modality] = {
            value: float(np.median(image[demo_head == value])) for value in (2, 3, 4, 515, 9003)
        }
    assert means["T1"][2] > means["T1"][3] > means["T1"][4] > means["T1"][515]
    assert means["T2"][4] > means["T2"][3] > means["T2"][2]
    assert means["FLAIR"][9003] > means["FLAIR"][3] > means["FLAIR"][2] > means["FLAIR"][4]
    assert means["CT"][515] > 400 > 60 > means["CT"][3] > means["CT"][4]


def test_paint_refuses_an_unknown_contrast(demo_head: np.ndarray) -> None:
    with pytest.raises(ValueError, match="no contrast"):
        paint([demo_head], whole_head(2.0), "other", np.random.default_rng(0))


def test_lesion_refuses_an_unknown_kind() -> None:
    with pytest.raises(ValueError, match="not known"):
        Lesion("cyst", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def test_uids_repeat_and_are_valid() -> None:
    uid = deterministic_uid(3, "series", "T1")
    assert uid == deterministic_uid(3, "series", "T1") != deterministic_uid(4, "series", "T1")
    assert pydicom.uid.UID(uid).is_valid


def test_command_refuses_an_existing_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == DestinationError.exit_code
    assert "--force" in capsys.readouterr().err


def test_phantom_needs_no_torch() -> None:
    code = "import sys, training.phantom.__main__; sys.exit('torch' in sys.modules)"
    root = Path(__file__).resolve().parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def dicom_affine(folder: Path) -> np.ndarray:
    """Geometry read by the definitions of DICOM PS3.3 C.7.6.2, slices along axis 0, in RAS+."""
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(folder.iterdir())]
    first, last = headers[0], headers[-1]
    affine = np.eye(4)
    start = np.array(first.ImagePositionPatient, float)
    affine[:3, 0] = (np.array(last.ImagePositionPatient, float) - start) / (len(headers) - 1)
    affine[:3, 1] = np.array(first.ImageOrientationPatient[3:], float) * float(first.PixelSpacing[0])
    affine[:3, 2] = np.array(first.ImageOrientationPatient[:3], float) * float(first.PixelSpacing[1])
    affine[:3, 3] = start
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


@pytest.mark.slow
@pytest.mark.parametrize("name", [protocol.name for protocol in PROTOCOLS])
def test_study_has_the_lesions_at_their_millimetres(study: Truth, name: str) -> None:
    affine = dicom_affine(study.dicom / name)
    truth = nibabel.Nifti1Image.from_filename(study.labels[name])
    labels = np.asanyarray(truth.dataobj)
    assert np.allclose(truth.affine, affine, atol=1e-4)
    assert np.allclose(study.grids[name].affine, affine, atol=1e-6)
    centres = np.c_[study.lesion_centres_mm, np.ones(len(study.lesion_centres_mm))]
    if name == "CT":
        written = np.loadtxt(study.labels[name].with_name("ct_to_mr.txt"))
        assert np.allclose(written, study.ct_to_mr, atol=1e-9)
        centres = centres @ np.linalg.inv(written).T
    index = np.rint(centres @ np.linalg.inv(affine).T)[:, :3].astype(int)
    assert [int(labels[tuple(place)]) for place in index] == [9001, 77, 77, 77]


@pytest.mark.slow
def test_study_frames_of_reference_tell_mr_from_ct(study: Truth) -> None:
    frames = {}
    for protocol in PROTOCOLS:
        headers = [pydicom.dcmread(path) for path in sorted((study.dicom / protocol.name).iterdir())]
        assert len(headers) == protocol.shape[0]
        assert len({header.SOPInstanceUID for header in headers}) == len(headers)
        assert {header.SeriesInstanceUID for header in headers} == {study.series_uids[protocol.name]}
        assert headers[0].pixel_array.shape == protocol.shape[1:]
        assert str(headers[0].PatientName) == "PHANTOM^ZEUS"
        frames[protocol.name] = headers[0].FrameOfReferenceUID
    assert frames["T1"] == frames["T2"] == frames["FLAIR"] != frames["CT"]


@pytest.mark.slow
def test_study_is_at_most_60_megabytes(study: Truth) -> None:
    folder = study.dicom.parent
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 60e6
    assert {path.name for path in folder.iterdir()} == {"dicom", "truth"}
    assert not list(folder.parent.glob(".*partial*"))
