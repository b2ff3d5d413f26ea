"""A study is encoded once and answers further instructions, exactly as it would have answered them first."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from runtime import Result, Session
from runtime.engines.onnx_runtime import OnnxRuntimeEngine
from runtime.errors import ImageError, InstructionError, UsageError
from runtime.formats import study_input
from tests.test_session import both
from tests.tiny_bundle import head_plan, write_head
from tests.tiny_promptable import make_promptable

SECRET = "Jane Doe"


@pytest.fixture(scope="module")
def promptable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_promptable(tmp_path_factory.mktemp("promptable"))


@pytest.fixture(scope="module")
def talking(promptable: Path) -> Iterator[Session]:
    with Session(promptable, "cpu", 1) as opened:
        yield opened


def same(a: Result, b: Result) -> bool:
    return np.array_equal(a.labels.voxels, b.labels.voxels) and a.labels.names == b.labels.names


def test_bank_segments_as_fixed_vectors_do(talking: Session, session: Session, axial: Path) -> None:
    banked, fixed = talking.segment(axial), session.segment(axial)
    assert same(banked, fixed)
    assert banked.measurements == fixed.measurements
    presence = {item.name: item.presence for item in banked.report.structures}
    assert presence == {"shell": 0.982, "core": 0.982, "lesion": 0.1192, "brain": 0.982}
    assert {item.presence for item in fixed.report.structures} == {None}
    assert banked.report.instructions == fixed.report.instructions == ()


@pytest.mark.parametrize("name", ["shell", "core", "lesion"])
def test_plain_instruction_has_the_mask_of_the_bank(talking: Session, axial: Path, name: str) -> None:
    banked = talking.segment(axial, targets=[name])
    told = talking.segment(instruction=f"Segment the {name}")
    assert same(banked, told)
    (item,) = told.report.instructions
    assert (item.target, item.source, item.similarity) == (name, "text", 1.0)
    assert told.measurements == banked.measurements


def test_further_answers_are_those_a_first_call_gives(talking: Session, axial: Path) -> None:
    asked: list[Any] = ["big core", "big shell", ["big core", "lesion"], "brain", ["big shell", "big core"]]
    for instruction in asked:
        first = talking.segment(axial, instruction=instruction)
        talking.segment(instruction="shell")
        further = talking.segment(instruction=instruction)
        assert same(first, further)
        assert first.measurements == further.measurements
        assert first.report.instructions == further.report.instructions
        assert first.report.warnings == further.report.warnings
        assert first.report.assumptions == further.report.assumptions
        assert "encode" in first.report.seconds
        assert not {"read", "encode", "prepare"} & set(further.report.seconds)


def test_instruction_changes_its_own_target_and_competes_with_the_others(
    talking: Session, axial: Path
) -> None:
    plain = talking.segment(axial)
    big = talking.segment(instruction="big core")
    assert big.labels.names == {2: "core"}
    assert [item.structure.name for item in big.measurements] == ["core"]
    core, bigger = plain.labels.voxels == 2, big.labels.voxels == 2
    assert bigger[core].all()
    assert bigger.sum() > core.sum()
    whole = talking.segment(targets=["shell", "core"], instruction="big core")
    assert np.array_equal(whole.labels.voxels == 2, bigger)
    assert np.array_equal(whole.labels.voxels == 1, (plain.labels.voxels == 1) & ~bigger)
    assert same(talking.segment(), plain)


def test_union_is_answered_by_its_parts_and_says_so(talking: Session, axial: Path, tmp_path: Path) -> None:
    plain = talking.segment(axial)
    brain = talking.segment(instruction="segment the brain")
    assert np.array_equal(brain.mask("brain").voxels, plain.mask("brain").voxels)
    assert brain.report.instructions[0].source == "bank"
    assert any("answered by its parts: shell, core, lesion" in note for note in brain.report.assumptions)
    names = [path.name for path in brain.save(tmp_path / "o")]
    assert names == ["brain.nii.gz", "labels.seg.dcm", "preview.png", "report.json"]


def test_list_of_names_asks_for_each(talking: Session, axial: Path) -> None:
    both_at_once = talking.segment(
        axial, instruction=["segment the lesion", "The core, and the SPOT and shell"]
    )
    asked = ["segment the lesion", "Segment the core.", "Segment the shell."]
    one_by_one = talking.segment(instruction=asked)
    assert same(both_at_once, one_by_one)
    reports = both_at_once.report.instructions
    assert [(item.number, item.target) for item in reports] == [
        (1, "lesion"),
        (2, "core"),
        (2, "lesion"),
        (2, "shell"),
    ]
    assert {item.text for item in reports[1:]} == {"The core, and the SPOT and shell"}
    assert "instruction 2: it is a list; shell is one of it" in both_at_once.report.assumptions
    with pytest.raises(InstructionError, match="instruction 1 asks for core, the targets are lesion"):
        talking.segment(targets=["lesion"], instruction="lesion and core")


def test_listed_name_that_the_text_network_does_not_know_is_answered_from_the_bank(
    talking: Session, axial: Path
) -> None:
    made = talking.segment(axial, instruction="the outer part and the core")
    assert [(item.target, item.source) for item in made.report.instructions] == [
        ("shell", "bank"),
        ("core", "text"),
    ]
    assert same(made, talking.segment(targets=["shell", "core"], instruction="Segment the core."))


def test_absent_structure_is_an_empty_mask_and_presence_says_so(
    talking: Session, axial: Path, tmp_path: Path
) -> None:
    result = talking.segment(axial, instruction="segment the kidney")
    assert (result.labels.names, result.structures, result.measurements) == ({}, (), ())
    assert not result.labels.voxels.any()
    (item,) = result.report.instructions
    assert (item.target, item.source, item.presence) == ("", "text", 0.0025)
    assert any("asks for nothing that tiny-promptable can segment" in text for text in result.report.warnings)
    names = [path.name for path in result.save(tmp_path / "o")]
    assert names == ["labels.nii.gz", "preview.png", "report.json"]
    assert not np.asarray(nib.load(tmp_path / "o" / "labels.nii.gz").dataobj).any()  # type: ignore[attr-defined]
    report = json.loads((tmp_path / "o" / "report.json").read_text())
    assert any(note.startswith("labels.seg.dcm was left out") for note in report["assumptions"])
    assert report["structures"] == []


def test_absent_structure_beside_another_leaves_that_one(talking: Session, axial: Path) -> None:
    talking.segment(axial)
    result = talking.segment(instruction=["kidney", "core"])
    assert result.labels.names == {2: "core"}
    assert [item.target for item in result.report.instructions] == ["", "core"]


def test_presence_follows_the_study(talking: Session, tmp_path: Path) -> None:
    result = talking.segment(both(tmp_path / "s"), instruction="tumour")
    (item,) = result.report.instructions
    assert item.target == "lesion"
    assert item.presence > 0.9
    assert result.report.structures[0].presence == item.presence
    assert result.labels.voxels.any()


def test_instructions_are_answered_on_nifti(talking: Session, axial: Path, tmp_path: Path) -> None:
    talking.segment(axial).save(tmp_path / "o", ["nifti"])
    labels: Any = nib.load(tmp_path / "o" / "labels.nii.gz")  # type: ignore[attr-defined]
    voxels = np.array([0, 80, 160], np.int16)[np.asarray(labels.dataobj)]
    nib.save(nib.Nifti1Image(voxels, labels.affine), tmp_path / "t1.nii.gz")  # type: ignore[attr-defined]
    result = talking.segment(f"T1={tmp_path / 't1.nii.gz'}", instruction="core")
    assert [path.name for path in result.save(tmp_path / "n")] == [
        "labels.nii.gz",
        "preview.png",
        "report.json",
    ]
    nothing = talking.segment(instruction="kidney")
    assert [path.name for path in nothing.save(tmp_path / "k")] == [
        "labels.nii.gz",
        "preview.png",
        "report.json",
    ]
    report = json.loads((tmp_path / "k" / "report.json").read_text())
    assert not any("labels.seg.dcm" in note for note in report["assumptions"])


def test_unclear_text_is_an_error_or_the_bank_answers(talking: Session, axial: Path) -> None:
    plain = talking.segment(axial, targets=["core"])
    text = f"core and shell of {SECRET}"
    with pytest.raises(InstructionError, match="instruction 1 is unclear, between shell and core") as caught:
        talking.segment(instruction=text)
    assert SECRET not in str(caught.value)
    banked = talking.segment(targets=["core"], instruction=text)
    assert same(banked, plain)
    (item,) = banked.report.instructions
    assert (item.source, item.text) == ("bank", text)
    assert any("answered from the bank" in note for note in banked.report.assumptions)
    with pytest.raises(InstructionError, match="asks for core, the targets are shell"):
        talking.segment(targets=["shell"], instruction="core")


def test_long_text_is_cut_and_the_report_says_so(talking: Session, axial: Path) -> None:
    talking.segment(axial)
    result = talking.segment(instruction="the " * 7 + "core shell")
    assert result.labels.names == {2: "core"}
    assert any("its end was left out" in note for note in result.report.assumptions)


def test_text_is_in_the_report_only(talking: Session, axial: Path, tmp_path: Path) -> None:
    text = f"the core {SECRET}"  # two unknown words: still nearest to the core
    talking.segment(axial)
    with pytest.raises(InstructionError):
        talking.segment(instruction=text)
    text = "the core\N{COMBINING ACUTE ACCENT} core core core " + SECRET.split()[0]
    result = talking.segment(instruction=text)
    for path in result.save(tmp_path / "o"):
        assert (SECRET.split()[0].encode() in path.read_bytes()) == (path.name == "report.json")
    assert json.loads((tmp_path / "o" / "report.json").read_text())["instructions"][0]["text"] == text


@pytest.mark.parametrize("instruction", ["", "  ", "12", "a" * 10_001, [], ["core", ""], "x\ud800"])
def test_text_that_says_nothing_is_refused_before_the_study_is_read(
    talking: Session, monkeypatch: pytest.MonkeyPatch, instruction: Any
) -> None:
    monkeypatch.setattr(study_input, "read_study", lambda *_: pytest.fail("the study was read"))
    with pytest.raises(InstructionError):
        talking.segment("study", instruction=instruction)


def test_bundle_without_instructions_refuses_them_and_keeps_nothing(session: Session, axial: Path) -> None:
    with pytest.raises(InstructionError, match=r"tiny-head takes no instructions; .* --targets"):
        session.segment(axial, instruction=f"core of {SECRET}")
    session.segment(axial)
    with pytest.raises(UsageError, match="no study is kept"):
        session.segment(targets=["core"])


def test_session_keeps_one_study_and_frees_it(promptable: Path, axial: Path, tmp_path: Path) -> None:
    write_head(tmp_path / "s", head_plan(spacing_mm=(4.0, 3.0, 3.0)))
    session = Session(promptable, "cpu", 1)
    with pytest.raises(UsageError, match="no study is kept from before"):
        session.segment(instruction="core")
    session.segment(axial)
    with pytest.raises(UsageError, match="modalities are for one"):
        session.segment(modalities={"1": "T1"}, instruction="core")
    assert session._kept is not None
    features = weakref.ref(session._kept.encoded.features)
    assert session.segment(instruction="core").labels.voxels.shape == (33, 40, 40)
    session.segment(tmp_path / "s")
    gc.collect()
    assert features() is None
    assert session.segment(instruction="core").labels.voxels.shape == (25, 33, 33)
    features = weakref.ref(session._kept.encoded.features)
    session.close()
    gc.collect()
    assert features() is None
    with pytest.raises(UsageError, match="closed"):
        session.segment(instruction="core")


def test_session_frees_a_study_before_the_next_is_encoded(
    promptable: Path, axial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Session(promptable, "cpu", 1) as session:
        session.segment(axial)
        assert session._kept is not None
        features = weakref.ref(session._kept.encoded.features)
        real, seen = OnnxRuntimeEngine.run, list[bool]()

        def run(engine: OnnxRuntimeEngine, inputs: dict[str, Any]) -> dict[str, Any]:
            if "image" in inputs:
                gc.collect()
                seen.append(features() is None)
            return real(engine, inputs)

        monkeypatch.setattr(OnnxRuntimeEngine, "run", run)
        session.segment(axial)
    assert seen
    assert all(seen)


def test_session_keeps_nothing_of_a_study_that_failed(promptable: Path, axial: Path, tmp_path: Path) -> None:
    with Session(promptable, "cpu", 1) as session:
        session.segment(axial)
        with pytest.raises(ImageError):
            session.segment(tmp_path)
        with pytest.raises(UsageError, match="no study is kept"):
            session.segment(instruction="core")
        with pytest.raises(InstructionError, match="unclear"):
            session.segment(axial, instruction="core shell")
        with pytest.raises(UsageError, match="no study is kept"):
            session.segment(instruction="core")
