"""A folder or named files become one study, or a usage error says how to name them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.errors import ImageError, UsageError
from runtime.formats.study_input import read_study
from tests.dicom_factory import T1_TAGS, SeriesPlan, marked_voxels, ras_affine, uid, write_series

nibabel: Any = pytest.importorskip("nibabel")

T1 = SeriesPlan(tags=T1_TAGS)
T2_TAGS = {"ScanningSequence": "SE", "EchoTime": 95, "RepetitionTime": 4500, "SeriesNumber": 7}
VOXELS = marked_voxels()


def save_nifti(path: Path) -> Path:
    affine = ras_affine(SeriesPlan())[:, [2, 1, 0, 3]]
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(VOXELS.T), affine), path)
    return path


def test_study_reads_a_folder_to_the_bottom(tmp_path: Path) -> None:
    write_series(tmp_path / "a" / "b", VOXELS, T1)
    write_series(tmp_path / "c", VOXELS, replace(T1, name="t2", tags=T2_TAGS))
    (tmp_path / "README").write_text("not DICOM")
    study = read_study([str(tmp_path)])
    assert [series.modality for series in study.series] == ["T1", "T2"]
    assert study.series[0].frame_of_reference_uid == uid("study", "frame")
    assert study.series[0].uid == uid("study", "t1")
    assert study.notes == ("1 file is not DICOM and left out",)
    np.testing.assert_array_equal(study.series[0].volume.voxels, VOXELS)
    assert study.series[0].instances[0].path == tmp_path / "a" / "b" / "t1_000.dcm"
    assert "PixelData" not in study.series[0].instances[0].header


def test_study_reads_listed_files_once(tmp_path: Path) -> None:
    paths = [str(path) for path in write_series(tmp_path, VOXELS, T1)]
    assert len(read_study([*paths, paths[0], str(tmp_path)]).series[0].instances) == 5


def test_study_refuses_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no file"):
        read_study([str(tmp_path)])


@pytest.mark.parametrize("sources", [[], ["/nowhere/at/all"]])
def test_study_refuses_no_input(sources: list[str]) -> None:
    with pytest.raises(UsageError):
        read_study(sources)


def test_study_override_replaces_the_decision(tmp_path: Path) -> None:
    write_series(tmp_path, VOXELS, T1)
    study = read_study([str(tmp_path)], {uid("study", "t1"): "T1c"})
    assert study.series[0].decision.modality == "T1c"
    with pytest.raises(UsageError, match=uid("study", "t1")):
        read_study([str(tmp_path)], {"1.2.3": "T2"})


def test_study_reads_named_nifti_files(tmp_path: Path) -> None:
    first, second = save_nifti(tmp_path / "a.nii.gz"), save_nifti(tmp_path / "b.nii")
    study = read_study([f"t1ce={first}", f"FLAIR={second}"])
    assert [series.modality for series in study.series] == ["T1c", "FLAIR"]
    assert [series.path for series in study.series] == [first, second]
    np.testing.assert_array_equal(study.series[0].volume.voxels, VOXELS)
    np.testing.assert_allclose(study.series[0].volume.affine, ras_affine(SeriesPlan()), atol=1e-5)


def test_study_refuses_badly_named_nifti(tmp_path: Path) -> None:
    image = save_nifti(tmp_path / "a.nii.gz")
    folder = tmp_path / "dicom"
    write_series(folder, VOXELS, T1)
    for sources, message in (
        ([str(image)], "T1=a.nii.gz"),
        ([f"T1={image}", str(image)], "does not say what it shows"),
        ([f"T3={image}"], "'T3' .* is not a modality"),
        ([f"T1={image}", f"t1w={image}"], "T1 is given 2 times"),
        ([f"T1={tmp_path / 'none.nii'}"], "is not a file"),
        ([f"T1={folder / 't1_000.dcm'}"], "pass DICOM without"),
        ([f"T1={image}", str(folder)], "either one or the other"),
        ([str(image), str(folder)], "does not say what it shows"),
    ):
        with pytest.raises(UsageError, match=message):
            read_study(sources)
    shutil.rmtree(folder)
    with pytest.raises(UsageError, match=r"no DICOM, e\.g\. a\.nii\.gz"):
        read_study([str(tmp_path)])
