from __future__ import annotations

import dataclasses
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest

from runtime.errors import BundleError, ImageError
from runtime.formats.seg_describe import describe_segment, identify_algorithm
from runtime.formats.seg_source import read_source
from runtime.formats.seg_write import SegOptions, write_seg
from runtime.formats.study_input import read_study
from runtime.structure import Structure
from runtime.study import Series
from runtime.volume import Labels
from tests.seg_phantom import (
    ALL,
    AXIAL,
    FIXED,
    IDENTITY,
    NAMES,
    OBLIQUE,
    PUTAMEN,
    SAGITTAL,
    THALAMUS,
    TUMOUR,
    assert_same_places,
    expected,
    make_labels,
    make_series,
    reread_with_dcmqi,
    reread_with_highdicom,
    validator_errors,
)

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


@pytest.fixture(params=[AXIAL, SAGITTAL, OBLIQUE], ids=["axial", "sagittal", "oblique"])
def series(request: pytest.FixtureRequest) -> Series:
    return make_series(request.param)


def test_seg_lands_where_the_labels_are_says_highdicom(series: Series, tmp_path: Path) -> None:
    labels = make_labels(series)
    write_seg(tmp_path / "a.dcm", labels, series, ALL, IDENTITY)
    found = reread_with_highdicom(tmp_path / "a.dcm")
    assert list(found) == ["brain", "thalamus", "putamen"]
    assert_same_places(found["thalamus"], expected(labels, 3))
    assert_same_places(found["putamen"], expected(labels, 7))
    assert_same_places(found["brain"], expected(labels, 3, 7))


@pytest.mark.parametrize("omit", [True, False])
def test_seg_lands_where_the_labels_are_says_dcmqi(series: Series, tmp_path: Path, omit: bool) -> None:
    labels = make_labels(series)
    write_seg(tmp_path / "a.dcm", labels, series, ALL, IDENTITY, SegOptions(omit_empty_frames=omit))
    found = reread_with_dcmqi(tmp_path / "a.dcm", tmp_path / "out")
    assert_same_places(found["thalamus"], expected(labels, 3))
    assert_same_places(found["putamen"], expected(labels, 7))
    assert_same_places(found["brain"], expected(labels, 3, 7))


@pytest.mark.parametrize("omit", [True, False])
@pytest.mark.parametrize("wanted", [ALL, (THALAMUS, PUTAMEN), (PUTAMEN,)], ids=["all", "two", "one"])
def test_seg_frame_headers_are_those_highdicom_makes(
    series: Series, tmp_path: Path, wanted: tuple[Structure, ...], omit: bool
) -> None:
    labels = make_labels(series)
    write_seg(tmp_path / "a.dcm", labels, series, wanted, IDENTITY, SegOptions(omit_empty_frames=omit))
    ours = pydicom.dcmread(tmp_path / "a.dcm")
    masks = {"brain": [3, 7], "thalamus": [3], "putamen": [7]}
    present = [item for item in wanted if item.name in masks]
    slices = [np.isin(labels.voxels, masks[item.name]).any(axis=(1, 2)) for item in present]
    sources = read_source(series).stand_ins(range(len(series.instances)))
    algorithm = identify_algorithm(IDENTITY, {})
    theirs = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=np.stack(slices, axis=-1)[:, np.newaxis, np.newaxis],
        segmentation_type="BINARY",
        segment_descriptions=[
            describe_segment(number, item, sources[0].StudyInstanceUID, algorithm)
            for number, item in enumerate(present, start=1)
        ],
        series_instance_uid="2.25.1",
        series_number=1,
        sop_instance_uid="2.25.2",
        instance_number=1,
        manufacturer="Test",
        manufacturer_model_name="Test",
        software_versions="1",
        device_serial_number="1",
        omit_empty_frames=omit,
    )
    assert ours.NumberOfFrames == theirs.NumberOfFrames == len(ours.PerFrameFunctionalGroupsSequence)
    for mine, other in zip(
        ours.PerFrameFunctionalGroupsSequence, theirs.PerFrameFunctionalGroupsSequence, strict=True
    ):
        assert mine.to_json_dict() == other.to_json_dict()
    (mine,), (other,) = ours.SharedFunctionalGroupsSequence, theirs.SharedFunctionalGroupsSequence
    assert mine.to_json_dict() == other.to_json_dict()
    for keyword in ("DimensionOrganizationType", "SourceImageSequence", "ReferencedSeriesSequence"):
        assert ours.get(keyword) == theirs.get(keyword)


