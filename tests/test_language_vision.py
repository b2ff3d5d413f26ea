"""`--mmproj`: a named language model looks at the pictures of a series, and is checked like any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import Session
from runtime.author import choose_writer
from runtime.bundle import open_bundle
from runtime.engines.llama.client import LlamaProcess
from runtime.engines.llama.prompts import ChatPart, ImagePart, TextPart
from runtime.errors import UsageError
from runtime.infer import main
from runtime.language.template import LOOK, LOOK_MARKS, read_template
from runtime.language.views import sheet
from tests.tiny_gguf import TinyModel, write_gguf
from tests.tiny_projector import TinyProjector, needs_vision, write_projector
from tests.tiny_writer import PATIENT_S, told

MODEL = TinyModel(context=2048, words=("This", "thick"))


pytestmark = pytest.mark.usefixtures("instruction_cache")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    projector = TinyProjector(side=96, patch=16, scale=3.0)
    model = write_gguf(tmp_path / "eyes.gguf", MODEL)
    return model, write_projector(tmp_path / "mmproj.gguf", projector)


def test_sheet_shows_six_pictures_in_order_on_a_square() -> None:
    pictures = np.stack([np.full((4, 4), (number + 1) / 10, np.float32) for number in range(6)])
    made = sheet(pictures)
    assert (made.shape, made.dtype) == ((12, 12, 3), np.uint8)
    assert (made[2::4, 2::4, 0].tolist()) == [[26, 51, 76], [102, 128, 153], [0, 0, 0]]
    assert np.array_equal(made[..., 0], made[..., 2])


def test_prompt_holds_the_picture_between_words_and_says_nothing_of_what_the_rule_knows() -> None:
    template = read_template(LOOK, LOOK_MARKS)
    words = {"modality": "T2-weighted MRI", "instance": "the brain", "facts": "SECRET"}
    pixels = np.zeros((6, 6, 3), np.uint8)
    prompt = template.filled(words, pixels)
    assert prompt[0] == ChatPart("question")
    assert prompt[-1] == ChatPart("answer")
    assert [part.pixels.shape for part in prompt if isinstance(part, ImagePart)] == [(6, 6, 3)]
    text = "".join(part.text for part in prompt if isinstance(part, TextPart))
    assert "in such a T2-weighted MRI for segmenting the brain as you can" in text
    assert "SECRET" not in text


@needs_vision
def test_session_writes_what_the_model_sees(
    axial: Path, writer_folder: Path, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    real = LlamaProcess.generate_batch

    def noted(self: LlamaProcess, prompts: Any, *rest: Any) -> Any:
        seen.extend(prompts)
        return real(self, prompts, *rest)

    monkeypatch.setattr(LlamaProcess, "generate_batch", noted)
    with Session(writer_folder, "cpu", 1, files[0], PATIENT_S, files[1]) as session:
        first = told(session.segment(axial))
        again = told(session.segment(axial))
    (prompt,) = seen  # the second answer was kept
    (image,) = (part for part in prompt if isinstance(part, ImagePart))
    assert image.pixels.shape == (96, 96, 3)
    assert image.pixels.max() > 200
    (written,) = first.written
    assert first.reason.startswith("eyes.gguf was asked for and sees by mmproj.gguf; llama.cpp computes")
    assert written.llm_text is not None
    assert written.llm_text.startswith("This is ")
    assert (again.written[0].llm_text, again.written[0].is_kept) == (written.llm_text, True)
    other = write_projector(files[1].parent / "other.gguf", TinyProjector(side=96, patch=16, seed=1))
    with Session(writer_folder, "cpu", 1, files[0], PATIENT_S, other) as session:
        assert not told(session.segment(axial)).written[0].is_kept  # what it sees with is part of the key


@needs_vision
def test_infer_takes_a_projector(
    axial: Path, writer_folder: Path, files: tuple[Path, Path], tmp_path: Path
) -> None:
    line = [str(axial), "--out", str(tmp_path / "o"), "--bundle", str(writer_folder), "--threads", "1"]
    asked = ["--llm", str(files[0]), "--mmproj", str(files[1]), "--llm-deadline", str(PATIENT_S), "--quiet"]
    assert main([*line, *asked]) == 0
    report = json.loads((tmp_path / "o" / "report.json").read_text(encoding="utf-8"))["language"]
    assert (report["model"], "sees by mmproj.gguf" in report["reason"]) == ("eyes.gguf", True)
    assert report["written"][0]["llm_text"].startswith("This is ")


@pytest.mark.parametrize("llm", ["auto", "none"])
def test_projector_without_a_named_model_is_refused(writer_folder: Path, llm: str) -> None:
    with pytest.raises(UsageError, match=f"--llm PATH.gguf, not {llm}"):
        choose_writer(llm, open_bundle(writer_folder), "mmproj.gguf")


@needs_vision
@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("nowhere.gguf", 2, "nowhere.gguf is not a file; give the path of a GGUF file for --mmproj"),
        ("eyes.gguf", 4, "is it the language model?"),
        ("wide.gguf", 4, "take the files of one model"),
    ],
)
def test_infer_refuses_a_projector_that_cannot_be_before_the_study_is_read(
    writer_folder: Path,
    files: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    code: int,
    words: str,
) -> None:
    write_projector(tmp_path / "wide.gguf", TinyProjector(out=96))
    line = ["not there", "--out", str(tmp_path / "o"), "--bundle", str(writer_folder)]
    assert main([*line, "--llm", str(files[0]), "--mmproj", str(tmp_path / name)]) == code
    assert words in capsys.readouterr().err
