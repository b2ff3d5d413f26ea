"""A language model's words reach the mask where the rule agrees, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import Result, Session
from runtime.engines.llama.prompts import EmbeddingPart, TextPart
from runtime.language.instruction import Finding
from runtime.language.sentence import parse, write
from tests.tiny_bundle import FLAIR_TAGS, T2_TAGS, head_plan, write_head
from tests.tiny_writer import (
    PATIENT_S,
    RIGHT,
    ROWS,
    VOCABULARY,
    WIDTH,
    make_writer_bundle,
    same,
    say,
    told,
)

pytestmark = pytest.mark.usefixtures("instruction_cache")


def test_random_model_writes_from_pixels_and_the_rule_is_safe(
    writer_folder: Path, axial: Path, writer_plain: Result
) -> None:
    with Session(writer_folder, "cpu", 1, llm_deadline_s=PATIENT_S) as session:
        result = session.segment(axial)
    report = told(result)
    (item,) = report.written
    assert (report.model, report.reason) == ("writer.gguf", "writer.gguf of tiny-writer")
    assert item.llm_text is not None
    assert parse(item.llm_text, VOCABULARY)
    assert item.tokens > 0
    assert 0 < item.seconds < PATIENT_S
    assert len(item.model_sha256) == 64
    assert (item.author == "llm") == (item.contradictions == ())
    assert item.confidence is not None
    assert "T1-weighted MRI with thick slices" in item.rule_text
    assert (told(writer_plain).model, told(writer_plain).reason) == ("", "no language model was asked for")
    (alone,) = told(writer_plain).written
    assert (alone.author, alone.text, alone.llm_text, alone.confidence) == (
        "rule",
        item.rule_text,
        None,
        None,
    )


def test_image_reaches_the_language_model(
    writer_folder: Path, axial: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    canned = say(monkeypatch, write(RIGHT, VOCABULARY))
    write_head(tmp_path / "s", head_plan(), lesion_mm=12.0)
    with Session(writer_folder, "cpu", 1, llm_deadline_s=PATIENT_S) as session:
        session.segment(axial)
        session.segment(tmp_path / "s")
    images = []
    for before, image, after in canned.prompts:
        assert before == TextPart("<s><Img>", reads_special_tokens=True)
        assert after == TextPart("</Img>the lesion ", reads_special_tokens=True)
        assert isinstance(image, EmbeddingPart)
        assert image.rows.shape == (ROWS, WIDTH)
        images.append(image.rows)
    assert len(images) == 2
    assert not np.array_equal(*images)
    assert canned.is_closed


def test_all_series_are_asked_about_at_once(
    writer_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    canned = say(
        monkeypatch, *(write(replace(RIGHT, modality=name), VOCABULARY) for name in ("T1", "T2", "FLAIR"))
    )
    calls: list[int] = []
    real = canned.generate_batch
    monkeypatch.setattr(
        canned,
        "generate_batch",
        lambda prompts, options: calls.append(len(prompts)) or real(prompts, options),
    )
    for name, tags in (("T1", None), ("T2", T2_TAGS), ("FLAIR", FLAIR_TAGS)):
        write_head(tmp_path / "s" / name, head_plan(name=name, **({} if tags is None else {"tags": tags})))
    with Session(writer_folder, "cpu", 1, llm_deadline_s=PATIENT_S) as session:
        report = told(session.segment(tmp_path / "s"))
    assert calls == [3]
    assert [item.modality for item in report.written] == ["T1", "T2", "FLAIR"]
    assert [item.author for item in report.written] == ["llm"] * 3


@pytest.mark.usefixtures("in_time")
def test_mask_follows_what_was_written(
    writer_folder: Path, axial: Path, writer_plain: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(monkeypatch, write(RIGHT, VOCABULARY))
    with Session(writer_folder, "cpu", 1, llm_deadline_s=PATIENT_S) as session:
        result = session.segment(axial)
        asked = session.segment(targets=["shell", "core", "lesion", "brain"], instruction="Segment the core.")
        again = session.segment()
    assert told(result).conditions == {"core": "text"}
    assert not same(result, writer_plain)
    assert same(result, asked)
    assert same(again, result)
    (item,) = result.report.instructions
    assert (item.author, item.text, item.target, item.source) == ("llm", "Segment the core.", "core", "text")
    (typed,) = asked.report.instructions
    assert (typed.author, told(asked).conditions) == ("user", {})  # a person goes first


@pytest.mark.usefixtures("in_time")
def test_union_that_was_written_is_answered_by_the_bank(
    writer_folder: Path, axial: Path, writer_plain: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(monkeypatch, write(replace(RIGHT, targets=("brain",)), VOCABULARY))
    with Session(writer_folder, "cpu", 1, llm_deadline_s=PATIENT_S) as session:
        result = session.segment(axial)
    assert told(result).written[0].author == "llm"
    assert told(result).conditions == {"brain": "bank"}
    assert same(result, writer_plain)


@pytest.mark.usefixtures("in_time")
def test_words_that_the_bundle_takes_for_something_else_are_answered_by_the_bank(
    axial: Path, writer_plain: Result, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    confusing = {**VOCABULARY.__dict__, "spoken": {**VOCABULARY.spoken, "core": "cortex", "shell": "bark"}}
    confusing["finding"] = None
    folder = make_writer_bundle(tmp_path / "b", vocabulary=confusing)
    words = replace(VOCABULARY, spoken=confusing["spoken"], finding=None)
    say(monkeypatch, write(replace(RIGHT, targets=("core", "shell"), findings=None), words))
    with Session(folder, "cpu", 1, llm_deadline_s=PATIENT_S) as session:
        result = session.segment(axial)  # "cortex" is the shell's word, "bark" nobody's
    assert told(result).conditions == {"core": "bank", "shell": "bank"}
    assert same(result, writer_plain)


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"modality": "T2"}, "modality: T1-weighted MRI, and T2-weighted MRI by the language model"),
        ({"plane": "sagittal"}, "plane: axial, and sagittal by the language model"),
        ({"thickness": "thin"}, "thickness: thick, and thin by the language model"),
    ],
)
def test_contradiction_is_told_and_changes_no_mask(
    writer_folder: Path,
    axial: Path,
    writer_plain: Result,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    words: str,
) -> None:
    text = write(replace(RIGHT, **change), VOCABULARY)
    say(monkeypatch, text)
    with Session(writer_folder, "cpu", 1, llm_deadline_s=PATIENT_S) as session:
        result = session.segment(axial)
    (item,) = told(result).written
    assert (item.author, item.llm_text, item.text) == ("rule", text, item.rule_text)
    assert (item.contradictions, item.confidence) == ((words,), 0.75)
    assert told(result).conditions == {}
    assert same(result, writer_plain)
    (warning,) = set(result.report.warnings) - set(writer_plain.report.warnings)
    assert "the rule's instruction is used" in warning


@pytest.mark.usefixtures("in_time")
def test_target_that_nobody_asked_for_is_told(
    writer_folder: Path, axial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(monkeypatch, write(RIGHT, VOCABULARY))
    with Session(writer_folder, "cpu", 1, llm_deadline_s=PATIENT_S) as session:
        result = session.segment(axial, targets=["shell"])
        covered = session.segment(targets=["brain"])
    (item,) = told(result).written
    assert (item.author, item.text.endswith("Segment the shell.")) == ("rule", True)
    assert item.contradictions == ("targets: shell, and core by the language model",)
    assert told(covered).written[0].author == "llm"  # the core is part of the brain


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize(("side", "agrees"), [("left", False), ("right", True)])
def test_side_is_compared_with_the_mask(
    writer_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, side: Any, agrees: bool
) -> None:
    # The spot lies at the mirror image of the core, which is to the patient's right of the ball's middle.
    for name, tags in (("T1", None), ("FLAIR", FLAIR_TAGS)):
        plan = head_plan(name=name, **({} if tags is None else {"tags": tags}))
        write_head(tmp_path / "s" / name, plan, lesion_mm=10.0)
    seen = "left" if side == "right" else "right"
    finding = (Finding("small", "bright", seen),)
    say(
        monkeypatch,
        *(write(replace(RIGHT, modality=name, findings=finding), VOCABULARY) for name in ("T1", "FLAIR")),
    )
    with Session(writer_folder, "cpu", 1, llm_deadline_s=PATIENT_S) as session:
        result = session.segment(tmp_path / "s")
    assert [item.author == "llm" for item in told(result).written] == [agrees] * 2
    assert {item.confidence for item in told(result).written} == {1.0 if agrees else 0.8}
    assert any("but side is on the left" in warning for warning in result.report.warnings) != agrees
