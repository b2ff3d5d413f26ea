"""What is true of pictures: which structures they show, and whether a lesion can be seen, where and how."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from runtime.language.instruction import SIZES, Brightness, Finding, Side, Size
from runtime.language.side import MIDLINE_MM, MOST, side_of
from training.structures import CLASS_NAMES
from training.tissues import TISSUES, class_table
from training.writer.heads import LESIONS, OUTSIDE, Subject
from training.writer.paint import Painted
from training.writer.scan import Scan
from training.writer.slices import FINE, NOTHING, Slices, mean_of_fine

__all__ = ["Survey", "Unclear", "find", "survey"]


_LEAST_PIXELS = 12
"""Of a structure in all pictures, where it counts as visible."""

_SEEN_PIXELS, _UNSEEN_PIXELS = 8.0, 2.5
"""Of a lesion in the picture that shows most of it: from here on it is seen, below it is not."""

_UNSURE = 0.06
"""Shares so near to the limit of `runtime.language.side` are taught to nobody."""

_CONTRAST = {"CT": (0.012, 0.028)}
_MR_CONTRAST = (0.025, 0.06)
"""Mean difference to what is around, of the full brightness: below the first a lesion is not seen, from the
second on it is."""

_RING = 3
"""Pixels around a lesion that it is compared with."""

_BRIGHTER, _DARKER = 1.15, 0.85
"""Than white matter."""

_SMALL_ML, _LARGE_ML = 1.0, 10.0


class Unclear(Exception):  # noqa: N818  # no error: what was drawn is drawn again
    """What was drawn lies where people would disagree; nobody should learn from it."""


@dataclass(frozen=True)
class Survey:
    """What pictures show, whatever the modality.

    Attributes:
        visible: Names of structures, in their order; what lesions are made of is left out.
        lesion: Share of each pixel that is lesion, (V, size, size); None where too little of it is shown.
        around: Which pixels a lesion is compared with, (V, size, size).
        side: Of the lesion.
        size: Of the lesion.
    """

    visible: tuple[str, ...]
    lesion: NDArray[np.float32] | None
    around: NDArray[np.bool_] | None
    side: Side
    size: Size


@lru_cache(maxsize=1)
def _tables() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.intp]]:
    """Of tissues and `NOTHING`: is it lesion, is it healthy brain, its class."""
    lesion = np.append(LESIONS, False)
    brain = np.append(~OUTSIDE, False) & ~lesion
    classes = np.append(class_table(), 0).astype(np.intp)
    return lesion.astype(np.float32), brain.astype(np.float32), classes


def _visible(slices: Slices) -> tuple[str, ...]:
    found = np.bincount(slices.tissues[0, :, ::FINE, ::FINE].reshape(-1), minlength=NOTHING + 1)
    counts = np.bincount(_tables()[2], weights=found, minlength=len(CLASS_NAMES))
    lesions = {TISSUES[index].structure for index in np.flatnonzero(LESIONS)}
    return tuple(
        name
        for name, count in zip(CLASS_NAMES, counts, strict=True)
        if count >= _LEAST_PIXELS and name not in lesions and name != "background"
    )


def _side(slices: Slices) -> Side:
    """Where the lesion lies that the pictures show, by the runtime's own limits.

    Raises:
        Unclear: It is near one of them, or next to nothing is shown.
    """
    assert slices.right_mm is not None
    right_mm = slices.right_mm[_tables()[0][slices.tissues[0]] > 0]
    if not right_mm.size:
        raise Unclear
    in_middle = float((np.abs(right_mm) <= MIDLINE_MM).mean())
    right = float((right_mm > 0).mean())
    if min(abs(share - MOST) for share in (in_middle, right, 1 - right)) < _UNSURE:
        raise Unclear
    return side_of(in_middle, right)


def _ring(lesion: NDArray[np.float32], slices: Slices) -> NDArray[np.bool_]:
    """Healthy brain next to the lesion."""
    near = lesion > 0.25
    for axis in (1, 2):
        wide = near.copy()
        for step in range(1, _RING + 1):
            there, back = [slice(None)] * 3, [slice(None)] * 3
            there[axis], back[axis] = slice(step, None), slice(None, -step)
            wide[tuple(there)] |= near[tuple(back)]
            wide[tuple(back)] |= near[tuple(there)]
        near = wide
    brain = mean_of_fine(_tables()[1][slices.tissues[0]])
    return near & (lesion < 0.05) & (brain > 0.8)


def survey(subject: Subject, scan: Scan, slices: Slices) -> Survey:
    """Look at everything that does not depend on the modality.

    Raises:
        Unclear: A lesion may be seen or not, or its side is doubtful.
    """
    visible = _visible(slices)
    nothing = Survey(visible, None, None, "midline", "small")
    if subject.lesion_ml == 0:
        return nothing
    table = _tables()[0]
    lesion = mean_of_fine((table[slices.tissues[0]] + table[slices.tissues[1]]) * np.float32(0.5))
    most = float(lesion.sum((1, 2)).max())
    if most < _UNSEEN_PIXELS:
        return nothing
    if most < _SEEN_PIXELS:
        raise Unclear
    volume = subject.lesion_ml / abs(float(np.linalg.det(scan.matrix)))
    size = SIZES[int(volume >= _SMALL_ML) + int(volume > _LARGE_ML)]
    return Survey(visible, lesion, _ring(lesion, slices), _side(slices), size)


def find(shown: Survey, painted: Painted, modality: str) -> Finding | None:
    """What can be seen of the lesion in one modality.

    Raises:
        Unclear: It may be seen or not.
    """
    if shown.lesion is None or shown.around is None:
        return None
    inside = shown.lesion > 0.5
    if not inside.any() or not shown.around.any():
        raise Unclear
    values = painted.clean[inside]
    contrast = float(np.abs(values - painted.clean[shown.around].mean()).mean())
    unseen, seen = _CONTRAST.get(modality, _MR_CONTRAST)
    noise = painted.noise
    if contrast < max(unseen, 0.4 * noise):
        return None
    if contrast < max(seen, 1.2 * noise):
        raise Unclear
    ratio = float(values.mean()) / max(painted.white, 1e-3)
    brightness: Brightness = "bright" if ratio > _BRIGHTER else "dark" if ratio < _DARKER else "mixed"
    return Finding(shown.size, brightness, shown.side)
