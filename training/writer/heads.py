"""A head to be scanned many times: lesions drawn, soft tissue told apart, ready to be looked up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from training.anatomy import Head
from training.geometry import mix_soft_tissue
from training.lesions import LesionConfig, add_lesions
from training.tissues import TISSUES, index_of

__all__ = ["LESIONS", "OUTSIDE", "Disease", "Subject", "draw_subject", "make_subject", "subject_of"]

Disease = Literal["none", "plaques", "tumour", "blob", "mixed"]

LESIONS = np.array([tissue.structure in ("lesion", "necrosis", "oedema") for tissue in TISSUES])
"""Which tissues a lesion is made of."""

OUTSIDE = np.array([tissue.structure in ("background", "head", "outer_csf") for tissue in TISSUES])
"""Which tissues are gone where a scan shows the brain alone."""

_DISEASES: dict[Disease, tuple[float, LesionConfig]] = {
    "none": (0.34, LesionConfig(0, 0, 0)),
    "plaques": (0.14, LesionConfig(1, 0, 0)),
    "tumour": (0.28, LesionConfig(0, 1, 0)),
    "blob": (0.16, LesionConfig(0, 0, 1)),
    "mixed": (0.08, LesionConfig(0.5, 0.7, 0.5)),
}
"""How often each is drawn, and what it draws."""

_FATTY = 0.5
"""Probability of a closed layer of fat all around the head."""

_PAD = 2
"""Voxels of air around a head: what lies beyond is looked up there."""

_POINT_MM = 6
"""Between the points that say where the head is."""


@dataclass(frozen=True)
class Subject:
    """One head, or something else.

    Attributes:
        tissues: (I, J, K) index into `TISSUES`, axes R, A, S, 1 mm; its faces are air.
        centre: Index of the brain's centre of mass, or of the middle, (3,).
        points: Places of what is no air, on a coarse grid, from the centre in mm, (N, 3).
        kinds: Tissue of each of them, (N,).
        lesion_ml: Volume of all lesions.
    """

    tissues: NDArray[np.uint8]
    centre: NDArray[np.float32]
    points: NDArray[np.float32]
    kinds: NDArray[np.uint8]
    lesion_ml: float

    @property
    def is_body(self) -> bool:
        """Whether there is no brain."""
        return bool(OUTSIDE[self.kinds].all())


@lru_cache(maxsize=1)
def _healthy_table() -> NDArray[np.uint8]:
    """Tissue to tissue, lesions to white matter: what is wrong with a head is drawn anew."""
    table = np.arange(len(TISSUES), dtype=np.uint8)
    table[LESIONS] = index_of("cerebral white matter")
    return table


def draw_subject(head: Head, random: Generator) -> Subject:
    """A head, mirrored or not, with its own soft tissue and a disease or none."""
    kinds = list(_DISEASES)
    disease = kinds[int(random.choice(len(kinds), p=[_DISEASES[kind][0] for kind in kinds]))]
    return make_subject(head, random, _DISEASES[disease][1], mirrored=bool(random.random() < 0.5))


def make_subject(head: Head, random: Generator, lesions: LesionConfig, mirrored: bool = False) -> Subject:
    """A head with lesions of our choice.

    Args:
        head: Its own lesions become white matter.
        random: Where chance comes from.
        lesions: How often each kind is drawn.
        mirrored: Left and right are exchanged first.
    """
    tissues = _healthy_table()[head.tissues]
    centre = head.centre.copy()
    if mirrored:
        tissues, centre[0] = tissues[::-1], len(tissues) - 1 - centre[0]
    solid = tissues != 0
    ends = [np.flatnonzero(solid.any(tuple(n for n in range(3) if n != axis))) for axis in range(3)]
    box = tuple(slice(int(found[0]), int(found[-1]) + 1) for found in ends)
    drawn = torch.from_numpy(np.ascontiguousarray(tissues[box]))
    if random.random() < _FATTY:
        drawn[drawn == index_of("skin")] = index_of("fat")
    mix_soft_tissue(drawn, random)
    add_lesions(drawn, random, 1.0, lesions)
    return subject_of(drawn.numpy(), centre - np.array([side.start for side in box], np.float32))


def subject_of(tissues: NDArray[np.uint8], centre: NDArray[np.float32]) -> Subject:
    """Something to be scanned.

    Args:
        tissues: (I, J, K) index into `TISSUES`, axes R, A, S, 1 mm.
        centre: Index of its middle, (3,).
    """
    padded, centre = np.pad(tissues, _PAD), centre + np.float32(_PAD)
    return Subject(padded, centre, *_points(padded, centre), float(LESIONS[padded].sum()) / 1000)


def _points(
    tissues: NDArray[np.uint8], centre: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    coarse = tissues[::_POINT_MM, ::_POINT_MM, ::_POINT_MM]
    index = np.argwhere(coarse != 0)
    points = (index * _POINT_MM - centre).astype(np.float32)
    return points, coarse[tuple(index.T)]
