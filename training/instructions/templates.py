"""Sentences around a target's name.

{target} is what is asked for, {modality} the scan, {side} a side with its space, {other} another structure
that is only mentioned. Sentences are composed from parts, or are whole ones of `wordings`.
"""

from __future__ import annotations

from numpy.random import Generator

from training.instructions.exclusions import ALONE, APART, GRANTED, NEVER, STATES, TURNS, WANTS
from training.instructions.wordings import wordings

__all__ = ["denied", "joined", "refused", "request", "request_beside"]

_OPENINGS = (
    *(
        "",
        "",
        "",
        "please ",
        "kindly ",
        "could you ",
        "can you ",
        "I need you to ",
        "we want to ",
        "your task is to ",
    ),
    *(
        "in this {modality}, ",
        "given the {modality}, ",
        "using the {modality}, ",
        "on the {modality}: ",
        "sure! ",
    ),
    *(
        "now ",
        "next, ",
        "first ",
        "task: ",
        "the model should ",
        "help me ",
        "it is necessary to ",
        "let us ",
    ),
)
_VERBS = (
    *(
        "segment",
        "segment",
        "segment",
        "outline",
        "delineate",
        "mark",
        "annotate",
        "contour",
        "extract",
        "label",
    ),
    *(
        "highlight",
        "find",
        "identify",
        "show",
        "trace",
        "map",
        "draw",
        "isolate",
        "locate",
        "detect",
        "pick out",
    ),
    *("give me", "provide", "return", "create a mask of", "make a segmentation of", "produce a label map of"),
    *("compute the volume of", "measure", "quantify", "identify and segment", "locate and outline", "get"),
)
_OBJECTS = (
    *("{target}", "the {target}", "the {target}", "the {target}", "the {side}{target}", "the {side}{target}"),
    *(
        "the region of the {target}",
        "the area of the {target}",
        "all of the {target}",
        "every voxel of the {target}",
    ),
    *(
        "all voxels that belong to the {target}",
        "the structure called {target}",
        "the extent of the {target}",
    ),
    *(
        "the borders of the {target}",
        "the boundary of the {side}{target}",
        "the full {target}",
        "any {target}",
    ),
    *("what belongs to the {target}", "the part of the image that is {target}", "the visible {target}"),
)
_CONTEXTS = (
    *(
        "",
        "",
        "",
        " on the {modality}",
        " in this {modality}",
        " from the {modality}",
        " throughout the scan",
    ),
    *(
        " slice by slice",
        " for planning",
        " for follow-up",
        " in 3D",
        " as a binary mask",
        " in this patient",
    ),
    *(
        " on every slice of the {modality}",
        " as seen on {modality}",
        " as precisely as possible",
        " completely",
    ),
)
_CLOSINGS = (
    ".",
    ".",
    ".",
    "",
    "",
    "!",
    "?",
    " please",
    " please.",
    ", thanks",
    ". Thank you.",
    ". Be precise.",
)
_FILLERS = (
    *("The image quality is good.", "There is slight motion.", "The signal is typical for this sequence."),
    *("Its margin is well defined.", "The region of interest is homogeneous.", "It has intermediate signal."),
    *(
        "The patient is 54 years old.",
        "This is a routine study.",
        "The contrast is sufficient.",
        "No artefacts.",
    ),
    *(
        "Follow its boundary against the neighbouring tissue.",
        "Its shape is as expected.",
        "Note its location.",
    ),
    *("It is visible on the {modality} with typical intensity.", "The {modality} was acquired axially."),
    *(
        "Pay attention to partial volume at the edge.",
        "Intensity differs from the surroundings.",
        "Thank you.",
    ),
    *("The border is smooth.", "Compare both sides.", "The field of view is complete.", "Noise is low."),
    *("Here is what matters for the segmentation:", "Important information for segmenting:", "Hello."),
)
_QUESTIONS = (
    *("where is the {target}", "where are the borders of the {target}", "how large is the {target}"),
    *("which voxels are {target}", "what is the volume of the {target}", "can I have the {target}"),
    *("is it possible to see the {target}", "what does the {target} look like on the {modality}"),
)
_SHORT = (
    *("{target}", "{target}", "{target} mask", "mask: {target}", "{target} segmentation", "roi {target}"),
    *("target = {target}; modality = {modality}", "{modality}: {target}", "only {target}", "{side}{target}"),
)
_WITHOUT = (
    *(", not the {other}", " but not the {other}", " without the {other}", ", leave out the {other}"),
    *(
        ", ignoring the {other}",
        ", excluding the {other}",
        " and nothing of the {other}",
        ", never the {other}",
    ),
    *(
        " rather than the {other}",
        ", the {other} is not wanted",
        " next to the {other}",
        " beside the {other}",
    ),
)
_BEFORE = (
    *("The {other} is unremarkable.", "The {other} looks normal.", "There is no abnormality of the {other}."),
    *("The {other} is well seen.", "Ignore the {other}.", "Leave out the {other}.", "Without the {other}:"),
    *(
        "The {modality} shows no change of the {other}.",
        "Do not segment the {other}.",
        "The {other} was done.",
    ),
)
_DENIALS = (
    *("there is no {target} in this {modality}", "no {target}", "no {target} is seen on the {modality}"),
    *("the {modality} shows no evidence of {target}", "{target}: none", "absence of {target}"),
    *("negative for {target}", "without any {target}", "{target} is not present", "no sign of {target}"),
    *("there seems to be no {target}", "I do not see {target} here", "this {modality} is clear of {target}"),
    *("the patient has no {target}", "{target} cannot be found", "free from {target}", "{target} is absent"),
    *("nothing here looks like {target}", "we do not find any {target}", "{target} was ruled out"),
)
_REFUSALS = (
    *("do not segment the {target}", "don't mark the {target}", "leave out the {target}", "not the {target}"),
    *("anything but the {target}", "everything except the {target}", "ignore the {target} on the {modality}"),
    *("skip the {target}", "no mask of the {target}", "the {target} is not wanted", "never the {target}"),
    *("please do not outline the {target}", "I do not want the {target}", "without the {target}"),
)
_BOTH = (
    *("{target} and {other}", "{target} and the {other}", "{other} and the {target}", "{target} or {other}"),
    *("{target}, the {other}", "{other} as well as the {target}", "{target} together with the {other}"),
    *("{target} plus {other}", "{target} and also the {other}", "{target} & {other}", "{target} / {other}"),
)


