"""Instructions on the command line: exit codes, files, and a text that only the report repeats."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from runtime.formats import study_input
from runtime.infer import main
from tests.command import ran
from tests.test_session import loaded
from tests.tiny_promptable import make_promptable

SECRET = "Jane Doe"


@pytest.fixture(scope="module")
def promptable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_promptable(tmp_path_factory.mktemp("promptable"))


@pytest.fixture
def line(axial: Path, promptable: Path, tmp_path: Path) -> list[str]:
    """A command line that works, without an instruction."""
    return [str(axial), "--out", str(tmp_path / "o"), "--bundle", str(promptable), "--threads", "1"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_infer_answers_an_instruction(line: list[str], tmp_path: Path) -> None:
    done = ran(*line, "--instruction", f"core core core core core {SECRET.split()[0]}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "instruction 1 asks for core: presence 0.98, by the text" in done.stdout
    assert "Jane" not in done.stdout
    assert names(tmp_path / "o") == ["labels.nii.gz", "labels.seg.dcm", "preview.png", "report.json"]
    report = json.loads((tmp_path / "o" / "report.json").read_text(encoding="utf-8"))
    (item,) = report["instructions"]
    assert item["text"].endswith("Jane")
    assert (item["target"], item["source"], item["runner_up"]) == ("core", "text", "shell")
    assert [structure["name"] for structure in report["structures"]] == ["core"]
    assert report["structures"][0]["presence"] == item["presence"]


def test_infer_answers_several_instructions_and_targets(line: list[str], tmp_path: Path) -> None:
    assert main([*line, "--instruction", "core", "--instruction", "the shell", "--quiet"]) == 0
    voxels = np.asarray(loaded(tmp_path / "o" / "labels.nii.gz").dataobj)
    assert set(np.unique(voxels)) == {0, 1, 2}
    more = ["--targets", "brain", "--instruction", "shell core", "--quiet", "--force", "--format", "json"]
    assert main([*line, *more]) == 0
    report = json.loads((tmp_path / "o" / "report.json").read_text(encoding="utf-8"))
    assert report["instructions"][0]["source"] == "bank"
    assert [structure["name"] for structure in report["structures"]] == ["brain"]


def test_infer_leaves_an_empty_seg_out_and_says_so(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*line, "--instruction", "segment the kidney"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "warning: instruction 1 asks for nothing that tiny-promptable can segment" in shown.out
    assert "instruction 1 asks for nothing of this bundle: presence 0.00, by the text" in shown.out
    assert "note: labels.seg.dcm was left out: no structure has a voxel" in shown.out
    assert names(tmp_path / "o") == ["labels.nii.gz", "preview.png", "report.json"]
    assert not np.asarray(loaded(tmp_path / "o" / "labels.nii.gz").dataobj).any()
    assert main([*line, "--instruction", "kidney", "--format", "seg", "--quiet", "--force"]) == 0
    assert names(tmp_path / "o") == ["report.json"]


def test_infer_answers_on_nifti(promptable: Path, tmp_path: Path) -> None:
    voxels = np.zeros((40, 40, 40), np.int16)
    voxels[8:32, 8:32, 8:32] = 80
    voxels[15:25, 15:25, 15:25] = 160
    nib.save(nib.Nifti1Image(voxels, np.diag([2.5, 2.5, 2.5, 1.0])), tmp_path / "a.nii.gz")  # type: ignore[attr-defined]
    line = [f"T1={tmp_path / 'a.nii.gz'}", "--bundle", str(promptable), "--quiet"]
    for out, words, wanted in (("core", "core", {0, 2}), ("none", "the kidney", {0})):
        assert main([*line, "--out", str(tmp_path / out), "--instruction", words]) == 0
        assert names(tmp_path / out) == ["labels.nii.gz", "preview.png", "report.json"]
        assert set(np.unique(np.asarray(loaded(tmp_path / out / "labels.nii.gz").dataobj))) == wanted


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--instruction", ""], "instruction 1 is empty"),
        (["--instruction", "core", "--instruction", " "], "instruction 2 is empty"),
        (["--instruction", "1234"], "instruction 1 has no letter"),
        (["--instruction", f"{SECRET} {'a' * 10_000}"], "instruction 1 has 10009 characters"),
        (["--instruction", SECRET, "--targets", "spleen"], "has no target 'spleen'"),
    ],
)
def test_infer_refuses_an_instruction_before_the_study_is_read(
    line: list[str],
    more: list[str],
    words: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(study_input, "read_study", lambda *_: pytest.fail("the study was read"))
    assert main([*line, *more]) == 6
    shown = capfd.readouterr()
    assert words in shown.err
    assert SECRET not in shown.err
    assert (shown.err.count("\n"), shown.out) == (1, "")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--instruction", "core shell"], "instruction 1 is unclear, between shell and core"),
        (["--instruction", SECRET], "instruction 1 is unclear, between shell and core"),
        (["--instruction", "core", "--targets", "shell"], "asks for core, the targets are shell"),
        (
            ["--instruction", "kidney", "--targets", "shell"],
            "asks for nothing of this bundle, the targets are",
        ),
    ],
)
def test_infer_refuses_an_unclear_or_contradicting_instruction(
    line: list[str], more: list[str], words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*line, *more]) == 6
    shown = capfd.readouterr()
    assert words in shown.err
    assert SECRET not in shown.err
    assert (shown.err.count("\n"), shown.out) == (1, "")
    assert not (tmp_path / "o").exists()


def test_infer_refuses_an_instruction_that_is_no_unicode(line: list[str]) -> None:
    done = ran(*line, "--instruction", b"Jane \xff".decode("utf-8", "surrogateescape"))
    assert done.returncode == 6
    assert "not valid Unicode" in done.stderr
    assert "Jane" not in done.stderr


def test_infer_names_targets_where_a_bundle_takes_no_instructions(
    arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--instruction", SECRET]) == 6
    shown = capfd.readouterr().err
    assert "tiny-head takes no instructions; name structures with --targets" in shown
    assert SECRET not in shown


def test_infer_help_shows_an_instruction(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert '--instruction "outline the lesion"' in text
    assert "6 target or instruction" in text
