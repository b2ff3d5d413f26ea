"""Real studies of several vendors read to the voxels and the place that other readers found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.errors import ImageError
from runtime.formats.study_input import read_study

nibabel: Any = pytest.importorskip("nibabel")

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
pytestmark = [pytest.mark.data, pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is absent")]


@pytest.mark.parametrize(
    ("folder", "truth"),
    [
        ("ge/anatomical/001", "ge/anatomical/001"),
        ("ge/anatomical/001_implicit", "ge/anatomical/001_implicit"),
        ("generic/anatomical/001", "generic/anatomical/001"),
        ("generic/anatomical/001_implicit", "generic/anatomical/001_implicit"),
        ("generic/anatomical/002_non_isotropic", "generic/anatomical/002_non_isotropic"),
        ("generic/compressed/001", "generic/compressed/001"),
        ("generic/compressed_j2k/001", "generic/compressed_j2k/001"),
        ("generic/compressed_jpeg/001", "generic/compressed/001"),
        ("generic/compressed_jpegls/001", "generic/compressed_jpegls/001"),
        ("generic/compressed_rle/001", "generic/compressed_rle/001"),
        ("hitachi/anatomical/001", "hitachi/anatomical/001"),
        ("hitachi/anatomical/001_implicit", "hitachi/anatomical/001_implicit"),
    ],
)
def test_study_equals_the_nifti_truth(folder: str, truth: str) -> None:
    (series,) = read_study([str(DATA / "dicom2nifti" / folder)]).series
    volume = series.volume
    image = nibabel.load(DATA / "dicom2nifti" / f"{truth}_ground_truth.nii.gz")
    expected = np.asarray(image.dataobj)
    indices = np.argwhere(np.ones(volume.voxels.shape, bool))
    homogeneous = np.concatenate([indices, np.ones((len(indices), 1))], axis=1)
    there = homogeneous @ (np.linalg.inv(image.affine) @ volume.affine).T
    nearest = np.rint(there[:, :3]).astype(int)
    assert np.abs(there[:, :3] - nearest).max() < 2e-3  # voxels; truths hold float32 affines
    assert volume.voxels.size == expected.size
    ours = volume.voxels.ravel() * volume.slope + volume.intercept
    np.testing.assert_allclose(ours, expected[tuple(nearest.T)], rtol=1e-5)


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("dicom2nifti/failing/gantrytilting", r"14\.0 degrees \(gantry tilt\)"),
        ("dicom2nifti/failing/slicecount", "fewer than 3 slices"),
        ("dicom2nifti/failing/sliceincrement", "missing: 1 between instance 9"),
        ("dicom2nifti/ge/anatomical/001_single_slice", "fewer than 3 slices"),
        ("dicom2nifti/hyperfine", "Enhanced MR Image Storage is not supported"),
        ("dicom2nifti/philips_enhanced/anatomical/001", "Enhanced MR"),
        ("dicom2nifti/siemens_multiframe", "Enhanced MR"),
        ("dicom2nifti", "of 5 patients"),
        ("enhanced-xa30", "Enhanced MR"),
        ("transfer-syntaxes/In", "mosaic"),
        ("ct-head-ge/ct_head_ge.tar.gz", r"uneven, 1\.08 to 7\.00 mm .*18\.5 degrees \(gantry tilt\)"),
    ],
)
def test_study_refuses_with_the_reason(folder: str, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        read_study([str(DATA / folder)])


def test_study_of_four_contrasts_is_understood() -> None:
    study = read_study([str(DATA / "tcia-pgbm-002" / "PGBM-002_Study1.tar.gz")])
    assert [series.modality for series in study.series] == ["T1c", "T1", "FLAIR", "T2"]
    assert all(series.decision.certain for series in study.series)
    assert len({series.frame_of_reference_uid for series in study.series}) == 1
    mask = nibabel.load(DATA / "tcia-pgbm-002" / "PGBM-002_tumormask_on_T1post_grid.nii.gz")
    ours, theirs = study.series[0].volume, np.asarray(mask.dataobj)
    assert sorted(ours.voxels.shape) == sorted(theirs.shape)
    centre = np.argwhere(theirs > 0).mean(axis=0)
    index = np.linalg.inv(ours.affine) @ mask.affine @ [*centre, 1]
    assert np.all((index[:3] >= 0) & (index[:3] < ours.voxels.shape))


def test_study_siemens_sagittal_is_t1() -> None:
    study = read_study([str(DATA / "siemens-t1" / "sag-anon.tar.gz")])
    (series,) = study.series
    assert (series.modality, series.volume.voxels.shape) == ("T1", (192, 256, 256))
    assert series.frame_of_reference_uid == "1.3.12.2.1107.5.2.19.45152.1.20130308080352322.0.0.0"
    np.testing.assert_allclose(series.volume.spacing_mm, [0.9, 0.859375, 0.859375], atol=1e-4)


def test_study_jpeg_2000_ct_without_sop_class_lies_on_its_labels() -> None:
    study = read_study([str(DATA / "totalseg" / "example_ct_dicom")])
    (series,) = study.series
    volume = series.volume
    assert (series.modality, volume.intercept, len(series.instances)) == ("CT", -1024.0, 20)
    assert "file meta information" in series.notes[0]
    labels = nibabel.load(DATA / "totalseg" / "example_seg_dicom.nii.gz")
    values = np.asarray(labels.dataobj)
    to_ours = np.linalg.inv(volume.affine) @ labels.affine
    found = np.argwhere(values > 0)
    index = np.rint(np.c_[found, np.ones(len(found))] @ to_ours.T)[:, :3].astype(int)
    hounsfield = volume.voxels[tuple(index.T)] + volume.intercept
    assert -200 < np.median(hounsfield) < 300  # organs, not the air around the patient
