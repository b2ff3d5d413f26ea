"""Input that is damaged or mixed up: one clear line on stderr, the right exit code, nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest

from runtime.infer import main
from tests.command import ROOT, Run
from tests.dicom_factory import uid
from tests.tiny_bundle import FLAIR_TAGS, head_plan, make_bundle, write_head


def refused(tmp_path: Path, answer: tuple[int, str, str], code: int) -> str:
    """The one line of an error that left nothing behind."""
    found, out, line = answer
    assert (found, out) == (code, ""), line
    assert line.startswith("error: ")
    assert line.count("\n") == 1
    assert "Secret" not in line
    assert not (tmp_path / "out").exists()
    return line


def report_of(tmp_path: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((tmp_path / "out" / "result" / "report.json").read_text())
    return found


def test_empty_folder_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert "there is no file in" in refused(tmp_path, run(tmp_path / "in"), 3)


def test_missing_study_is_a_usage_error(run: Run, tmp_path: Path) -> None:
    assert "neither a file nor a folder" in refused(tmp_path, run(tmp_path / "in"), 2)
    assert "a.nii.gz is not a file" in refused(tmp_path, run("T1=a.nii.gz"), 2)


def test_folder_without_dicom_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("hello")
    assert "no readable DICOM file" in refused(tmp_path, run(tmp_path / "in"), 3)


def test_unreadable_file_among_good_ones_is_named_and_the_result_made(
    run: Run, study: Path, tmp_path: Path
) -> None:
    good = next(study.iterdir()).read_bytes()
    (study / "torn.dcm").write_bytes(good[:400])
    (study / "notes.txt").write_text("hello")
    code, out, err = run(study)
    assert (code, err) == (0, "")
    for text in (out, str(report_of(tmp_path)["assumptions"])):
        assert "torn.dcm looks like DICOM but cannot be read" in text
        assert "1 file is not DICOM and left out" in text
    assert (tmp_path / "out" / "result" / "labels.seg.dcm").exists()


def test_two_patients_are_refused(run: Run, study: Path, tmp_path: Path) -> None:
    write_head(study, head_plan(spacing_mm=(4.0, 3.0, 3.0), name="other", patient="SecretId"))
    assert "files of 2 patients" in refused(tmp_path, run(study), 3)


def test_missing_slice_is_refused_and_placed(run: Run, study: Path, tmp_path: Path) -> None:
    (study / "t1_010.dcm").unlink()
    line = refused(tmp_path, run(study), 3)
    assert "slices are missing: 1 between instance 10" in line
    assert "send the whole series" in line


def test_truncated_pixels_are_refused_with_the_file_name(run: Run, study: Path, tmp_path: Path) -> None:
    path = study / "t1_007.dcm"
    os.truncate(path, path.stat().st_size - 100)
    assert "t1_007.dcm is cut short" in refused(tmp_path, run(study), 3)


def test_truncated_compressed_pixels_are_refused(run: Run, tmp_path: Path) -> None:
    paths = write_head(tmp_path / "in", head_plan(spacing_mm=(4.0, 3.0, 3.0), syntax="rle"))
    os.truncate(paths[12], paths[12].stat().st_size - 60)
    assert "t1_012.dcm cannot be decoded" in refused(tmp_path, run(tmp_path / "in"), 3)


def test_damaged_series_beside_a_good_one_is_left_out_and_said(run: Run, study: Path, tmp_path: Path) -> None:
    plan = head_plan(spacing_mm=(5.0, 3.0, 3.0), name="flair", tags=FLAIR_TAGS)
    paths = write_head(study, plan)
    os.truncate(paths[3], paths[3].stat().st_size - 100)
    code, _, err = run(study)
    assert (code, err) == (0, "")
    assert "flair_003.dcm is cut short" in str(report_of(tmp_path)["assumptions"])


def test_blank_series_is_refused_by_name_with_the_way_to_leave_it_out(
    run: Run, study: Path, tmp_path: Path
) -> None:
    plan = head_plan(spacing_mm=(5.0, 3.0, 3.0), name="flair", tags=FLAIR_TAGS)
    for path in write_head(study, plan):
        blank = pydicom.dcmread(path)
        blank.PixelData = bytes(len(blank.PixelData))
        blank.save_as(path)
    line = refused(tmp_path, run(study), 3)
    assert "the FLAIR scan: the scan has no finite voxel above 0" in line
    assert run(study, "--as", f"{uid('study', 'flair')}=other")[0] == 0


def test_scan_of_nothing_is_refused(run: Run, study: Path, tmp_path: Path) -> None:
    for path in study.iterdir():
        blank = pydicom.dcmread(path)
        blank.PixelData = bytes(len(blank.PixelData))
        blank.save_as(path)
    assert "nothing stands out" in refused(tmp_path, run(study), 3)


def test_absurd_voxel_size_is_refused(run: Run, tmp_path: Path) -> None:
    import nibabel as nib

    voxels = np.random.default_rng(0).integers(0, 99, (110, 110, 110), np.uint8)
    nib.save(nib.Nifti1Image(voxels, np.diag([49.0, 49.0, 49.0, 1.0])), tmp_path / "a.nii.gz")
    assert "not credible; check its voxel size" in refused(tmp_path, run(f"T1={tmp_path / 'a.nii.gz'}"), 3)
    (tmp_path / "a.nii.gz").write_bytes((tmp_path / "a.nii.gz").read_bytes()[:5000])
    assert "cut short" in refused(tmp_path, run(f"T1={tmp_path / 'a.nii.gz'}"), 3)


def test_nifti_header_that_is_repaired_is_said_in_the_report_and_nowhere_else(
    bundle: Path, tmp_path: Path
) -> None:
    import nibabel as nib

    voxels = np.zeros((24, 24, 24), np.int16)
    voxels[4:20, 4:20, 4:20] = 80
    nib.save(nib.Nifti1Image(voxels, np.diag([4.0, 4.0, 4.0, 1.0])), tmp_path / "a.nii")
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[0:4] = (350).to_bytes(4, "little")  # sizeof_hdr
    (tmp_path / "a.nii").write_bytes(data)
    out = tmp_path / "out" / "result"
    line = [f"T1={tmp_path / 'a.nii'}", "--out", str(out), "--bundle", str(bundle), "--quiet"]
    command = [sys.executable, "-m", "runtime.infer", *line]  # nibabel keeps the stderr it was born with
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "header repaired by the reader: sizeof_hdr" in str(report_of(tmp_path)["assumptions"])


def test_damaged_archive_is_refused(run: Run, study: Path, tmp_path: Path) -> None:
    archive = tmp_path / "study.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in study.iterdir():
            packed.write(path, path.name)
    assert run(archive)[0] == 0
    shutil.rmtree(tmp_path / "out")
    archive.write_bytes(archive.read_bytes()[:-400])
    refused(tmp_path, run(archive), 3)


def test_header_value_that_cannot_go_into_a_seg_is_left_out(run: Run, study: Path, tmp_path: Path) -> None:
    first = study / "t1_000.dcm"
    data = first.read_bytes()
    wanted = b"\x10\x00\x40\x00CS\x02\x00O "  # PatientSex; PatientSize comes next in order
    assert data.count(wanted) == 1
    first.write_bytes(data.replace(wanted, wanted + b"\x10\x00\x20\x10DS\x0a\x00SecretSize"))
    assert run(study, "--format", "seg,json")[0] == 0
    report = (tmp_path / "out" / "result" / "report.json").read_text()
    assert "PatientSize is not a DICOM value; left out of the SEG" in report
    assert "Secret" not in report
    written = pydicom.dcmread(tmp_path / "out" / "result" / "labels.seg.dcm")
    assert "PatientSize" not in written


def test_damaged_bundle_is_exit_code_4(
    study: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = make_bundle(tmp_path / "b")
    data = (folder / "encoder.onnx").read_bytes()
    (folder / "encoder.onnx").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    code = main([str(study), "--out", str(tmp_path / "out" / "result"), "--bundle", str(folder)])
    shown = capfd.readouterr()
    line = refused(tmp_path, (code, shown.out, shown.err), 4)
    assert f"{folder / 'encoder.onnx'} does not have the SHA-256" in line
    assert "copy the bundle again" in line


def test_existing_destination_is_left_alone(run: Run, study: Path, tmp_path: Path) -> None:
    kept = tmp_path / "out" / "result" / "thesis.tex"
    kept.parent.mkdir(parents=True)
    kept.write_text("years")
    for more in ([], ["--force"]):
        code, out, err = run(study, *more)
        assert (code, out) == (7, "")
        assert "choose another destination" in err
    assert [path.name for path in kept.parent.iterdir()] == ["thesis.tex"]
