"""Random shapes: a head, moved, bent and cut to a patch, as tissue fractions per model voxel."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from training.anatomy import Head
from training.lesions import LesionConfig, add_lesions
from training.tissues import TISSUES, index_of

__all__ = [
    "GeometryConfig",
    "fractions_of",
    "mix_soft_tissue",
    "random_fractions",
    "random_rotation",
    "smooth_field",
]

FINE = 2
"""Fine voxels per model voxel and axis: partial volume comes from 2 x 2 x 2 fine voxels."""


@dataclass(frozen=True)
class GeometryConfig:
    """How far heads are moved and bent.

    Attributes:
        patch_voxels: Patch shape in model voxels.
        spacing_mm: Model voxel size.
        rotation_deg: Standard deviation of the rotation about each axis.
        scale: Standard deviation of log scale along each axis.
        shear: Standard deviation of shear.
        bend_mm: Largest standard deviation of the elastic displacement.
        offset_mm: Where patch centres lie on average, R A S from the brain's centre.
        reach_mm: Patch centres lie within this distance of that place along each axis.
        far: Probability of a centre anywhere between the two corners `far_mm` instead: face and
            neck must be known not to be brain.
        far_mm: Those corners, R A S from the brain's centre.
        lesions: How lesions are drawn.
    """

    patch_voxels: tuple[int, int, int] = (96, 96, 96)
    spacing_mm: float = 1.5
    rotation_deg: float = 11.0
    scale: float = 0.08
    shear: float = 0.04
    bend_mm: float = 3.5
    offset_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    reach_mm: tuple[float, float, float] = (30.0, 45.0, 45.0)
    far: float = 0.25
    far_mm: tuple[tuple[float, float, float], tuple[float, float, float]] = (
        (-45.0, -75.0, -120.0),
        (45.0, 75.0, 55.0),
    )
    lesions: LesionConfig = field(default_factory=LesionConfig)


def smooth_field(random: Generator, knots: int, shape: tuple[int, ...]) -> Tensor:
    """Smooth noise of about unit variance: (`knots`)³ normal numbers, trilinearly enlarged."""
    coarse = torch.from_numpy(random.standard_normal((1, 1, knots, knots, knots), np.float32))
    return F.interpolate(coarse, size=shape, mode="trilinear", align_corners=True)[0, 0]


def random_rotation(random: Generator, degrees: float) -> NDArray[np.float64]:
    """A rotation (3, 3) about all three axes, by angles of this standard deviation."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(random.normal(0, degrees, 3))):
        i, j = [n for n in range(3) if n != axis]
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix


def _matrix(random: Generator, config: GeometryConfig) -> NDArray[np.float64]:
    matrix = random_rotation(random, config.rotation_deg)
    shear = np.eye(3) + np.triu(random.normal(0, config.shear, (3, 3)), 1)
    scale = np.diag(np.exp(random.normal(0, config.scale, 3)) * np.exp(random.normal(0, config.scale)))
    return np.asarray(matrix @ shear @ scale)


def _positions(head: Head, random: Generator, config: GeometryConfig) -> list[Tensor]:
    """Where each fine voxel looks in the head, one (fine patch) tensor per head axis, voxels."""
    fine = tuple(FINE * n for n in config.patch_voxels)
    matrix = _matrix(random, config)
    if random.random() < 0.5:
        matrix[0] = -matrix[0]  # mirrored head: classes do not tell left from right
    if random.random() < config.far:
        centre = head.centre + random.uniform(*config.far_mm)
    else:
        centre = head.centre + config.offset_mm + random.uniform(-1, 1, 3) * config.reach_mm
    bend = random.uniform(0, config.bend_mm)
    knots = int(random.integers(4, 9))
    step = config.spacing_mm / FINE
    axes = [(torch.arange(n, dtype=torch.float32) - (n - 1) / 2) * step for n in fine]
    positions = []
    for axis in range(3):
        a, b, c = (float(v) for v in matrix[axis])
        field = smooth_field(random, knots, fine).mul_(bend)
        field += (a * axes[0] + float(centre[axis]))[:, None, None]
        field += (b * axes[1])[:, None] + c * axes[2]
        positions.append(field)
    return positions


def _look_up(head: Head, positions: list[Tensor]) -> Tensor:
    """Nearest tissue at each position; air outside the map."""
    padded = np.pad(head.tissues, 1)  # the border is air
    index = torch.zeros(positions[0].shape, dtype=torch.int64)
    for position, size in zip(positions, padded.shape, strict=True):
        index.mul_(size).add_(position.add_(1.5).floor_().clamp_(0, size - 1).to(torch.int64))
    return torch.take(torch.from_numpy(padded.ravel()), index)


def mix_soft_tissue(tissues: Tensor, random: Generator) -> None:
    """Tell fat from muscle and skin at random, in place: the maps call all of it soft tissue."""
    shape = tuple(tissues.shape)
    field = smooth_field(random, int(random.integers(12, 28)), shape)
    muscle = (tissues == index_of("muscle")) & (field > random.normal(0.2, 0.8))
    skin = (tissues == index_of("skin")) & (field > random.normal(0.0, 0.8))
    tissues[muscle | skin] = index_of("fat")


def fractions_of(tissues: Tensor) -> Tensor:
    """Count the fine voxels of each tissue in each model voxel.

    Args:
        tissues: (2I, 2J, 2K) uint8.

    Returns:
        (tissues, I, J, K) uint8 counts that add up to 8.
    """
    i, j, k = (n // FINE for n in tissues.shape)
    parts = tissues.view(i, FINE, j, FINE, k, FINE).permute(1, 3, 5, 0, 2, 4).reshape(FINE**3, 1, -1)
    counts = torch.zeros(len(TISSUES), i * j * k, dtype=torch.uint8)
    one = torch.ones(1, i * j * k, dtype=torch.uint8)
    for part in parts.to(torch.int64):
        counts.scatter_add_(0, part, one)
    return counts.view(len(TISSUES), i, j, k)


def random_fractions(head: Head, random: Generator, config: GeometryConfig) -> Tensor:
    """Draw one deformed patch of a head, lesions included.

    Returns:
        (tissues, I, J, K) uint8 counts of 0…8 per model voxel.
    """
    tissues = _look_up(head, _positions(head, random, config))
    mix_soft_tissue(tissues, random)
    add_lesions(tissues, random, config.spacing_mm / FINE, config.lesions)
    return fractions_of(tissues)
