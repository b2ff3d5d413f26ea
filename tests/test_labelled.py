"""Data sets of others: cases, their geometry, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from runtime.errors import ImageError
from training.labelled import LabelledCase, fold_of, read_decathlon, read_folder

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
