"""What instructions and named targets come to together: a plan, or an error that repeats no text."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from runtime.bundle import Bundle, open_bundle
from runtime.errors import InstructionError
from runtime.prompt import Prompt, make_plan
from runtime.stages.condition import Wanted
from runtime.structure import Structure
from tests.tiny_promptable import make_promptable

SECRET = "Jane Doe"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(make_promptable(tmp_path_factory.mktemp("promptable")))


def prompt(
    target: str, runner_up: str = "shell", is_clear: bool = True, is_near: bool = True, is_cut: bool = False
) -> Prompt:
    wanted = Wanted(target, 0.9, runner_up, 0.4 if is_clear else 0.01, is_clear, is_clear and is_near)
    return Prompt(f"{SECRET}: {target}", np.zeros(6, np.float32), wanted, is_cut)


def named(bundle: Bundle, *names: str) -> tuple[Structure, ...]:
    return tuple(bundle.structure(name) for name in names)


def test_plan_holds_what_is_asked_for_in_the_order_of_the_bundle(bundle: Bundle) -> None:
    lesion, shell = prompt("lesion"), prompt("shell", "core")
    plan = make_plan([lesion, shell], None, bundle)
    assert plan.structures == named(bundle, "shell", "lesion")
    assert plan.rows == {"lesion": lesion, "shell": shell}
    assert [item.source for item in plan.prompts] == ["text", "text"]
    assert (plan.notes, plan.warnings) == ((), ())


def test_plan_answers_a_union_by_its_parts(bundle: Bundle) -> None:
    plan = make_plan([prompt("brain", "")], None, bundle)
    assert plan.structures == named(bundle, "brain")
    assert plan.rows == {}
    assert plan.prompts[0].source == "bank"
    assert plan.notes == ("instruction 1: brain is answered by its parts: shell, core, lesion",)


def test_plan_takes_the_first_of_two_texts_for_one_target(bundle: Bundle) -> None:
    first, second = prompt("core"), dataclasses.replace(prompt("core"), number=2)
    plan = make_plan([first, second], None, bundle)
    assert plan.rows["core"] is first
    assert plan.structures == named(bundle, "core")
    assert plan.notes == ("instruction 2: core is answered by the first instruction that asks for it",)


def test_plan_answers_an_unusual_wording_from_the_bank_and_says_so(bundle: Bundle) -> None:
    far, near = prompt("core", is_near=False), prompt("core")
    plan = make_plan([far, near], None, bundle)
    assert plan.structures == named(bundle, "core")
    assert plan.rows == {"core": near}
    assert [item.source for item in plan.prompts] == ["bank", "text"]
    assert plan.notes == ("instruction 1: it is clear in an unusual wording; core is answered from the bank",)


def test_plan_says_which_other_structures_a_text_names(bundle: Bundle) -> None:
    two = dataclasses.replace(
        prompt("core"), text=f"The core and the SPOT of {SECRET}, not the outer  part, core"
    )
    plan = make_plan([two, prompt("core")], None, bundle)
    assert plan.prompts[0].notes == ("it also names lesion, shell; only core is answered",)
    assert plan.prompts[1].notes == ("core is answered by the first instruction that asks for it",)
    whole = dataclasses.replace(prompt("brain", ""), text="the brain with its core")
    assert make_plan([whole], None, bundle).prompts[0].notes == (
        "brain is answered by its parts: shell, core, lesion",
    )


def test_plan_says_what_was_not_read(bundle: Bundle) -> None:
    plan = make_plan([prompt("core", is_cut=True)], None, bundle)
    assert plan.notes == ("instruction 1: it has more words than are read; its end was left out",)


def test_plan_of_nothing_of_ours_is_empty_and_warns(bundle: Bundle) -> None:
    plan = make_plan([prompt("")], None, bundle)
    assert (plan.structures, plan.rows) == ((), {})
    assert plan.warnings == (
        "instruction 1 asks for nothing that tiny-promptable can segment; it adds nothing to the result",
    )
    beside = make_plan([prompt(""), prompt("core")], None, bundle)
    assert beside.structures == named(bundle, "core")
    assert len(beside.warnings) == 1


def test_plan_refuses_an_unclear_text_and_names_both(bundle: Bundle) -> None:
    with pytest.raises(InstructionError, match="instruction 2 is unclear, between core and shell") as caught:
        make_plan(
            [prompt("lesion"), dataclasses.replace(prompt("core", is_clear=False), number=2)], None, bundle
        )
    assert SECRET not in str(caught.value)
    with pytest.raises(InstructionError, match="between nothing of this bundle and shell"):
        make_plan([prompt("", is_clear=False)], None, bundle)


def test_plan_answers_named_targets_from_the_bank_where_a_text_is_unclear(bundle: Bundle) -> None:
    targets = named(bundle, "core", "brain")
    plan = make_plan([prompt("lesion", is_clear=False)], targets, bundle)
    assert (plan.structures, plan.rows) == (targets, {})
    assert plan.prompts[0].source == "bank"
    (note,) = plan.notes
    assert note.startswith(
        "instruction 1: it is unclear, between lesion and shell; the targets that were named"
    )


@pytest.mark.parametrize(
    ("asked", "targets"),
    [("core", ["core"]), ("core", ["shell", "core"]), ("core", ["brain"]), ("brain", ["brain"]),
     ("brain", ["shell", "core", "lesion"])],
)  # fmt: skip
def test_plan_takes_a_text_that_agrees_with_the_targets(
    bundle: Bundle, asked: str, targets: list[str]
) -> None:
    plan = make_plan([prompt(asked)], named(bundle, *targets), bundle)
    assert plan.structures == named(bundle, *targets)
    assert set(plan.rows) == {asked} - {"brain"}


@pytest.mark.parametrize(
    ("asked", "targets", "words"),
    [
        ("core", ["shell"], "asks for core, the targets are shell"),
        ("brain", ["shell", "core"], "asks for brain, the targets are shell, core"),
        ("", ["brain"], "asks for nothing of this bundle, the targets are brain"),
    ],
)
def test_plan_refuses_a_text_that_contradicts_the_targets(
    bundle: Bundle, asked: str, targets: list[str], words: str
) -> None:
    with pytest.raises(InstructionError, match=f"instruction 1 {words}; leave one of both out") as caught:
        make_plan([prompt(asked)], named(bundle, *targets), bundle)
    assert SECRET not in str(caught.value)
