"""The rule says what headers say, and where a language model contradicts it, the rule is used."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.language.agreement import Agreement, agree
from runtime.language.instruction import Finding, Instruction, Side, Statement
from runtime.language.rules import doubts, rule_instruction
from runtime.language.sentence import parse, write
from runtime.language.side import mask_side
from runtime.study import Decision, Modality, Series
from runtime.volume import Labels, Volume
from tests.test_written_sentences import HEAD, SAID


def series(
    modality: Modality, spacing_mm: tuple[float, float, float] = (1.0, 1.0, 5.0), darkest: int = 0
) -> Series:
    voxels = np.full((30, 40, 20), darkest, np.int16)
    voxels[5:25, 5:35, 3:17] = 200
    return Series("1.2", Volume(voxels, np.diag([*spacing_mm, 1.0])), Decision(modality, "by its tags"))


def told(**other: Any) -> Instruction:
    statement = replace(SAID, **other)
    return Instruction(statement, write(statement, HEAD), "llm", "a" * 64, 0, 30, 0.4)


@pytest.mark.parametrize(
    ("spacing_mm", "words"),
    [
        ((1.0, 1.0, 5.0), "This is an axial T2-weighted MRI with thick slices."),
        ((1.0, 2.5, 1.0), "This is a coronal T2-weighted MRI with thick slices."),
        ((2.49, 1.0, 1.0), "This is a sagittal T2-weighted MRI with thin slices."),
        ((1.0, 1.0, 2.4999955), "This is an axial T2-weighted MRI with thick slices."),
        ((1.0, 1.0, 1.0), "This is a sagittal T2-weighted MRI with thin slices."),
    ],
)
def test_rule_says_what_geometry_says(spacing_mm: tuple[float, float, float], words: str) -> None:
    made = rule_instruction(series("T2", spacing_mm), HEAD)
    assert made.text == f"{words} Visible: nothing known. Segment the brain."
    assert (made.author, made.tokens, made.model_sha256) == ("rule", 0, "")
    assert parse(made.text, HEAD) == made.statement


def test_rule_asks_for_what_is_asked_for() -> None:
    assert rule_instruction(series("T1"), HEAD, ["csf", "lesion"]).statement.targets == ("lesion", "csf")
    assert rule_instruction(series("T1"), HEAD, ["cortex"]).statement.targets == ("brain",)
    nameless = replace(HEAD, targets=("lesion", "csf"))
    assert rule_instruction(series("T1"), nameless).statement.targets == ("lesion", "csf")


@pytest.mark.parametrize(
    ("modality", "darkest", "words"),
    [("T1", 0, None), ("CT", -1000, None), ("T1", -1000, "values look like CT's"), ("CT", 0, "shows no air")],
)
def test_values_that_speak_against_the_headers_are_told(
    modality: Modality, darkest: int, words: str | None
) -> None:
    found = doubts(series(modality, darkest=darkest))
    assert len(found) == (words is not None)
    assert all(words in text for text in found if words)


def rule() -> Instruction:
    return rule_instruction(series("T2"), HEAD)


def test_language_model_that_contradicts_nothing_is_used() -> None:
    agreement = agree(rule(), told(), HEAD)
    assert (agreement.contradictions, agreement.confidence) == ((), 1.0)
    assert agreement.used.author == "llm"
    assert [item.field for item in agreement.compared] == ["modality", "plane", "thickness", "targets"]


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("modality", "T1", ("T2-weighted MRI", "T1-weighted MRI")),
        ("plane", "coronal", ("axial", "coronal")),
        ("thickness", "thin", ("thick", "thin")),
    ],
)
def test_contradiction_shows_both_and_uses_the_rule(field: str, value: str, shown: tuple[str, str]) -> None:
    agreement = agree(rule(), told(**{field: value}), HEAD)
    (found,) = agreement.contradictions
    assert (found.field, found.safe, found.told) == (field, *shown)
    assert agreement.used == rule()
    assert agreement.confidence == 0.75


def test_every_contradiction_costs_confidence() -> None:
    wrong = told(modality="CT", plane="sagittal", thickness="thin", targets=("brain",))
    assert agree(rule(), wrong, HEAD).confidence == 0.25
    assert agree(rule(), wrong, HEAD, ["lesion"]).confidence == 0.0


def test_target_that_nobody_asked_for_is_a_contradiction() -> None:
    agreement = agree(rule_instruction(series("T2"), HEAD, ["lesion"]), told(), HEAD, ["lesion"])
    (found,) = agreement.contradictions
    assert (found.field, found.safe, found.told) == ("targets", "lesion", "lesion, brain")
    assert agreement.used.statement.targets == ("lesion",)
    assert agree(rule(), told(targets=("lesion",)), HEAD, ["lesion", "brain"]).contradictions == ()


def test_no_answer_leaves_the_rule_and_no_confidence() -> None:
    agreement = agree(rule(), None, HEAD)
    assert (agreement.used, agreement.confidence) == (rule(), None)
    assert agreement.with_mask("left") == agreement


@pytest.mark.parametrize(
    ("said", "seen", "agrees"),
    [
        ("left", "left", True),
        ("left", "right", False),
        ("right", "left", False),
        ("both", "left", True),
        ("left", "midline", True),
    ],
)
def test_side_of_the_mask_is_compared(said: Side, seen: Side, agrees: bool) -> None:
    before = agree(rule(), told(findings=(Finding("small", "dark", said),)), HEAD)
    after = before.with_mask(seen)
    assert after.compared[-1].field == "side"
    assert after.compared[-1].agrees is agrees
    assert after.confidence == (1.0 if agrees else 0.8)
    assert after.used.author == ("llm" if agrees else "rule")


def test_side_is_not_compared_where_one_of_both_says_nothing() -> None:
    for agreement, side in (
        (agree(rule(), told(findings=()), HEAD), "left"),
        (agree(rule(), told(findings=None), HEAD), "left"),
        (agree(rule(), told(), HEAD), None),
    ):
        assert agreement.with_mask(side) == agreement  # type: ignore[arg-type]


def mask(balls: list[tuple[float, int]], order: tuple[int, int, int], flip: bool) -> Labels:
    """A brain (1) around x = 12 mm with balls of 2, each so far to its right."""
    affine = np.diag([2.0, 2.5, 3.0, 1.0])
    affine[:3, 3] = (-70.0, -60.0, -30.0)
    points = np.moveaxis(np.indices((80, 50, 40), dtype=np.float64), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    middle = np.array([12.0, 0.0, 20.0])
    voxels = (np.linalg.norm((points - middle) / [60, 50, 40], axis=-1) <= 1).astype(np.uint8)
    for right_mm, radius in balls:
        voxels[np.linalg.norm(points - middle - [right_mm, 0, 0], axis=-1) <= radius] = 2
    turned: NDArray[np.uint8] = voxels.transpose(order)
    affine = affine[:, [*order, 3]]
    if flip:
        turned, turn = turned[::-1], np.eye(4)
        turn[0, 0], turn[0, 3] = -1, turned.shape[0] - 1
        affine = affine @ turn
    return Labels(np.ascontiguousarray(turned), affine, {1: "brain", 2: "lesion"})


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize(
    ("balls", "side"),
    [
        ([(30.0, 10)], "right"),
        ([(-30.0, 10)], "left"),
        ([(-30.0, 10), (30.0, 10)], "both"),
        ([(0.0, 8)], "midline"),
        ([(-30.0, 12), (30.0, 5)], "left"),
        ([], None),
    ],
)
def test_side_of_a_mask_is_the_patients(
    balls: list[tuple[float, int]], side: Side | None, order: tuple[int, int, int], flip: bool
) -> None:
    assert mask_side(mask(balls, order, flip), [2], [1, 2]) == side


def test_agreement_of_a_statement_that_is_not_compared_is_empty() -> None:
    statement = Statement("T1", "axial", "thin", (), ("brain",))
    alone = Agreement(Instruction(statement, write(statement, HEAD), "rule"), None)
    assert (alone.compared, alone.contradictions, alone.confidence) == ((), (), None)
