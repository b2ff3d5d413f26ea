"""Data sets of others: cases, their geometry, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from runtime.errors import ImageError
from tests.dicom_factory import SeriesPlan, marked_voxels, write_series
from training.labelled import LabelledCase, fold_of, read_chaos, read_decathlon, read_folder

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "msd-hippocampus"
AFFINE = np.array([[-0.9, 0, 0, 40.0], [0, 1.1, 0, -30.0], [0, 0, 2.5, 7.0], [0, 0, 0, 1.0]])


def write(path: Path, voxels: Any, affine: Any = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)


def decathlon(folder: Path, cases: int = 2, modalities: int = 2) -> dict[str, Any]:
    """A small data set in the Decathlon's own layout."""
    random = np.random.default_rng(0)
    for n in range(cases):
        shape = (6, 7, 5) if modalities == 1 else (6, 7, 5, modalities)
        write(
            folder / "imagesTr" / f"prostate_{n:02d}.nii.gz", random.integers(0, 900, shape).astype(np.int16)
        )
        write(
            folder / "labelsTr" / f"prostate_{n:02d}.nii.gz",
            random.integers(0, 3, (6, 7, 5)).astype(np.uint8),
        )
    described = {
        "name": "PROSTATE",
        "tensorImageSize": "4D",
        "modality": {str(n): name for n, name in enumerate(("T2", "ADC")[:modalities])},
        "labels": {"0": "background", "1": "PZ", "2": "TZ"},
        "numTraining": cases,
        "training": [
            {"image": f"./imagesTr/prostate_{n:02d}.nii.gz", "label": f"./labelsTr/prostate_{n:02d}.nii.gz"}
            for n in range(cases)
        ],
        "test": [],
    }
    (folder / "dataset.json").write_text(json.dumps(described))
    return described


@pytest.mark.parametrize("modalities", [1, 2])
def test_decathlon_cases_are_read_where_they_lie(tmp_path: Path, modalities: int) -> None:
    decathlon(tmp_path, modalities=modalities)
    first, second = read_decathlon(tmp_path)
    assert (first.name, second.name) == ("prostate_00", "prostate_01")
    assert first.structures == {1: "PZ", 2: "TZ"}
    images, labels = second.read()
    assert list(images) == ["T2", "ADC"][:modalities]
    whole = nibabel.load(tmp_path / "imagesTr" / "prostate_01.nii.gz").get_fdata().reshape(6, 7, 5, -1)
    truth = nibabel.load(tmp_path / "labelsTr" / "prostate_01.nii.gz").get_fdata()
    for channel, volume in enumerate(images.values()):
        assert np.array_equal(volume.voxels.transpose(2, 1, 0), whole[..., channel])
        assert volume.grid.same_place_as(labels.grid)
    assert np.array_equal(labels.voxels.transpose(2, 1, 0), truth)
    assert np.allclose(labels.affine @ [1, 2, 3, 1], AFFINE @ [3, 2, 1, 1])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda found: found.pop("modality"), "modality"),
        (lambda found: found.update(labels=["background"]), "cannot be read"),
        (lambda found: found["training"][0].update(image="../secret.nii.gz"), "outside its folder"),
        (lambda found: found["training"][1].update(label="labelsTr/none.nii.gz"), "not there"),
        (lambda found: found["training"].append(found["training"][0]), "twice"),
    ],
)
def test_decathlon_that_is_damaged_is_refused(tmp_path: Path, damage: Any, message: str) -> None:
    found = decathlon(tmp_path)
    damage(found)
    (tmp_path / "dataset.json").write_text(json.dumps(found))
    with pytest.raises(ImageError, match=message):
        read_decathlon(tmp_path)


def test_decathlon_without_its_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"dataset\.json cannot be read"):
        read_decathlon(tmp_path)


def test_a_case_on_two_grids_is_refused(tmp_path: Path) -> None:
    decathlon(tmp_path, cases=1)
    moved = AFFINE.copy()
    moved[0, 3] += 1
    write(tmp_path / "labelsTr" / "prostate_00.nii.gz", np.zeros((6, 7, 5), np.uint8), moved)
    with pytest.raises(ImageError, match="do not lie on one grid"):
        read_decathlon(tmp_path)[0].read()


def test_labels_without_a_name_are_refused(tmp_path: Path) -> None:
    decathlon(tmp_path, cases=1)
    write(tmp_path / "labelsTr" / "prostate_00.nii.gz", np.full((6, 7, 5), 3.5, np.float32))
    with pytest.raises(ImageError, match=r"labels without a name: \[3\.5\]"):
        read_decathlon(tmp_path)[0].read()


def test_a_file_without_the_channel_is_refused(tmp_path: Path) -> None:
    decathlon(tmp_path, cases=1)
    write(tmp_path / "imagesTr" / "prostate_00.nii.gz", np.zeros((6, 7, 5), np.int16))
    with pytest.raises(ImageError, match="without channel 0"):
        read_decathlon(tmp_path)[0].read()


def test_folder_lists_whole_cases_and_names_the_others(tmp_path: Path) -> None:
    for folder, names in (("T1", "abc"), ("T2", "bc"), ("labels", "abe")):
        for name in names:
            write(tmp_path / folder / f"{name}.nii.gz", np.zeros((3, 4, 5), np.uint8))
    cases, lacking = read_folder(
        {"T1": tmp_path / "T1", "T2": tmp_path / "T2"}, tmp_path / "labels", {1: "tumour"}
    )
    assert [case.name for case in cases] == ["b"]
    assert lacking == ("a", "c", "e")
    images, labels = cases[0].read()
    assert set(images) == {"T1", "T2"}
    assert labels.names == {1: "tumour"}
    with pytest.raises(ImageError, match="no case in common"):
        read_folder({"T2": tmp_path / "T2"}, tmp_path / "T2" / "..", {1: "tumour"})
    write(tmp_path / "T1" / "b.nii", np.zeros((3, 4, 5), np.uint8))
    with pytest.raises(ImageError, match="one case, two files"):
        read_folder({"T1": tmp_path / "T1"}, tmp_path / "labels", {1: "tumour"})


