"""Regular series are read to the voxel; anything else is left out with its reason, without patient data."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import EnhancedMRImageStorage, SegmentationStorage

from runtime.errors import ImageError
from runtime.formats.study_input import read_study
from runtime.study import Study
from tests.dicom_factory import T1_TAGS, SeriesPlan, marked_voxels, uid, write_series

T1 = SeriesPlan(tags=T1_TAGS)
T2_TAGS = {"ScanningSequence": "SE", "EchoTime": 95, "RepetitionTime": 4500, "SeriesNumber": 7}
VOXELS = marked_voxels()
PATIENT_DATA = ("TEST-PATIENT", "Secret", "19700101", "20200102")


def said(study: Study) -> str:
    return " | ".join(study.notes + study.series[0].notes)


def assert_no_patient_data(message: str) -> None:
    assert not [word for word in PATIENT_DATA if word in message]


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "big", "deflated", "rle"])
@pytest.mark.parametrize("kind", ["int16", "uint16", "uint8"])
def test_study_reads_every_transfer_syntax_alike(tmp_path: Path, syntax: str, kind: str) -> None:
    voxels = (VOXELS % 251).astype(kind)
    write_series(tmp_path, voxels, replace(T1, syntax=syntax))
    volume = read_study([str(tmp_path)]).series[0].volume
    assert volume.voxels.dtype == kind
    np.testing.assert_array_equal(volume.voxels, voxels)


def test_study_reads_files_without_preamble(tmp_path: Path) -> None:
    for path in write_series(tmp_path, VOXELS, replace(T1, syntax="implicit")):
        made = pydicom.dcmread(path)
        made.save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=False)
        bare = path.read_bytes()
        start = bare.index(b"\x08\x00\x08\x00")  # ImageType, the first element of the data set
        path.write_bytes(bare[start:])
    np.testing.assert_array_equal(read_study([str(tmp_path)]).series[0].volume.voxels, VOXELS)


def test_study_names_an_unreadable_file_among_good_ones(tmp_path: Path) -> None:
    write_series(tmp_path, VOXELS, T1)
    (tmp_path / "broken.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 40)
    study = read_study([str(tmp_path)])
    assert len(study.series) == 1
    assert any("broken.dcm" in note for note in study.notes)


def test_study_names_a_file_that_ends_before_its_series_is_known(tmp_path: Path) -> None:
    paths = write_series(tmp_path, VOXELS, T1)
    paths[4].write_bytes(paths[4].read_bytes()[:600])
    study = read_study([str(tmp_path)])
    assert len(study.series[0].instances) == 4
    assert "t1_004.dcm looks like DICOM but cannot be read" in said(study)


def test_study_names_a_few_of_many_unreadable_files(tmp_path: Path) -> None:
    write_series(tmp_path, VOXELS, T1)
    for n in range(9):
        (tmp_path / f"torn_{n}.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 40)
    shown = said(read_study([str(tmp_path)]))
    assert "torn_0.dcm, torn_1.dcm, torn_2.dcm and 6 more files look like DICOM but cannot be read" in shown


def test_study_refuses_a_series_whose_slice_is_unreadable(tmp_path: Path) -> None:
    paths = write_series(tmp_path, VOXELS, T1)
    paths[2].write_bytes(paths[2].read_bytes()[:132] + b"\xff" * 40)
    with pytest.raises(ImageError, match=r"missing: 1 between instance 2 .* and instance 4") as caught:
        read_study([str(tmp_path)])
    assert "t1_002.dcm" in str(caught.value)
    assert_no_patient_data(str(caught.value))


@pytest.mark.parametrize("kept", [-10, -100, 950])
def test_study_refuses_a_series_with_a_file_cut_short(tmp_path: Path, kept: int) -> None:
    paths = write_series(tmp_path, VOXELS, T1)
    paths[4].write_bytes(paths[4].read_bytes()[:kept])
    with pytest.raises(ImageError, match=r"t1_004\.dcm"):
        read_study([str(tmp_path)])
    write_series(tmp_path, VOXELS, replace(T1, name="t2", tags=T2_TAGS))
    study = read_study([str(tmp_path)])
    assert [series.modality for series in study.series] == ["T2"]
    assert "t1_004.dcm" in said(study)


def test_study_refuses_compressed_pixels_cut_short(tmp_path: Path) -> None:
    paths = write_series(tmp_path, VOXELS, replace(T1, syntax="rle"))
    paths[1].write_bytes(paths[1].read_bytes()[:-60])
    with pytest.raises(ImageError, match=r"t1_001\.dcm cannot be decoded"):
        read_study([str(tmp_path)])


@pytest.mark.parametrize(
    "other",
    [
        {"PatientID": "SOMEONE-ELSE"},
        {"PatientBirthDate": "19800202"},
        {"IssuerOfPatientID": "B"},
    ],
)
def test_study_refuses_two_patients_without_naming_them(tmp_path: Path, other: dict[str, str]) -> None:
    write_series(tmp_path / "a", VOXELS, replace(T1, tags={**T1_TAGS, "IssuerOfPatientID": "A"}))
    tags = {**T2_TAGS, "IssuerOfPatientID": "A", **other}
    write_series(tmp_path / "b", VOXELS, replace(T1, name="t2", tags=tags))
    with pytest.raises(ImageError, match=r"2 patients, for example a/t1_000\.dcm, b/t2_000\.dcm") as caught:
        read_study([str(tmp_path)])
    assert_no_patient_data(str(caught.value))
    assert "SOMEONE" not in str(caught.value)


def test_study_refuses_two_studies(tmp_path: Path) -> None:
    write_series(tmp_path / "a", VOXELS, T1)
    write_series(tmp_path / "b", VOXELS, replace(T1, study="another"))
    with pytest.raises(ImageError, match=r"2 studies, for example a/t1_000\.dcm, b/t1_000\.dcm"):
        read_study([str(tmp_path)])


def test_study_refuses_a_missing_slice(tmp_path: Path) -> None:
    write_series(tmp_path, VOXELS, T1)[3].unlink()
    with pytest.raises(ImageError, match=r"missing: 1 between instance 3 \(t1_002\.dcm\) and instance 5"):
        read_study([str(tmp_path)])


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        (
            {"SOPClassUID": EnhancedMRImageStorage, "NumberOfFrames": 5},
            "Enhanced MR Image Storage is not supported",
        ),
        ({"SOPClassUID": SegmentationStorage}, "Segmentation Storage is not supported"),
        ({"SOPClassUID": "1.2.3.4"}, "a private object is not supported"),
        ({"NumberOfFrames": 2}, "several frames"),
        ({"SamplesPerPixel": 3}, "colour"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}, "mosaic"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localiser"),
        ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, "bytes of pixel data"),
        ({"ImagePositionPatient": None}, "no usable ImagePositionPatient"),
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, "RescaleSlope 0"),
    ],
)
def test_study_leaves_out_what_is_not_supported_and_says_so(
    tmp_path: Path, tags: dict[str, Any], reason: str
) -> None:
    write_series(tmp_path, VOXELS, replace(T1, name="odd", tags={**T1_TAGS, **tags}))
    with pytest.raises(ImageError, match=reason):
        read_study([str(tmp_path)])
    write_series(tmp_path, VOXELS, replace(T1, tags={**T1_TAGS, "SeriesNumber": 2}))
    study = read_study([str(tmp_path)])
    assert [series.uid for series in study.series] == [uid("study", "t1")]
    assert reason in said(study)


def test_study_leaves_out_two_slices_and_mixed_directions(tmp_path: Path) -> None:
    write_series(tmp_path, VOXELS[:2], replace(T1, name="two"))
    turned = {0: {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}}
    write_series(tmp_path, VOXELS, replace(T1, name="mixed", slice_tags=turned))
    with pytest.raises(ImageError, match="fewer than 3 slices") as caught:
        read_study([str(tmp_path)])
    assert "different directions" in str(caught.value)


def test_study_drops_copies_of_an_instance(tmp_path: Path) -> None:
    paths = write_series(tmp_path, VOXELS, T1)
    shutil.copy(paths[1], tmp_path / "copy.dcm")
    study = read_study([str(tmp_path)])
    assert study.series[0].volume.voxels.shape == VOXELS.shape
    assert "1 copy of the same instance left out" in said(study)


def test_study_refuses_two_files_that_claim_to_be_one_instance(tmp_path: Path) -> None:
    paths = write_series(tmp_path, VOXELS, T1)
    (tmp_path / "copy.dcm").write_bytes(paths[1].read_bytes()[:-2] + b"\x01\x01")
    with pytest.raises(ImageError, match=r"copy\.dcm and t1_001\.dcm differ but claim"):
        read_study([str(tmp_path)])


@pytest.mark.parametrize("by", ["EchoTime", "ImageType", "AcquisitionNumber", "InstanceNumber"])
def test_study_splits_colliding_slices(tmp_path: Path, by: str) -> None:
    values: dict[str, tuple[Any, Any]] = {
        "EchoTime": (2.5, 5.0),
        "ImageType": (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"]),
        "AcquisitionNumber": (1, 2),
        "InstanceNumber": (None, None),
    }
    for part in (0, 1):
        tags = {**T1_TAGS, "SeriesInstanceUID": uid("both")}
        slice_tags: dict[int, dict[str, Any]] = {}
        if by == "InstanceNumber":
            slice_tags = {at: {"InstanceNumber": 1 + at + 5 * part} for at in range(5)}
        else:
            tags[by] = values[by][part]
        plan = replace(T1, name=f"part{part}", tags=tags, slice_tags=slice_tags)
        write_series(tmp_path, VOXELS + np.int16(part), plan)
    study = read_study([str(tmp_path)])
    assert len(study.series) == 2
    for part, series in enumerate(study.series):
        np.testing.assert_array_equal(series.volume.voxels, VOXELS + np.int16(part))
        assert f"holds 2 volumes, told apart by {by}" in series.notes[0]


def test_study_refuses_collisions_that_no_tag_explains(tmp_path: Path) -> None:
    write_series(tmp_path, VOXELS, T1)
    again = {**T1_TAGS, "SeriesInstanceUID": uid("study", "t1")}
    write_series(tmp_path, VOXELS[:1], replace(T1, name="again", tags=again))
    with pytest.raises(ImageError, match="same position"):
        read_study([str(tmp_path)])


def test_study_keeps_stored_ct_values_with_their_rescale(tmp_path: Path) -> None:
    tags = {"PixelPaddingValue": 0}
    write_series(tmp_path, VOXELS.astype(np.uint16), SeriesPlan(modality="CT", tags=tags))
    study = read_study([str(tmp_path)])
    volume = study.series[0].volume
    assert (study.series[0].modality, volume.slope, volume.intercept) == ("CT", 1.0, -1024.0)
    assert volume.voxels.dtype == np.uint16
    assert "stored value 0 marks padding" in said(study)


def test_study_applies_a_rescale_that_changes_from_slice_to_slice(tmp_path: Path) -> None:
    slopes = {at: {"RescaleSlope": 0.5 + at, "RescaleIntercept": at} for at in range(5)}
    write_series(tmp_path, VOXELS, replace(T1, slice_tags=slopes))
    study = read_study([str(tmp_path)])
    factor = np.arange(5.0)[:, None, None]
    np.testing.assert_allclose(study.series[0].volume.voxels, VOXELS * (0.5 + factor) + factor, rtol=1e-6)
    assert study.series[0].volume.voxels.dtype == np.float32
    assert "rescale differs" in said(study)


def test_study_honours_bits_stored(tmp_path: Path) -> None:
    signed = (VOXELS - 500).astype(np.int16)
    packed = (signed.view(np.uint16) & 0x0FFF) | 0x5000  # 12 bits with an overlay above
    tags = {**T1_TAGS, "BitsStored": 12, "HighBit": 11, "PixelRepresentation": 1}
    write_series(tmp_path, packed.view(np.int16), replace(T1, tags=tags))
    study = read_study([str(tmp_path)])
    np.testing.assert_array_equal(study.series[0].volume.voxels, signed)
    assert "bits outside BitsStored" in said(study)


def test_study_inverts_monochrome1_mr_but_not_ct(tmp_path: Path) -> None:
    odd = {"PhotometricInterpretation": "MONOCHROME1"}
    write_series(tmp_path / "mr", VOXELS.astype(np.uint16), replace(T1, tags={**T1_TAGS, **odd}))
    write_series(tmp_path / "ct", VOXELS, SeriesPlan(modality="CT", tags=odd))
    inverted, kept = read_study([str(tmp_path / "mr")]), read_study([str(tmp_path / "ct")])
    np.testing.assert_array_equal(inverted.series[0].volume.voxels, 65535 - VOXELS.astype(np.int32))
    np.testing.assert_array_equal(kept.series[0].volume.voxels, VOXELS)
    assert "inverted" in said(inverted)
    assert "MONOCHROME1" in said(kept)


def test_study_takes_missing_uids_from_the_file_meta(tmp_path: Path) -> None:
    for path in write_series(tmp_path, VOXELS, T1):
        made = pydicom.dcmread(path)
        made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
        made.SOPClassUID = made.SOPInstanceUID = ""
        made.save_as(path)
    study = read_study([str(tmp_path)])
    assert study.series[0].instances[3].sop_instance_uid == uid("study", "t1", "3")
    assert "taken from the file meta information" in said(study)


def test_study_notes_and_errors_hold_no_patient_data(tmp_path: Path) -> None:
    tags = {**T1_TAGS, "SeriesDescription": "Secret 19700101", "PatientID": "TEST-PATIENT"}
    write_series(tmp_path, VOXELS, replace(T1, tags=tags))
    write_series(tmp_path, VOXELS[:2], replace(T1, name="two", tags=tags))
    study = read_study([str(tmp_path)])
    assert_no_patient_data(said(study) + study.series[0].decision.reason)
