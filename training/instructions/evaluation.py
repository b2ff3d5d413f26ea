"""Whole sentences that only evaluation uses: no composition of training's parts gives one.

Once a text encoder was measured with them and changed because of what was seen, they belong to training,
and new ones are written.
"""

from __future__ import annotations

__all__ = ["EVALUATION"]

EVALUATION: dict[str, tuple[str, ...]] = {
    "asked": (
        "Draw a contour around the {side}{target}.",
        "The {modality} demonstrates the {target} clearly; generate its mask.",
        "Target structure: {target} (axial {modality}).",
        "Let the {target} be segmented on all slices.",
        "How much of the volume belongs to the {target}?",
        "To support surgery, please outline where the {target} is located.",
        "The segmentation should focus on the {target}, which shows intermediate signal on the {modality}.",
        "Anatomy of interest, seen on {modality}: {side}{target}.",
    ),
    "mentioned": (
        "Please do the {target} now; the {other} can wait.",
        "From the {other} keep away, I asked for the {target}.",
        "Rather than the {other}, outline the {target}.",
    ),
    "absent": (
        "The {modality} is negative with respect to {target}.",
        "Neither this nor any other slice shows {target}.",
    ),
}
"""Whole sentences that ask for the target, that name something else too, and that say it is not there."""
