"""What instructions ask for, taken together with the targets that were named: one plan, or a clear error.

Messages number the instructions and never repeat them: a person typed them, perhaps with patient data.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from runtime.bundle import Bundle
from runtime.engines.engine import Engine
from runtime.errors import InstructionError
from runtime.language.named import listed, named
from runtime.language.text import TextReader
from runtime.language.vocabulary import vocabulary_of
from runtime.stages.condition import Wanted, are_related, bank_vectors, wanted
from runtime.structure import Structure

__all__ = ["Plan", "Prompt", "PromptPlan", "make_plan", "plan_written", "read_prompts"]


@dataclass(frozen=True)
class Prompt:
    """An instruction that was read, or one name of an instruction that is a list of them.

    Attributes:
        text: As it was given.
        vector: Its condition, (C,).
        wanted: What that asks for.
        is_cut: Whether the end of it was not read.
        number: Of the instruction, from 1.
        is_listed: Whether it is one of a list.
    """

    text: str
    vector: NDArray[np.float32]
    wanted: Wanted
    is_cut: bool
    number: int = 1
    is_listed: bool = False


@dataclass(frozen=True)
class PromptPlan:
    """What becomes of one instruction: whose vector answers it, what is to be said, and who wrote it."""

    prompt: Prompt
    source: Literal["text", "bank"]
    notes: tuple[str, ...]
    author: Literal["user", "llm"] = "user"


@dataclass(frozen=True)
class Plan:
    """What becomes of a call.

    Attributes:
        structures: What the result holds, in the bundle's order; none where nothing of ours is asked for.
        prompts: Every instruction, in its order.
        rows: Structure to the prompt whose vector takes the bank's place.
        warnings: What a reader must know.
        written: What a language model asked for, and whose vector answers it.
    """

    structures: tuple[Structure, ...]
    prompts: tuple[PromptPlan, ...] = ()
    rows: dict[str, Prompt] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    written: dict[str, Literal["text", "bank"]] = field(default_factory=dict)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes of all instructions, with their numbers."""
        return tuple(
            f"instruction {item.prompt.number}: {note}" for item in self.prompts for note in item.notes
        )


def read_prompts(
    texts: Sequence[str], present: NDArray[np.bool_], bundle: Bundle, reader: TextReader, engine: Engine
) -> tuple[Prompt, ...]:
    """Read texts that `check_texts` let pass; one that is a list of names becomes a prompt for each.

    Args:
        texts: The instructions.
        present: Which channels the study has, (M,).
        bundle: One with instructions.
        reader: Its tokenizer.
        engine: Its text network.

    Raises:
        InstructionError: A text holds no word.
        BundleError: The network is not what the bundle says.
        DeviceError: The device failed.
    """
    prompts = []
    given = bundle.manifest.instructions
    for number, text in enumerate(texts, 1):
        names = {} if given is None else listed(text, given.called)
        for structure, name in names.items():
            part = _read(f"Segment the {name}.", present, bundle, reader, engine)
            vector, found = part.vector, part.wanted
            if not found.is_clear or found.target != structure:  # its name says what its vector does not
                vector = bank_vectors(bundle, (structure,))[present, 0].mean(axis=0)
                found = replace(wanted(vector, bundle, present), is_near=False)
            prompts.append(Prompt(text, vector, found, part.is_cut, number, is_listed=True))
        if not names:
            prompts.append(replace(_read(text, present, bundle, reader, engine), number=number))
    return tuple(prompts)


def _read(
    text: str, present: NDArray[np.bool_], bundle: Bundle, reader: TextReader, engine: Engine
) -> Prompt:
    """Read one text as a whole."""
    made = reader.vector(text, engine)
    return Prompt(text, made.vector, wanted(made.vector, bundle, present), made.is_cut)


