"""Sentences around a target's name.

{target} is what is asked for, {modality} the scan, {side} a side with its space, {other} another structure
that is only mentioned. Templates for training and for evaluation have no sentence in common.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ABSENT", "ASKED", "MENTIONED", "Templates"]


@dataclass(frozen=True)
class Templates:
    """One kind of text.

    Attributes:
        training: Shown in training.
        evaluation: Only for evaluation.
    """

    training: tuple[str, ...]
    evaluation: tuple[str, ...]


ASKED = Templates(
    (
        "{target}",
        "segment {target}",
        "Segment the {side}{target}.",
        "Segment the {target} in this {modality}.",
        "Please segment the {side}{target} in the {modality}.",
        "Outline the {target}.",
        "Delineate the {side}{target} on the {modality}.",
        "Could you mark the {target}?",
        "I need a mask of the {side}{target}.",
        "Give me the {target} please",
        "Find all voxels of the {target} in this {modality}.",
        "Show the {target}",
        "Contour the {target} for treatment planning.",
        "Where is the {side}{target}?",
        "mask: {target}",
        "target = {target}; modality = {modality}",
        "Create a segmentation of the {target} from the {modality}.",
        "In the {modality}, label every voxel that belongs to the {target}.",
        "On this {modality} the {target} is seen well; segment it.",
        "The {target} has intermediate signal on the {modality} and a clear border. Segment the {target}.",
        "This {modality} shows the {target}. Its margins are smooth, the shape is as expected. Segment it.",
        "To segment the {target}, follow its boundary against the neighbouring tissue on the {modality}.",
        "The {side}{target} differs from its surroundings in intensity on {modality}; include all of it.",
        "Sure! For segmenting the {target}, note its location and its contrast in the {modality}.",
        "Measure the volume of the {target}",
        "quantify {target}",
    ),
    (
        "Trace the borders of the {side}{target} throughout the {modality}.",
        "I would like to have the {target} segmented, thank you.",
        "Extract the {target} from the {modality} study",
        "What is the extent of the {target}?",
        "Based on the {modality}, identify and segment the region of the {target}.",
        "Kindly provide a voxel-wise annotation for the {side}{target}.",
        "The region of interest is the {target}. It is visible on the {modality} with typical signal.",
        "label the {target} voxels",
    ),
)
"""Texts that ask for the target."""

MENTIONED = Templates(
    (
        "Segment the {target}, not the {other}.",
        "Segment the {target} but leave out the {other}.",
        "The {other} is unremarkable. Segment the {target}.",
        "There is no abnormality of the {other}; delineate the {target} on the {modality}.",
        "Only the {target}; ignore the {other}.",
        "The {target} lies next to the {other}. Please outline the {target} only.",
        "Without the {other}, segment the {target}.",
        "The {modality} shows no change of the {other}. Mask the {target}.",
    ),
    (
        "Exclude the {other} and segment just the {target}.",
        "Although the {other} is well seen on the {modality}, what is wanted is the {target}.",
        "The {target} please, and nothing of the {other}.",
    ),
)
"""Texts that ask for the target and name something else."""

ABSENT = Templates(
    (
        "There is no {target} in this {modality}.",
        "no {target}",
        "No {target} is seen on the {modality}.",
        "The {modality} shows no evidence of {target}.",
        "{target}: none",
        "Absence of {target}.",
        "Negative for {target}.",
    ),
    (
        "I cannot see any {target} on this {modality}.",
        "The scan is free of {target}.",
    ),
)
"""Texts that say the target is not there; for findings, not for anatomy that everybody has."""
