"""What a result holds and writes: only what was asked for, never over anything, nothing about the patient."""

from __future__ import annotations

import dataclasses
import gzip
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

import runtime
from runtime import Result, Session
from runtime.errors import DestinationError, InstructionError, UsageError
from runtime.infer import main
from tests.dicom_factory import uid
from tests.seg_phantom import reread_with_highdicom
from tests.tiny_bundle import head_plan, write_head


def test_targets_restrict_labels_measurements_and_files(
    session: Session, axial: Path, tmp_path: Path
) -> None:
    result = session.segment(axial, targets=["core"])
    assert set(np.unique(result.labels.voxels)) == {0, 2}
    assert result.labels.names == {2: "core"}
    assert [item.structure.name for item in result.measurements] == ["core"]
    files = result.save(tmp_path / "o")
    assert "brain.nii.gz" not in [path.name for path in files]
    assert set(reread_with_highdicom(tmp_path / "o" / "labels.seg.dcm")) == {"core"}
    report = json.loads((tmp_path / "o" / "report.json").read_text())
    assert [item["name"] for item in report["structures"]] == ["core"]


@pytest.mark.parametrize("targets", ["brain", ["brain"]])
def test_targets_may_be_a_union_alone(
    session: Session, axial: Path, tmp_path: Path, targets: str | list[str]
) -> None:
    result = session.segment(axial, targets=targets)
    names = [path.name for path in result.save(tmp_path / "o")]
    assert names == ["brain.nii.gz", "labels.seg.dcm", "preview.png", "report.json"]
    whole = session.segment(axial)
    assert np.array_equal(result.mask("brain").voxels, whole.labels.voxels > 0)
    assert set(reread_with_highdicom(tmp_path / "o" / "labels.seg.dcm")) == {"brain"}


def test_targets_unknown_or_none_are_refused_before_the_study_is_read(
    session: Session, tmp_path: Path
) -> None:
    with pytest.raises(InstructionError, match=r"no target 'spleen'; it has shell, core, lesion, brain"):
        session.segment(tmp_path / "not there", targets=["core", "spleen"])
    with pytest.raises(InstructionError, match="name some of"):
        session.segment(tmp_path / "not there", targets=[])


def test_mask_refuses_what_was_not_asked_for(session: Session, axial: Path) -> None:
    result = session.segment(axial, targets=["core"])
    assert result.mask("core").names == {1: "core"}
    with pytest.raises(InstructionError, match="no 'shell'; it has core"):
        result.mask("shell")


def test_save_never_replaces_without_force(session: Session, axial: Path, tmp_path: Path) -> None:
    result = session.segment(axial)
    result.save(tmp_path / "o", ["json"])
    with pytest.raises(DestinationError, match="already exists"):
        result.save(tmp_path / "o")
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["report.json"]
    assert len(result.save(tmp_path / "o", force=True)) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["o"]


@pytest.mark.parametrize(
    ("formats", "files"),
    [
        (["json"], []),
        ("png", ["preview.png"]),
        (["nifti"], ["brain.nii.gz", "labels.nii.gz"]),
        (["seg", "seg"], ["labels.seg.dcm"]),
    ],
)
def test_save_writes_the_formats_asked_for(
    session: Session, axial: Path, tmp_path: Path, formats: Any, files: list[str]
) -> None:
    found = session.segment(axial).save(tmp_path / "o", formats)
    assert [path.name for path in found] == [*files, "report.json"]


@pytest.mark.parametrize("formats", [["tiff"], "tiff", []])
def test_save_refuses_an_unknown_format(session: Session, axial: Path, tmp_path: Path, formats: Any) -> None:
    with pytest.raises(UsageError, match="use some of seg,nifti,json,png"):
        session.segment(axial).save(tmp_path / "o", formats)
    assert not (tmp_path / "o").exists()


