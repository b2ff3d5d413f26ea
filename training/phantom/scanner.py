"""How a label map looks on a scanner: contrast, texture, shading, noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from runtime.study import Modality
from runtime.volume import Grid

__all__ = ["paint"]

_COLUMNS: tuple[Modality, ...] = ("T1", "T1c", "T2", "FLAIR", "CT")
_MEANS: tuple[tuple[tuple[int, ...], tuple[float, float, float, float, float]], ...] = (
    ((0,), (0, 0, 0, 0, -1000)),
    ((2, 41), (800, 805, 330, 400, 29)),
    ((3, 42), (560, 580, 500, 560, 38)),
    ((4, 5, 43, 44), (160, 165, 1050, 90, 6)),
    ((14, 15), (165, 170, 1020, 110, 7)),
    ((24,), (175, 190, 1000, 130, 9)),
    ((7, 46), (790, 795, 350, 420, 30)),
    ((8, 47), (585, 605, 480, 550, 38)),
    ((10, 49), (670, 680, 430, 500, 36)),
    ((11, 50, 26, 58), (590, 605, 470, 550, 38)),
    ((12, 51), (630, 640, 440, 530, 38)),
    ((13, 52), (720, 725, 310, 440, 40)),
    ((16,), (750, 755, 380, 460, 31)),
    ((17, 53, 18, 54), (565, 580, 520, 610, 36)),
    ((28, 60), (720, 730, 380, 470, 34)),
    ((77,), (560, 580, 720, 900, 24)),
    ((9001,), (260, 270, 930, 330, 14)),
    ((9002,), (520, 1150, 640, 720, 42)),
    ((9003,), (560, 565, 760, 880, 21)),
    ((502,), (250, 1000, 120, 120, 45)),
    ((514,), (330, 1050, 250, 260, 52)),
    ((506,), (190, 195, 1000, 260, 10)),
    ((507,), (470, 520, 260, 330, 52)),
    ((508,), (450, 620, 300, 370, 55)),
    ((530,), (640, 650, 420, 470, 32)),
    ((509,), (480, 850, 820, 760, 42)),
    ((511,), (720, 760, 480, 520, 10)),
    ((512,), (730, 735, 400, 450, 31)),
    ((515,), (90, 95, 60, 70, 1050)),
    ((516,), (640, 680, 380, 400, 380)),
)
"""Mean intensity of each label in the order of `_COLUMNS`; CT in Hounsfield units.

Source: order and rough size of relaxation-weighted intensities at 1.5 T, chosen by eye; Hounsfield
units of soft tissue, fluid, bone and fat from radiology textbooks.
"""
_FAT = (1050.0, 1060.0, 760.0, 700.0, -95.0)
_SOFT_TISSUE = 507
_MR_NOISE = 22.0
_CT_NOISE_HU = 6.0


def paint(
    samples: Sequence[NDArray[np.int16]], grid: Grid, modality: Modality, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Make one image out of label maps.

    The mean over the samples is the partial-volume effect; a small point-spread function, the
    receive coil's shading and Rician noise (Gaussian for CT) follow.

    Args:
        samples: One or more label maps of shape grid.shape, taken at different points of each voxel.
        grid: Where the voxels lie in the frame of the head; texture and shading depend on it.
        modality: "T1", "T1c", "T2", "FLAIR" or "CT".
        generator: Source of shading and noise.

    Returns:
        grid.shape; arbitrary units from 0 to about 1500, or Hounsfield units.

    Raises:
        ValueError: `modality` has no contrast.
    """
    if modality not in _COLUMNS:
        raise ValueError(f"the phantom has no contrast for {modality!r}; use one of {_COLUMNS}")
    column = _COLUMNS.index(modality)
    table = np.full(9004, _MEANS[0][1][column], np.float32)
    for labels, means in _MEANS:
        table[list(labels)] = means[column]
    image = np.zeros(grid.shape, np.float32)
    for sample in samples:
        part = table[sample]
        _add_fat(part, sample, grid, _FAT[column] - float(table[_SOFT_TISSUE]))
        image += part
    image *= np.float32(1.0 / len(samples))
    for axis in (1, 2):
        image = _spread(image, axis)
    noise = generator.standard_normal(grid.shape, np.float32)
    if modality == "CT":
        image += np.float32(1.8 * _CT_NOISE_HU) * _spread(_spread(noise, 1), 2)
        return image
    image *= _shading(grid, generator)
    image += np.float32(_MR_NOISE) * noise
    imaginary = generator.standard_normal(grid.shape, np.float32) * np.float32(_MR_NOISE)
    return np.asarray(np.hypot(image, imaginary), np.float32)


def _add_fat(part: NDArray[np.float32], sample: NDArray[np.int16], grid: Grid, step: float) -> None:
    """Turn soft tissue into a smooth mixture of muscle and fat, in place."""
    where = np.flatnonzero(sample.ravel() == _SOFT_TISSUE)
    i, j, k = (index.astype(np.float32) for index in np.unravel_index(where, grid.shape))
    rows = grid.affine[:3].astype(np.float32)
    x, y, z = (row[0] * i + row[1] * j + row[2] * k + row[3] for row in rows)
    field = np.sin(x / 7 + np.sin(y / 11)) + np.sin(y / 8 + 1 + np.sin(z / 9)) + np.sin(z / 10 + x / 13 + 2)
    field += 0.035 * (z + 35.0)  # the scalp is mostly fat, the neck and jaw mostly muscle
    share = np.clip(field * np.float32(0.6) + np.float32(0.5), 0.0, 1.0)
    part.reshape(-1)[where] += share * np.float32(step)


def _spread(image: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Blur along one axis with weights 0.2, 0.6, 0.2; the outermost planes stay as they are."""
    moved = np.moveaxis(image, axis, 0)
    spread = np.array(image, np.float32)
    target = np.moveaxis(spread, axis, 0)
    target[1:-1] = np.float32(0.6) * moved[1:-1] + np.float32(0.2) * (moved[:-2] + moved[2:])
    return spread


def _shading(grid: Grid, generator: np.random.Generator) -> NDArray[np.float32]:
    """Smooth receive sensitivity, a product of one factor an axis, mean near 1."""
    shade = np.ones(grid.shape, np.float32)
    for axis, size in enumerate(grid.shape):
        place = np.linspace(-1.0, 1.0, size, dtype=np.float32)
        slope, bend = generator.uniform(-0.10, 0.10, 2)
        form = [1, 1, 1]
        form[axis] = size
        shade *= (1 + slope * place + bend * (place * place - 0.33)).astype(np.float32).reshape(form)
    return shade
