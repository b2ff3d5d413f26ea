from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest

from runtime.formats.seg_write import write_seg
from tests.seg_phantom import (
    ALL,
    AXIAL,
    FIXED,
    IDENTITY,
    OBLIQUE,
    PUTAMEN,
    THALAMUS,
    make_labels,
    make_series,
    validator_errors,
)


def test_seg_carries_model_codes_and_research_use(tmp_path: Path) -> None:
    series = make_series(AXIAL)
    write_seg(tmp_path / "a.dcm", make_labels(series), series, ALL, IDENTITY, FIXED)
    seg = pydicom.dcmread(tmp_path / "a.dcm")
    assert seg.SeriesDescription == "RESEARCH USE Zeus Edge zeus-nano-head 0.3.0"
    assert "RESEARCH" in seg.ContentLabel
    assert seg.ContentQualification == "RESEARCH"
    assert (seg.PatientID, seg.StudyInstanceUID) == ("ph1", "1.2.826.0.1.3680043.8.498.2")
    assert seg.SegmentsOverlap == "YES"
    item = seg.SegmentSequence[1]
    assert item.SegmentAlgorithmType == "AUTOMATIC"
    assert item.SegmentedPropertyTypeCodeSequence[0].CodeValue == "42695009"
    assert item.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "123037004"
    algorithm = item.SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmFamilyCodeSequence[0].CodeMeaning == "Artificial Intelligence"
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("zeus-nano-head", "0.3.0")
    for text in ("ab" * 32, "product_version=0.1.0", "instruction=find the thalamus"):
        assert text in algorithm.AlgorithmParameters


def test_seg_without_union_says_segments_do_not_overlap(tmp_path: Path) -> None:
    series = make_series(AXIAL)
    write_seg(tmp_path / "a.dcm", make_labels(series), series, (THALAMUS, PUTAMEN), IDENTITY)
    assert pydicom.dcmread(tmp_path / "a.dcm").SegmentsOverlap == "NO"


def test_seg_colour_is_cielab_of_srgb(tmp_path: Path) -> None:
    # sRGB red is L* 53.24, a* 80.09, b* 67.20 (D65); Bruce Lindbloom's calculator.
    series = make_series(AXIAL)
    red = dataclasses.replace(THALAMUS, colour=(255, 0, 0))
    write_seg(tmp_path / "a.dcm", make_labels(series), series, (red,), IDENTITY)
    stored = np.array(pydicom.dcmread(tmp_path / "a.dcm").SegmentSequence[0].RecommendedDisplayCIELabValue)
    found = stored / 65535 * [100, 255, 255] - [0, 128, 128]
    assert found == pytest.approx([53.24, 80.09, 67.20], abs=0.1)


def test_seg_twice_is_the_same_file(tmp_path: Path) -> None:
    series = make_series(OBLIQUE)
    for name in ("a.dcm", "b.dcm"):
        write_seg(tmp_path / name, make_labels(series), series, ALL, IDENTITY, FIXED)
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()


def test_seg_uids_follow_from_model_and_content(tmp_path: Path) -> None:
    series = make_series(AXIAL)
    labels = make_labels(series)
    changed = labels.voxels.copy()
    changed[1, 4, 2] = 0
    other = dataclasses.replace(IDENTITY, bundle_sha256="cd" * 32)
    first = write_seg(tmp_path / "a.dcm", labels, series, ALL, IDENTITY)
    second = write_seg(tmp_path / "b.dcm", dataclasses.replace(labels, voxels=changed), series, ALL, IDENTITY)
    third = write_seg(tmp_path / "c.dcm", labels, series, ALL, other)
    assert first.series_uid == second.series_uid != third.series_uid
    assert first.instance_uid != second.instance_uid
    tracks = [
        [s.TrackingUID for s in pydicom.dcmread(tmp_path / n).SegmentSequence] for n in ("a.dcm", "c.dcm")
    ]
    assert tracks[0] == tracks[1]
    assert len(set(tracks[0])) == 3


def test_seg_tolerates_poor_headers(tmp_path: Path) -> None:
    series = make_series(AXIAL)
    for instance in series.instances:
        header = instance.header
        del header.SOPClassUID, header.PatientBirthDate, header.AccessionNumber, header.StudyID
        del header.PatientID, header.PatientName, header.FrameOfReferenceUID, header.SliceThickness
        del header.PositionReferenceIndicator, header.StudyDate
        header.StudyTime, header.PatientSex = "", None
    written = write_seg(
        tmp_path / "a.dcm",
        make_labels(series),
        dataclasses.replace(series, frame_of_reference_uid=None),
        ALL,
        IDENTITY,
    )
    assert len(written.notes) == 3
    assert any("FrameOfReferenceUID" in note for note in written.notes)
    assert validator_errors(tmp_path / "a.dcm") == []


def test_seg_tolerates_malformed_header_values(tmp_path: Path) -> None:
    series = make_series(AXIAL)
    for index, instance in enumerate(series.instances):
        raw = instance.header
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            raw.StudyTime, raw.StudyDate, raw.PatientSex = "10:11", "yesterday", "F?"
            raw.FrameOfReferenceUID = "1.02.826.0." + "9" * 60
            raw.PatientName, raw.SpecificCharacterSet = "Müller^Jörg", ["", "ISO 2022 IR 100"]
            raw.ImageOrientationPatient = [1, 0, 1e-7 * index, 0, 1, 0]
    odd = dataclasses.replace(
        series, frame_of_reference_uid=str(series.instances[0].header.FrameOfReferenceUID)
    )
    written = write_seg(tmp_path / "a.dcm", make_labels(series), odd, ALL, IDENTITY)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the odd UID is the source's own and must stay
        seg = pydicom.dcmread(tmp_path / "a.dcm")
        assert seg.FrameOfReferenceUID == odd.frame_of_reference_uid
    assert (str(seg.PatientName), seg.StudyTime, seg.PatientSex) == ("Müller^Jörg", "", "")
    assert len(written.notes) == 2


def test_seg_logs_no_patient_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    series = make_series(AXIAL)
    series.instances[0].header.PatientName = "Doe"
    write_seg(tmp_path / "a.dcm", make_labels(series), series, ALL, IDENTITY)
    assert pydicom.dcmread(tmp_path / "a.dcm").PatientName == "Doe"
    assert "Doe" not in caplog.text
