"""What writes instructions is chosen on the command line, and what was written is shown there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runtime.infer import main
from runtime.language.instruction import Statement
from runtime.language.sentence import write
from tests.tiny_gguf import write_gguf
from tests.tiny_writer import MODEL, VOCABULARY, say

pytestmark = pytest.mark.usefixtures("instruction_cache")

RULE = "This is an axial T1-weighted MRI with thick slices. Visible: nothing known. Segment the brain."


@pytest.fixture
def line(axial: Path, writer_folder: Path, tmp_path: Path) -> list[str]:
    """A command line that works, without a word about language models."""
    return [str(axial), "--out", str(tmp_path / "o"), "--bundle", str(writer_folder), "--threads", "1"]


def written(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))["language"]
    return report


def test_infer_shows_what_the_rule_wrote(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*line, "--llm", "none"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert "instructions: no language model was asked for" in shown
    assert f"T1    {RULE} (by the rule)" in shown
    report = written(tmp_path / "o")
    assert (report["model"], report["conditions"]) == ("", {})
    (item,) = report["written"]
    assert (item["modality"], item["author"], item["text"], item["llm_text"]) == ("T1", "rule", RULE, None)


def test_infer_shows_what_the_language_model_wrote(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = write(Statement("T1", "axial", "thick", ("shell", "core"), ("core",), ()), VOCABULARY)
    say(monkeypatch, text)
    assert main([*line, "--llm-deadline", "120"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert "instructions: writer.gguf of tiny-writer" in shown
    assert f"T1    {text} (by the llm, confidence 1.00)" in shown
    assert written(tmp_path / "o")["written"][0]["llm_text"] == text


def test_infer_takes_the_path_of_a_language_model(line: list[str], tmp_path: Path) -> None:
    model = write_gguf(tmp_path / "other.gguf", MODEL)
    assert main([*line, "--llm", str(model), "--llm-deadline", "120", "--quiet"]) == 0
    report = written(tmp_path / "o")
    assert (report["model"], report["written"][0]["rule_text"]) == ("other.gguf", RULE)
    assert "sees no image" in report["reason"]
    assert report["written"][0]["llm_text"].startswith("This is ")


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (["--llm", "nowhere.gguf"], 2, "nowhere.gguf is not a file; use auto, none or the path"),
        (["--llm", __file__], 4, "is no usable language model"),
        (["--llm-deadline", "0"], 2, "deadline is 0.0 s, not within a day"),
        (["--llm-deadline", "soon"], 2, "invalid float value"),
    ],
)
def test_infer_refuses_a_language_model_that_cannot_be(
    line: list[str],
    more: list[str],
    code: int,
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*line, *more]) == code
    shown = capsys.readouterr()
    assert words in shown.err
    assert (shown.err.count("\n"), shown.out) == (1, "")
    assert not (tmp_path / "o").exists()