def test_report_tells_what_was_done(session: Session, axial: Path, tmp_path: Path) -> None:
    result = session.segment(axial)
    result.save(tmp_path / "o")
    report = json.loads((tmp_path / "o" / "report.json").read_text(encoding="utf-8"))
    assert report["schema"] == "zeus-edge-report/1"
    assert report["model"]["bundle_sha256"] == session.bundle.identity.bundle_sha256
    assert report["model"]["product_version"] == report["product_version"] == runtime.__version__
    assert "research use" in report["use"].lower()
    (channel,) = report["channels"]
    assert (channel["series"], channel["modality"], channel["used"]) == (uid("study", "t1"), "T1", True)
    assert channel["spacing_mm"] == [3.0, 2.5, 2.5]
    assert channel["registration"]["reference_to_channel"] == np.eye(4).tolist()
    by_name = {item["name"]: item for item in report["structures"]}
    assert (by_name["core"]["value"], by_name["brain"]["value"]) == (2, 0)
    assert by_name["core"]["code"] == "SCT 42695009"
    assert {"read", "load", "encode", "label", "write seg", "write nifti", "write png", "total"} <= set(
        report["seconds"]
    )
    assert {item["file"] for item in report["outputs"]} == {
        path.name for path in (tmp_path / "o").iterdir() if path.name != "report.json"
    }
    assert any("outside 600" in warning for warning in report["warnings"])
    assert {"numpy", "onnxruntime", "pydicom", "highdicom", "nibabel", "pillow"} <= set(report["versions"])
    assert report["peak_bytes"] > 1 << 20


def test_report_survives_a_file_name_that_is_not_unicode(session: Session, axial: Path) -> None:
    report = session.segment(axial).report
    odd = dataclasses.replace(report, assumptions=("caf\udce9.dcm cannot be read",))
    assert json.loads(odd.to_json().encode())["assumptions"] == ["caf?.dcm cannot be read"]


MARKERS = {
    "PatientName": "Markername^Secret",
    "PatientID": "MARKERID77",
    "PatientBirthDate": "19431231",
    "OtherPatientIDs": "MARKEROTHER",
    "StudyDate": "20170719",
    "SeriesDate": "20170718",
    "AcquisitionDate": "20170717",
    "AccessionNumber": "MARKERACC",
    "ReferringPhysicianName": "Markerdoctor^A",
    "InstitutionName": "MARKERCLINIC",
    "StationName": "MARKERSTATION",
    "PatientComments": "MARKERCOMMENT",
    "PatientAddress": "MARKERSTREET",
    "SeriesDescription": "MPRAGE MARKERDESC",
    "ProtocolName": "T1 MARKERPROTOCOL",
    "StudyDescription": "BRAIN MARKERSTUDY",
    "StudyID": "MARKERSTID",
    "ImageComments": "MARKERIMAGE",
    "DeviceSerialNumber": "MARKERSERIAL",
}


def test_outputs_hold_no_patient_data_beyond_the_seg(
    bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    plan = dataclasses.replace(head_plan(), tags={**head_plan().tags, **MARKERS})
    paths = write_head(tmp_path / "s", plan)
    odd = paths[0].read_bytes()  # values that pydicom warns about, quoting them
    assert odd.count(b"20170717") == odd.count(b"19431231") == 1
    paths[0].write_bytes(odd.replace(b"20170717", b"MARKERDA"))
    caplog.set_level(logging.DEBUG)
    (tmp_path / "s" / "bad.dcm").write_bytes(paths[1].read_bytes()[:700])
    arguments = [str(tmp_path / "s"), "--out", str(tmp_path / "o"), "--bundle", str(bundle)]
    assert main(arguments) == 0
    assert main([*arguments, "--json", "--force"]) == 0
    shown = capfd.readouterr()
    assert shown.err == ""
    texts = {"stdout": shown.out, "log": caplog.text}
    for path in (tmp_path / "o").iterdir():
        if path.name != "labels.seg.dcm":
            content = path.read_bytes()
            content = gzip.decompress(content) if path.suffix == ".gz" else content
            texts[path.name] = content.decode("latin-1")
    assert len(texts) == 6
    for value in (*MARKERS.values(), "MARKERDA", "Markername", "Markerdoctor"):
        word = value.split()[-1]
        for name, text in texts.items():
            assert word not in text, f"{word} is in {name}"
    seg = pydicom.dcmread(tmp_path / "o" / "labels.seg.dcm")
    assert seg.PatientID == "MARKERID77"  # a SEG without its patient is of no use


def test_result_is_a_plain_public_type(session: Session, axial: Path) -> None:
    result = session.segment(axial)
    assert isinstance(result, Result)
    assert isinstance(result.labels, runtime.Labels)
    assert np.issubdtype(result.labels.voxels.dtype, np.uint8)
