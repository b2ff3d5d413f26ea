"""Golden cases: small random tiles for numbers, and a study made of ellipsoids where a person gives none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.model import Description
from runtime.bundle import Channel

__all__ = ["golden_tile", "write_study"]

_LARGER = 1.3
"""The study's sides over a tile's, so that tiles overlap."""
_HU = (-1000.0, -80.0, 40.0, 110.0, 600.0)
"""Of air, fat, soft tissue, contrast agent and bone; those of MR below are turned for each contrast."""
_MR = (0.0, 300.0, 500.0, 700.0, 150.0)
_MM = 1.5
"""Voxel size where a bundle keeps the scan's."""


def golden_tile(described: Description) -> NDArray[np.float16]:
    """A tile of the numbers that normalised channels have, (1, channels, …)."""
    shape = 1, len(described.channels), *described.sides
    random = np.random.default_rng(0)
    made = np.empty(shape, np.float16)
    for index, channel in enumerate(described.channels):
        made[0, index] = _plausible(random.standard_normal(described.sides), channel)
    return made


def _plausible(values: NDArray[np.float64], channel: Channel) -> NDArray[np.float64]:
    """Normal numbers made to lie where a channel's do."""
    low, high = channel.clamp
    if max(abs(low), abs(high)) < 100.0 and channel.normalisation in ("window", "percentile", "min_max"):
        values = (low + high) / 2 + values * (high - low) / 4
    return np.clip(values, max(low, -1e4), min(high, 1e4))


def write_study(described: Description, folder: Path) -> list[str]:
    """Write one NIfTI file for every channel: a body of nested, textured ellipsoids in every contrast.

    Args:
        described: Says modalities, voxel size and tiles.
        folder: Where.

    Returns:
        What `Session.segment` takes.
    """
    import nibabel

    spacing = [mm or _MM for mm in described.grid.spacing_mm]
    tile = [side if side > 1 else 8 for side in described.grid.tile_voxels]
    shape = tuple(int(np.ceil(side * _LARGER)) for side in tile)
    labels = _ellipsoids(shape, np.random.default_rng(1))
    affine = np.diag([*spacing, 1.0])
    sources = []
    for index, channel in enumerate(described.channels):
        levels = np.array(_HU if channel.modality == "CT" else [_MR[0], *np.roll(_MR[1:], index)])
        noise = np.random.default_rng(index + 2).normal(0.0, 20.0, shape)
        least = -1e4 if channel.modality == "CT" else 1.0  # tissue is not 0
        voxels = np.where(labels > 0, np.maximum(levels[labels] + noise, least), levels[0])
        path = folder / f"golden_{channel.modality}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(np.round(voxels).astype(np.int16), affine), path)
        sources.append(f"{channel.modality}={path}")
    return sources


def _ellipsoids(shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.int64]:
    """0 outside, 1 in a body that fills most of the box, 2…4 in organs inside it."""
    at = np.stack(np.meshgrid(*(np.linspace(-1, 1, side) for side in shape), indexing="ij"), axis=-1)
    labels: NDArray[np.int64] = (np.linalg.norm(at / 0.9, axis=-1) < 1).astype(np.int64)
    for number in range(12):
        centre, radii = random.uniform(-0.5, 0.5, 3), random.uniform(0.1, 0.35, 3)
        inside = np.linalg.norm((at - centre) / radii, axis=-1) < 1
        labels[inside & (labels > 0)] = 2 + number % 3
    return labels
