"""A head of ellipsoids, for tests of what pictures show, with lesions where a test wants them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training import anatomy
from training.anatomy import Head
from training.lesions import LesionConfig
from training.tissues import index_of
from training.writer.heads import Subject, make_subject

__all__ = ["constructed_head", "store_heads", "subject_with"]

Mask = NDArray[np.bool_]

_SHAPE = (150, 180, 160)
_CENTRE = np.array([75.0, 90.0, 85.0], np.float32)

_ELLIPSOIDS = (
    ("skin", (0, 0, 0), (71, 86, 72)),
    ("cortical bone", (0, 0, 0), (66, 81, 67)),
    ("outer fluid", (0, 0, 0), (60, 75, 61)),
    ("cerebral cortex", (0, 0, 2), (58, 73, 58)),
    ("cerebral white matter", (0, 0, 2), (50, 64, 49)),
    ("lateral ventricle", (10, 0, 10), (5, 24, 8)),
    ("lateral ventricle", (-10, 0, 10), (5, 24, 8)),
    ("thalamus", (12, -6, 0), (8, 11, 7)),
    ("thalamus", (-12, -6, 0), (8, 11, 7)),
    ("cerebellar cortex", (0, -45, -40), (42, 22, 18)),
    ("brain stem", (0, -16, -40), (11, 11, 24)),
    ("hippocampus", (24, -12, -16), (6, 16, 6)),
    ("hippocampus", (-24, -12, -16), (6, 16, 6)),
)
"""Tissue, middle from the centre and semi-axes, mm."""


def _inside(shape: tuple[int, ...], middle: NDArray[np.float64], reach: float | tuple[float, ...]) -> Mask:
    """Voxels of an ellipsoid; its middle is an index."""
    axes = [
        ((np.arange(n) - m) / r) ** 2
        for n, m, r in zip(shape, middle, np.broadcast_to(reach, 3), strict=True)
    ]
    return axes[0][:, None, None] + axes[1][:, None] + axes[2] < 1


@cache
def constructed_head() -> Head:
    """A healthy head."""
    tissues = np.zeros(_SHAPE, np.uint8)
    for name, middle, reach in _ELLIPSOIDS:
        tissues[_inside(_SHAPE, _CENTRE + np.array(middle), reach)] = index_of(name)
    return Head(tissues, _CENTRE)


def subject_with(balls: dict[tuple[float, float, float], float], tissue: str = "plaque") -> Subject:
    """The head with lesions.

    Args:
        balls: Middle from the centre, R A S in mm, to radius in mm.
        tissue: Of the lesions.
    """
    subject = make_subject(constructed_head(), np.random.default_rng(0), LesionConfig(0, 0, 0))
    tissues = subject.tissues.copy()
    for middle, radius in balls.items():
        tissues[_inside(tissues.shape, subject.centre + np.array(middle), radius)] = index_of(tissue)
    at = np.rint(subject.points + subject.centre).astype(int)
    volume = float((tissues == index_of(tissue)).sum()) / 1000
    return replace(subject, tissues=tissues, kinds=tissues[tuple(at.T)], lesion_ml=volume)


def store_heads(folder: Path, names: tuple[str, ...]) -> None:
    """Put the head where `training.anatomy.cached` looks for the tissues of others."""
    folder.mkdir(parents=True, exist_ok=True)
    head = constructed_head()
    for name in names:
        path = folder / f"{name}_{anatomy._ENVELOPE_MM:g}_{anatomy._MARGIN_MM:g}.npz"
        np.savez(path, tissues=head.tissues, centre=head.centre)
