"""Parts of sentences that ask for the target and say that something else is not meant."""

from __future__ import annotations

__all__ = ["ALONE", "APART", "GRANTED", "NEVER", "STATES", "TURNS", "WANTS"]

GRANTED = (
    *("although the {other} ", "though the {other} ", "even though the {other} ", "while the {other} "),
    *("whereas the {other} ", "it is true that the {other} ", "of course the {other} ", "the {other} "),
    *("despite the fact that the {other} ", "we know that the {other} ", "I see that the {other} "),
)
STATES = (
    *("is visible", "is also visible on the {modality}", "can be seen", "is in the field of view"),
    *("is clearly shown", "looks fine", "is shown too", "was segmented before", "is abnormal", "is large"),
    *("appears normal on the {modality}", "is described in the report", "stands out", "is near"),
)
TURNS = (", ", ", ", ", but ", "; ", ", yet ", ": ")
WANTS = (
    *("I want the {target}", "we want the {target}", "what we need is the {target}", "mark the {target}"),
    *(
        "what I am after is the {target}",
        "what should be segmented is the {target}",
        "the wanted part is the {target}",
    ),
    *(
        "the {target} is what is wanted",
        "the {target} is what we are looking for",
        "only the {target} is wanted",
    ),
    *("we only need the {target}", "the structure to segment is the {target}", "please segment the {target}"),
    *("it is the {target} that is needed", "the task is the {target}", "segment only the {target}"),
    *("the target is the {target}", "wanted: the {target}", "what is asked for is the {target}"),
)
APART = (
    *("with the {other} left out, ", "with the {other} removed, ", "with the {other} ignored, "),
    *(
        "apart from the {other}, ",
        "other than the {other}, ",
        "the {other} excluded, ",
        "excluding the {other}, ",
    ),
    *(
        "instead of the {other}, ",
        "without the {other}, ",
        "not the {other}: ",
        "leaving the {other} aside, ",
    ),
    *("next to the {other}, ", "unlike before, not for the {other}, ", "no {other} this time, "),
)
ALONE = (
    *(
        "the {target} only",
        "only the {target}",
        "just the {target}",
        "the {target} by itself",
        "the {target} alone",
    ),
    *("nothing but the {target}", "the {target} exclusively", "solely the {target}", "the {target}"),
)
NEVER = (
    *(", not the {other}", ", without the {other}", ", with no {other}", " and not the {other}"),
    *(" (the {other} is not part of it)", ", none of the {other}", ", no {other}", ", and never the {other}"),
    *(", everything of the {other} left out", "; the {other} does not belong to it", " minus the {other}"),
)
