"""What the two parts of a hippocampus are called, as the Decathlon's labels divide it."""

from __future__ import annotations

from training.instructions.words import FOREIGN, HELD_OUT, TARGETS, for_evaluation, for_training, with_more

__all__ = ["HIPPOCAMPUS_FOREIGN", "HIPPOCAMPUS_TARGETS"]

_TARGETS: dict[str, tuple[str, ...]] = {
    "Anterior": (
        *("anterior hippocampus", "anterior part of the hippocampus", "hippocampal head", "head"),
        *("head of the hippocampus", "front of the hippocampus", "hippocampus anterior", "anterior"),
        *("anterior hippocampal formation", "anterior section", "pes hippocampi"),
        *("hippocampus, anterior portion", "anterior half of the hippocampal formation"),
        *(HELD_OUT, "hippocampal head and its anterior part"),
    ),
    "Posterior": (
        *("posterior hippocampus", "posterior part of the hippocampus", "hippocampal body and tail"),
        *("body and tail of the hippocampus", "back of the hippocampus", "hippocampus posterior"),
        *("posterior", "hippocampal tail", "posterior hippocampal formation", "posterior section"),
        *("hippocampus, posterior portion", "posterior half of the hippocampal formation"),
        *(HELD_OUT, "hippocampal body and its posterior part"),
    ),
}
HIPPOCAMPUS_TARGETS = with_more(_TARGETS)
"""Structure to names. Source: Medical Segmentation Decathlon, Task04: anterior and posterior hippocampus."""

_OWN = ("hippocampus_amygdala",)


def _elsewhere(part: str) -> tuple[str, ...]:
    """Names of everything in a head that is no hippocampus."""
    chosen = for_training if part == "training" else for_evaluation
    heads = [name for key, names in TARGETS.items() if key not in _OWN for name in chosen(names)]
    return (*heads, *chosen(FOREIGN))


HIPPOCAMPUS_FOREIGN: tuple[str, ...] = (*_elsewhere("training"), HELD_OUT, *_elsewhere("evaluation"))
"""What is not segmented there: the rest of the head, and of the body."""
