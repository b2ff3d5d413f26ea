"""Trunks of ellipses: not what the bundle is for, but a CT is one wherever it was taken."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.tissues import index_of
from training.writer.heads import Subject, subject_of

__all__ = ["draw_body"]

_ORGANS = {"muscle": 0.5, "mucosa": 0.2, "eye": 0.12, "air": 0.12, "skin": 0.06}
"""Tissues of the head that stand for organs, bowel, fluid, gas and the rest, and how often each does."""

Field = NDArray[np.float32]


def draw_body(random: Generator) -> Subject:
    """A piece of a trunk: skin, fat, muscle, ribs, spine, organs, sometimes lungs, sometimes a couch."""
    reach = random.uniform((130, 85, 45), (190, 130, 110))
    middle = reach + np.array((6, 30, 0))
    tissues = np.zeros(np.ceil(middle + reach + np.array((6, 10, 0))).astype(int), np.uint8)
    i, j, k = (
        np.arange(n, dtype=np.float32) - np.float32(m) for n, m in zip(tissues.shape, middle, strict=True)
    )
    swing = 1 + 0.06 * np.sin(k / 60 + np.float32(random.uniform(0, 6)))
    rim = np.sqrt((i[:, None] / reach[0]) ** 2 + (j / reach[1]) ** 2).astype(np.float32)[..., None] / swing
    fat, wall = random.uniform(0.06, 0.28), random.uniform(0.06, 0.16)
    for edge, name in ((1, "skin"), (0.985, "fat"), (1 - fat, "muscle"), (1 - fat - wall, "fat")):
        tissues[rim < edge] = index_of(name)
    inner = rim < 1 - fat - wall
    for _ in range(int(random.integers(6, 22))):
        organ = _ellipsoid((i, j, k), random.uniform(-0.6, 0.6, 3) * reach, random.uniform(10, 60, 3)) & inner
        tissues[organ] = index_of(str(random.choice([*_ORGANS], p=[*_ORGANS.values()])))
    if random.random() < 0.35:
        for side in (-0.45, 0.45):
            lung = _ellipsoid((i, j, k), np.array((side, 0, 0.5)) * reach, np.array((0.4, 0.6, 1.4)) * reach)
            tissues[lung & inner] = index_of("air")
    if random.random() < 0.6:
        rows = np.sin((k + 0.3 * np.abs(i[:, None, None])) * np.float32(random.uniform(0.16, 0.25))) > 0.3
        tissues[(np.abs(rim - (1 - fat - wall / 2)) < 0.025) & rows] = index_of("cortical bone")
    _add_spine(tissues, (i, j + np.float32(reach[1] * random.uniform(0.4, 0.6)), k), random)
    if random.random() < 0.5:  # of a couch only a thin shell shows
        bend = np.minimum(8 + 0.0006 * i**2, tissues.shape[1] - 1).astype(int)
        shell = np.arange(len(bend)), bend
        tissues[shell] = np.where(tissues[shell] == 0, index_of("cortical bone"), tissues[shell])
    return subject_of(tissues, middle.astype(np.float32))


def _ellipsoid(
    axes: tuple[Field, Field, Field], middle: NDArray[np.float64], reach: NDArray[np.float64]
) -> NDArray[np.bool_]:
    i, j, k = (
        ((a - np.float32(m)) / np.float32(r)) ** 2 for a, m, r in zip(axes, middle, reach, strict=True)
    )
    return np.asarray(i[:, None, None] + j[:, None] + k < 1)


def _add_spine(tissues: NDArray[np.uint8], axes: tuple[Field, Field, Field], random: Generator) -> None:
    """Vertebrae with discs between them, and what lies in their canal, around where `axes` are 0."""
    i, j, k = axes
    width = np.float32(random.uniform(17, 24))
    spine = np.sqrt(i[:, None] ** 2 + j**2)
    canal = np.sqrt(i[:, None] ** 2 + (j + width + 7) ** 2)
    disc = (k % np.float32(random.uniform(28, 38))) < 7
    for inside, name in (
        (spine < width, "cortical bone"),
        (spine < width - 3, "bone marrow"),
        (canal < 11, "cortical bone"),
        (canal < 8, "spinal cord"),
    ):
        tissues[inside] = index_of(name)
    tissues[(spine < width)[..., None] & disc] = index_of("muscle")
