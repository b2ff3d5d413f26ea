"""Whole sentences, one a line, of training and of evaluation; people and language models write like this.

Once a text encoder was measured with evaluation's and changed because of what was seen, they belong to
training, and new ones are written, by somebody who has not read training's.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

__all__ = ["Kind", "Part", "wordings"]

Part = Literal["training", "evaluation"]
Kind = Literal["asked", "mentioned", "absent"]
"""Sentences that ask for the target, that name something else too, and that say it is not there."""


@cache
def wordings(part: Part, kind: Kind) -> tuple[str, ...]:
    """Templates with {target} and, where it fits, {other}, {modality} and {side}."""
    path = Path(__file__).parent / part / f"{kind}.txt"
    return tuple(path.read_text(encoding="utf-8").splitlines())