def test_seg_with_a_gap_does_not_claim_to_be_a_volume(tmp_path: Path) -> None:
    series = make_series(AXIAL)
    voxels = np.zeros(series.volume.voxels.shape, np.uint8)
    for name, slices in (("whole", slice(1, 5)), ("gap", [1, 2, 4])):
        voxels[:], voxels[slices, 3, 4] = 0, 7
        labels = Labels(voxels, series.volume.affine, NAMES)
        write_seg(tmp_path / f"{name}.dcm", labels, series, (PUTAMEN,), IDENTITY)
    assert pydicom.dcmread(tmp_path / "whole.dcm").DimensionOrganizationType == "3D"
    assert "DimensionOrganizationType" not in pydicom.dcmread(tmp_path / "gap.dcm")


@pytest.mark.parametrize("wanted", [ALL, (TUMOUR, PUTAMEN)], ids=["several", "one"])
def test_seg_passes_the_validator(series: Series, tmp_path: Path, wanted: tuple[Structure, ...]) -> None:
    write_seg(tmp_path / "a.dcm", make_labels(series), series, wanted, IDENTITY, FIXED)
    assert validator_errors(tmp_path / "a.dcm") == []


def test_seg_reports_written_and_empty_structures(tmp_path: Path) -> None:
    series = make_series(AXIAL)
    written = write_seg(tmp_path / "a.dcm", make_labels(series), series, ALL, IDENTITY)
    assert written.segment_numbers == {"brain": 1, "thalamus": 2, "putamen": 3}
    assert written.empty == ("tumour",)
    assert [path.name for path in tmp_path.iterdir()] == ["a.dcm"]


def test_seg_without_any_voxel_writes_no_file(tmp_path: Path) -> None:
    series = make_series(AXIAL)
    written = write_seg(tmp_path / "a.dcm", make_labels(series), series, (TUMOUR,), IDENTITY)
    assert (written.segment_numbers, written.empty, written.instance_uid) == ({}, ("tumour",), None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("uid", "message"), [("", "SOPInstanceUID is missing"), ("1.2.é", "its UIDs are not UIDs")]
)
def test_seg_refuses_a_slice_it_cannot_name(tmp_path: Path, uid: str, message: str) -> None:
    series = make_series(AXIAL)
    third = dataclasses.replace(series.instances[2], sop_instance_uid=uid)
    nameless = (*series.instances[:2], third, *series.instances[3:])
    with pytest.raises(ImageError, match=message):
        write_seg(
            tmp_path / "a.dcm",
            make_labels(series),
            dataclasses.replace(series, instances=nameless),
            ALL,
            IDENTITY,
        )
    assert list(tmp_path.iterdir()) == []


def test_seg_refuses_labels_of_another_grid(tmp_path: Path) -> None:
    series = make_series(AXIAL)
    labels = make_labels(series)
    moved = labels.affine.copy()
    moved[0, 3] += 1
    with pytest.raises(ImageError, match="do not lie on its slices"):
        write_seg(tmp_path / "a.dcm", dataclasses.replace(labels, affine=moved), series, ALL, IDENTITY)


def test_seg_refuses_a_series_without_instances(tmp_path: Path) -> None:
    series = dataclasses.replace(make_series(AXIAL), instances=())
    with pytest.raises(ImageError, match="ask for NIfTI"):
        write_seg(tmp_path / "a.dcm", make_labels(series), series, ALL, IDENTITY)


def test_seg_refuses_labels_that_mean_something_else(tmp_path: Path) -> None:
    series = make_series(AXIAL)
    labels = dataclasses.replace(make_labels(series), names={3: "amygdala"})
    with pytest.raises(BundleError, match="amygdala"):
        write_seg(tmp_path / "a.dcm", labels, series, (THALAMUS,), IDENTITY)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    "archive", ["tcia-pgbm-002/PGBM-002_Study1.tar.gz", "siemens-t1/sag-anon.tar.gz"], ids=["tcia", "siemens"]
)
def test_seg_of_a_real_study_is_read_back_by_dcmqi(archive: str, tmp_path: Path) -> None:
    if not (DATA / archive).exists():
        pytest.skip(f"{DATA / archive} is absent")
    series = read_study([str(DATA / archive)]).series[0]
    image = series.volume.voxels
    bright, brighter = np.percentile(image, (99, 99.8))
    voxels = np.where(image > brighter, 7, np.where(image > bright, 3, 0)).astype(np.uint8)
    labels = Labels(voxels, series.volume.affine, NAMES)
    write_seg(tmp_path / "a.dcm", labels, series, ALL, IDENTITY)
    assert validator_errors(tmp_path / "a.dcm") == []
    found = reread_with_dcmqi(tmp_path / "a.dcm", tmp_path / "out")
    for name, values in {"thalamus": (3,), "putamen": (7,), "brain": (3, 7)}.items():
        wanted = expected(labels, *values)
        assert len(found[name]) == len(wanted)
        assert_same_places(found[name][::500], wanted[::500])