def make_plan(prompts: Sequence[Prompt], targets: tuple[Structure, ...] | None, bundle: Bundle) -> Plan:
    """Decide what each instruction does.

    The first of several instructions for one structure takes its row, if it is near enough to that. A union
    is answered by its parts.
    An unclear instruction is an error, unless targets are named: these are then answered from the bank.

    Args:
        prompts: What was read.
        targets: What was named beside them; None where nothing was.
        bundle: Says what unions are made of.

    Raises:
        InstructionError: An instruction is unclear and no targets are named, or it contradicts them.
    """
    rows: dict[str, Prompt] = {}
    plans, warnings, asked = [], [], set[str]()
    for prompt in prompts:
        number, found = prompt.number, prompt.wanted
        notes = ["it has more words than are read; its end was left out"] * prompt.is_cut
        source: Literal["text", "bank"] = "text"
        if not found.is_clear:
            notes.append(_unclear(number, found, targets))
            source = "bank"
        elif found.target == "":
            _check_agreement(number, found.target, targets, bundle)
            notes.append("it asks for nothing that this bundle can segment")
            warnings.append(
                f"instruction {number} asks for nothing that {bundle.identity.name} can segment; "
                "it adds nothing to the result"
            )
        else:
            _check_agreement(number, found.target, targets, bundle)
            asked.add(found.target)
            notes += (
                [f"it is a list; {found.target} is one of it"]
                if prompt.is_listed
                else _also_named(prompt, bundle)
            )
            structure = bundle.structure(found.target)
            if structure.union_of:
                notes.append(f"{found.target} is answered by its parts: {', '.join(structure.union_of)}")
                source = "bank"
            elif not found.is_near:
                notes.append(f"it is clear in an unusual wording; {found.target} is answered from the bank")
                source = "bank"
            elif found.target in rows:
                notes.append(f"{found.target} is answered by the first instruction that asks for it")
            else:
                rows[found.target] = prompt
        plans.append(PromptPlan(prompt, source, tuple(notes)))
    known = bundle.manifest.structures
    structures = targets if targets is not None else tuple(item for item in known if item.name in asked)
    return Plan(structures, tuple(plans), rows, tuple(warnings))


def plan_written(
    plan: Plan,
    names: Sequence[str],
    present: NDArray[np.bool_],
    bundle: Bundle,
    reader: TextReader,
    engine: Engine,
) -> Plan:
    """Let a language model ask for targets, as a person would: by one short text for each.

    The bank answers unions, and where the bundle does not take the text for what was meant.

    Args:
        plan: One without instructions of a person.
        names: The targets that were written.
        present: Which channels the study has, (M,).
        bundle: One with instructions.
        reader: Its tokenizer.
        engine: Its text network.

    Raises:
        BundleError: The network is not what the bundle says.
        DeviceError: The device failed.
    """
    vocabulary = vocabulary_of(bundle.manifest)
    prompts, written = [], dict[str, Literal["text", "bank"]]()
    for name in names:
        written[name] = "bank"
        if bundle.structure(name).union_of:
            continue
        with suppress(InstructionError):  # no word of it is known
            prompt = _read(f"Segment the {vocabulary.spoken[name]}.", present, bundle, reader, engine)
            if prompt.wanted.is_near and prompt.wanted.target == name:
                written[name] = "text"
                prompts.append(PromptPlan(prompt, "text", (), "llm"))
    rows = {item.prompt.wanted.target: item.prompt for item in prompts}
    return replace(plan, prompts=tuple(prompts), rows=rows, written=written)


def _unclear(number: int, found: Wanted, targets: tuple[Structure, ...] | None) -> str:
    """A note where targets were named too.

    Raises:
        InstructionError: They were not.
    """
    between = f"between {_named(found.target)} and {_named(found.runner_up)}"
    if targets is None:
        raise InstructionError(
            f"instruction {number} is unclear, {between} (similarity {found.similarity:.2f}, margin "
            f"{found.margin:.2f}); ask for one structure at a time, or name targets"
        )
    return f"it is unclear, {between}; the targets that were named are answered from the bank"


def _also_named(prompt: Prompt, bundle: Bundle) -> list[str]:
    """A note where a text has names of other structures as well: one alone is answered."""
    given = bundle.manifest.instructions
    target, others = prompt.wanted.target, []
    for meant in () if given is None else named(prompt.text, given.called):
        if not any(are_related(bundle, name, target) for name in meant):
            others += [name for name in sorted(meant) if name not in others]
    return [f"it also names {', '.join(others)}; only {target} is answered"] * bool(others)


def _check_agreement(number: int, name: str, targets: tuple[Structure, ...] | None, bundle: Bundle) -> None:
    """Refuse an instruction that asks for something else than the targets that were named."""
    if targets is None:
        return
    covered = {value for target in targets for value in bundle.parts(target)}
    if name == "" or not set(bundle.parts(bundle.structure(name))) <= covered:
        raise InstructionError(
            f"instruction {number} asks for {_named(name)}, the targets are "
            f"{', '.join(target.name for target in targets)}; leave one of both out"
        )


def _named(target: str) -> str:
    return target or "nothing of this bundle"
