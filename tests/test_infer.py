"""The command: exit codes, what goes to which stream, and what is refused before any work is done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from runtime.bundle import open_bundle
from runtime.formats import study_input
from runtime.infer import main
from runtime.version import __version__
from tests.command import ROOT, ran
from tests.dicom_factory import uid
from tests.tiny_bundle import write_head


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail when the study is read."""

    def refuse(*arguments: object) -> None:
        raise AssertionError("the study was read")

    monkeypatch.setattr(study_input, "read_study", refuse)


def test_infer_writes_a_result_and_a_table_and_nothing_on_stderr(
    arguments: list[str], tmp_path: Path
) -> None:
    done = ran(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("T1    ScanningSequence GR")
    assert any(line.startswith("brain") and line.endswith(" ml") for line in lines)
    assert any(line.startswith("warning: brain volume") for line in lines)
    assert lines[-1] == str(tmp_path / "o" / "report.json")
    assert {Path(line).name for line in lines[-5:]} == {path.name for path in (tmp_path / "o").iterdir()}
    assert "research use" in done.stdout


def test_infer_json_prints_the_report_and_nothing_else(arguments: list[str], tmp_path: Path) -> None:
    done = ran(*arguments, "--json", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == json.loads((tmp_path / "o" / "report.json").read_text(encoding="utf-8"))
    assert done.stdout.startswith("{")
    assert done.stdout.endswith("}\n")


def test_infer_quiet_says_nothing(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "--quiet"]) == 0
    assert capfd.readouterr() == ("", "")


def test_infer_takes_options_between_studies(bundle: Path, tmp_path: Path) -> None:
    paths = [str(path) for path in write_head(tmp_path / "s")]
    line = [*paths[:5], "--out", str(tmp_path / "o"), *paths[5:], "--quiet", "--bundle", str(bundle)]
    assert main(line) == 0


def test_infer_reads_nifti(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    voxels = np.zeros((40, 40, 40), np.int16)
    voxels[8:32, 8:32, 8:32] = 80
    nib.save(nib.Nifti1Image(voxels, np.diag([2.5, 2.5, 2.5, 1.0])), tmp_path / "a.nii.gz")
    line = [f"t1w={tmp_path / 'a.nii.gz'}", "--out", str(tmp_path / "o"), "--bundle", str(bundle)]
    assert main(line) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "named t1w by the user" in shown.out
    assert not (tmp_path / "o" / "labels.seg.dcm").exists()


def test_infer_restricts_targets_and_formats(arguments: list[str], tmp_path: Path) -> None:
    assert main([*arguments, "--targets", "core, brain", "--format", "nifti,json", "--quiet"]) == 0
    assert {path.name for path in (tmp_path / "o").iterdir()} == {
        "brain.nii.gz",
        "labels.nii.gz",
        "report.json",
    }


def test_infer_takes_overrides(arguments: list[str], tmp_path: Path) -> None:
    assert main([*arguments, "--as", f"{uid('study', 't1')}=t1gd", "--quiet", "--format", "json"]) == 0
    report = json.loads((tmp_path / "o" / "report.json").read_text())
    assert report["channels"][0]["modality"] == "T1c"


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (["--format", "tiff"], 2, "no format 'tiff'; use some of seg,nifti,json,png"),
        (["--format", ","], 2, "no format is given"),
        (["--as", "T2"], 2, "write UID=MODALITY"),
        (["--as", "1.2=PET"], 2, "write UID=MODALITY"),
        (["--threads", "-1"], 2, "threads is -1"),
        (["--threads", "many"], 2, "invalid int value: 'many'; see --help"),
        (["--device", "tpu"], 2, "invalid choice: 'tpu'"),
        (["--forc"], 2, "unrecognized arguments"),
        (["--targets", "spleen"], 6, "tiny-head has no target 'spleen'; it has shell, core, lesion, brain"),
        (["--targets", ""], 6, "no target is asked for; name some of shell"),
        (["--bundle", "/nowhere"], 4, "/nowhere has no bundle.json"),
        (["--out", "/dev/null/o"], 7, "choose another destination"),
    ],
)
@pytest.mark.usefixtures("unread")
def test_infer_refuses_bad_options_before_the_study_is_read(
    arguments: list[str], more: list[str], code: int, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, *more]) == code
    shown = capfd.readouterr()
    assert words in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


@pytest.mark.usefixtures("unread")
def test_infer_refuses_a_seg_of_nifti_before_it_is_read(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["T1=a.nii.gz", "--out", str(tmp_path / "o"), "--bundle", str(bundle), "--format", "seg"]
    assert main(line) == 2
    assert "a DICOM SEG needs a DICOM study" in capsys.readouterr().err


@pytest.mark.usefixtures("unread")
def test_infer_refuses_an_existing_destination_before_the_study_is_read(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "mine.txt").write_text("keep")
    assert main(arguments) == 7
    assert "already exists; choose another destination or use --force" in capsys.readouterr().err
    assert main([*arguments, "--force"]) == 7
    assert "not an older result" in capsys.readouterr().err
    assert (tmp_path / "o" / "mine.txt").read_text() == "keep"


def test_infer_replaces_its_own_result_by_force(arguments: list[str], tmp_path: Path) -> None:
    assert main([*arguments, "--quiet", "--format", "json"]) == 0
    assert main([*arguments, "--quiet", "--format", "png", "--force"]) == 0
    assert {path.name for path in (tmp_path / "o").iterdir()} == {"preview.png", "report.json"}


@pytest.mark.parametrize("line", [[], ["study"], ["--out", "o"]])
def test_infer_without_a_study_or_destination_is_a_usage_error(
    line: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line) == 2
    assert capsys.readouterr().err == "error: give a STUDY and --out DIR; see --help\n"


def test_infer_version_names_its_place_and_loads_nothing() -> None:
    code = "import sys\nfrom runtime.infer import main\ncode = main(['--version'])\n"
    code += "heavy = {'numpy', 'onnxruntime', 'pydicom', 'nibabel', 'SimpleITK', 'runtime.session'}\n"
    code += "raise SystemExit(code or sorted(heavy & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"Zeus Edge {__version__} ({ROOT / 'runtime'})\n"


def test_infer_help_fits_a_screen_and_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert text.count("\n") <= 60
    for words in ("examples:", "exit codes:", "--targets brain,lesion", "default: auto", "research use"):
        assert words in text


def test_infer_lists_targets(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list-targets", "--bundle", str(bundle)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["shell", "core", "lesion", "brain"]
    assert lines[3].endswith("SCT 12738006  = shell + core + lesion")


def test_infer_lists_the_targets_of_the_shipped_bundle(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list-targets"]) == 0
    shown = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert shown == [structure.name for structure in open_bundle().manifest.structures]