def request(random: Generator) -> str:
    """A template that asks for the target."""
    draw = random.random()
    if draw < 0.15:
        return _one(_SHORT, random) + _one(("", "", "."), random)
    if draw < 0.3:
        return _around(f"{_one(_QUESTIONS, random)}?", random)
    if draw < 0.65:
        return _around(_one(wordings("training", "asked"), random), random)
    return _around(f"{_asking(random)}{_one(_CLOSINGS, random)}", random)


def request_beside(random: Generator) -> str:
    """A template that asks for the target and names something else."""
    draw = random.random()
    if draw < 0.5:
        return _around(_one(wordings("training", "mentioned"), random), random)
    if draw < 0.6:
        parts = (GRANTED, STATES, TURNS, WANTS, _CLOSINGS)
        return _around("".join(_one(part, random) for part in parts), random)
    if draw < 0.7:
        return _around("".join(_one(part, random) for part in (APART, WANTS, _CLOSINGS)), random)
    if draw < 0.8:
        return _around("".join(_one(part, random) for part in (ALONE, NEVER, _CLOSINGS)), random)
    if draw < 0.9:
        pair = [_one(_BEFORE, random), f"{_asking(random)}."]
        return " ".join(pair if random.random() < 0.7 else pair[::-1])
    return _around(f"{_asking(random)}{_one(_WITHOUT, random)}{_one(_CLOSINGS, random)}", random)


def denied(random: Generator) -> str:
    """A template that says the target is not there; for findings, not for anatomy that everybody has."""
    if random.random() < 0.6:
        return _around(_one(wordings("training", "absent"), random), random)
    return _around(f"{_one(_DENIALS, random)}.", random)


def refused(random: Generator) -> str:
    """A template that only says what not to segment."""
    return f"{_one(_REFUSALS, random)}{_one(_CLOSINGS, random)}"


def joined(template: str, random: Generator) -> str:
    """A template that asks for the target, made to ask for {other} as well."""
    return template.replace("{target}", _one(_BOTH, random), 1)


def _asking(random: Generator) -> str:
    parts = (_OPENINGS, _VERBS, (" ",), _OBJECTS, _CONTEXTS)
    return "".join(_one(part, random) for part in parts)


def _around(sentence: str, random: Generator) -> str:
    """With sentences before and after it that say nothing about what is asked for."""
    before = _one(_FILLERS, random) + " " if random.random() < 0.25 else ""
    after = " " + _one(_FILLERS, random) if random.random() < 0.25 else ""
    return before + sentence + after


def _one(parts: tuple[str, ...], random: Generator) -> str:
    return parts[int(random.integers(len(parts)))]