GREYS = np.array([0, 63, 126, 189, 252], np.uint8)
T1_DUAL = {"ScanningSequence": "GR", "EchoTime": 4.6, "RepetitionTime": 160, "FlipAngle": 80}
T2_SPIR = {"ScanningSequence": "SE", "EchoTime": 70, "RepetitionTime": 1600, "FlipAngle": 90}


def chaos(folder: Path) -> Any:
    """One patient of each kind in CHAOS's own layout; returns the MR labels in the order of file names."""
    import SimpleITK

    values = np.random.default_rng(3).integers(0, 5, (5, 6, 7)).astype(np.uint8)

    def ground(at: Path, greys: Any) -> None:
        at.mkdir(parents=True)
        for n, plane in enumerate(greys):
            SimpleITK.WriteImage(SimpleITK.GetImageFromArray(plane), str(at / f"IMG-{n:04d}.png"))

    dual = folder / "MR" / "1" / "T1DUAL"
    for n, phase in enumerate(("InPhase", "OutPhase")):
        write_series(dual / "DICOM_anon" / phase, marked_voxels() + n, SeriesPlan(phase, tags=T1_DUAL))
    ground(dual / "Ground", GREYS[values])
    spir = folder / "MR" / "1" / "T2SPIR"
    down = SeriesPlan("spir", slice_step=(0.0, 0.0, -1.0), tags=T2_SPIR)  # by name from head to foot
    write_series(spir / "DICOM_anon", marked_voxels(), down)
    ground(spir / "Ground", GREYS[values])
    ct = folder / "CT" / "4"
    write_series(ct / "DICOM_anon", marked_voxels(), SeriesPlan("ct", modality="CT"))
    ground(ct / "Ground", np.where(values == 1, 255, 0).astype(np.uint8))
    return values


def test_chaos_cases_are_read_where_they_lie(tmp_path: Path) -> None:
    values = chaos(tmp_path)
    ct, dual, spir = read_chaos(tmp_path)
    assert [case.name for case in (ct, dual, spir)] == ["CT/4", "MR/1/T1DUAL", "MR/1/T2SPIR"]
    assert [case.patient for case in (ct, dual, spir)] == ["CT/4", "MR/1", "MR/1"]
    images, labels = dual.read()
    assert list(images) == ["T1 in phase", "T1 out of phase"]
    assert labels.names == {1: "liver", 2: "right kidney", 3: "left kidney", 4: "spleen"}
    assert np.array_equal(labels.voxels, values)
    assert np.array_equal(images["T1 out of phase"].voxels, images["T1 in phase"].voxels + 1)
    images, labels = spir.read()
    assert np.array_equal(labels.voxels, values[::-1])  # the volume goes upwards, its files downwards
    assert np.array_equal(images["T2 SPIR"].voxels, marked_voxels()[::-1])
    images, labels = ct.read()
    assert labels.names == {1: "liver"}
    assert np.array_equal(labels.voxels, values == 1)
    assert images["CT"].intercept == -1024


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda mr: next((mr / "T2SPIR" / "Ground").glob("*.png")).unlink(), "4 PNG files for 5 slices"),
        (lambda mr: (mr / "T2SPIR" / "Ground" / "IMG-0002.png").write_bytes(b"PNG"), "cut short or damaged"),
        (lambda mr: shutil.rmtree(mr / "T2SPIR" / "DICOM_anon"), "is not there"),
        (
            lambda mr: write_series(
                mr / "T2SPIR" / "DICOM_anon", marked_voxels(), SeriesPlan("more", tags=T2_SPIR)
            ),
            "2 series",
        ),
    ],
)
def test_chaos_case_that_is_damaged_is_refused(tmp_path: Path, damage: Any, message: str) -> None:
    chaos(tmp_path)
    damage(tmp_path / "MR" / "1")
    with pytest.raises(ImageError, match=message):
        read_chaos(tmp_path)[2].read()


def test_chaos_grey_without_a_meaning_is_refused(tmp_path: Path) -> None:
    import SimpleITK

    chaos(tmp_path)
    path = tmp_path / "CT" / "4" / "Ground" / "IMG-0001.png"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.full((6, 7), 63, np.uint8)), str(path))
    with pytest.raises(ImageError, match="grey value 63, which means no organ"):
        read_chaos(tmp_path)[0].read()
    with pytest.raises(ImageError, match="no CHAOS case"):
        read_chaos(tmp_path / "MR")


def test_folds_are_fixed_and_about_even() -> None:
    names = [f"hippocampus_{n:03d}" for n in range(400)]
    counts = np.bincount([fold_of(name, 5) for name in names], minlength=5)
    assert counts.min() > 50
    assert [fold_of(name, 5) for name in names[:6]] == [2, 0, 1, 2, 4, 4]


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is absent")
def test_real_hippocampi_lie_where_their_labels_lie() -> None:
    cases, lacking = read_folder({"T1": DATA / "images"}, DATA / "labels", {1: "anterior", 2: "posterior"})
    assert len(cases) > 250
    assert len(lacking) < 5
    for case in cases[::40]:
        images, labels = case.read()
        assert isinstance(case, LabelledCase)
        assert images["T1"].voxels.shape == labels.voxels.shape
        assert set(np.unique(labels.voxels)) == {0, 1, 2}
