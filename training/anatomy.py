"""Heads to learn from: label maps of real heads and of the analytic phantom, as tissue maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.volume import Spacing
from training.tissues import TISSUES, class_table, freesurfer_table, index_of

__all__ = ["Head", "cached", "classes_of", "load_label_map", "tissue_map"]

_ENVELOPE_MM = 9.0
"""Fluid reached by closing the brain with this radius counts as inside the brain's envelope."""

_MARGIN_MM = 1.5
"""So does fluid this close to that closing: brain masks follow the arachnoid, not the pia."""


@dataclass(frozen=True)
class Head:
    """One head on a 1 mm RAS grid.

    Attributes:
        tissues: (I, J, K) tissue index into `TISSUES`; axes are R, A, S.
        centre: Index of the brain's centre of mass, (3,).
    """

    tissues: NDArray[np.uint8]
    centre: NDArray[np.float32]

    @cached_property
    def cubes(self) -> NDArray[np.uint8]:
        """Voxels of each tissue, 0…8, in a random sample of 2 mm cubes, (len(TISSUES), 16384)."""
        corners = np.random.default_rng(0).integers(0, np.array(self.tissues.shape) - 1, (16384, 3))
        inside = corners[:, None] + np.argwhere(np.ones((2, 2, 2)))
        found = self.tissues[tuple(np.moveaxis(inside, -1, 0))]
        return np.stack([(found == index).sum(1, dtype=np.uint8) for index in range(len(TISSUES))])


def _brain_tissues() -> list[int]:
    outside = {"background", "head", "sulcal_csf", "outer_csf"}
    return [index for index, tissue in enumerate(TISSUES) if tissue.structure not in outside]


def _distance_mm(mask: NDArray[np.bool_], spacing_mm: Spacing) -> NDArray[np.float32]:
    """Distance of every voxel to the mask, 0 inside."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing([float(value) for value in spacing_mm[::-1]])
    signed = SimpleITK.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True)
    distance: NDArray[np.float32] = SimpleITK.GetArrayFromImage(signed)
    return np.maximum(distance, 0)


def _tissues_of(
    labels: NDArray[np.int16], spacing_mm: Spacing
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Tissues, and which voxels are brain tissue."""
    tissues = freesurfer_table()[np.clip(labels, 0, 9999)]
    brain = np.isin(tissues, _brain_tissues())
    grown = _distance_mm(brain, spacing_mm) <= _ENVELOPE_MM
    envelope = _distance_mm(_distance_mm(~grown, spacing_mm) > _ENVELOPE_MM, spacing_mm) <= _MARGIN_MM
    fluid = tissues == index_of("sulcal fluid")
    tissues[fluid & ~envelope] = index_of("outer fluid")
    tissues[(tissues == index_of("vessel")) & ~envelope] = index_of("dura and sinus")
    return tissues, brain


def tissue_map(labels: NDArray[np.int16]) -> Head:
    """Turn a 1 mm RAS map of FreeSurfer-style ids into tissues.

    Fluid inside the brain's envelope (a morphological closing, radius 9 mm, and 1.5 mm around it)
    is told from fluid between envelope and skull, so that "brain" can be the filled brain that
    masks usually mean.

    Args:
        labels: (I, J, K) ids, axes R, A, S, 1 mm.
    """
    tissues, brain = _tissues_of(labels, np.ones(3))
    return Head(np.ascontiguousarray(tissues), np.argwhere(brain).mean(axis=0).astype(np.float32))


def classes_of(labels: NDArray[np.int16], spacing_mm: Spacing) -> NDArray[np.uint8]:
    """Class index into `CLASS_NAMES` of every voxel of a map of FreeSurfer-style ids.

    Args:
        labels: (I, J, K) ids.
        spacing_mm: (3,), in the axis order of `labels`.
    """
    return class_table()[_tissues_of(labels, spacing_mm)[0]]


def cached(stored: Path, make: Callable[[], NDArray[np.int16]]) -> Head:
    """Read a head's tissues from a file, or make and store them: it takes some seconds.

    Args:
        stored: The file's name; what decides about the envelope is put into it.
        make: Gives (I, J, K) FreeSurfer-style ids, axes R, A, S, 1 mm.
    """
    stored = stored.with_name(f"{stored.name}_{_ENVELOPE_MM:g}_{_MARGIN_MM:g}.npz")
    if not stored.exists():
        head = tissue_map(make())
        stored.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(stored, tissues=head.tissues, centre=head.centre)
    with np.load(stored) as saved:
        return Head(saved["tissues"], saved["centre"])


def load_label_map(path: Path, cache: Path) -> Head:
    """Read one label map, reorient it to RAS and turn it into tissues.

    Args:
        path: NIfTI label map, 1 mm isotropic.
        cache: Folder for the result.
    """
    import nibabel

    def labels() -> NDArray[np.int16]:
        image = nibabel.as_closest_canonical(nibabel.load(path))
        return np.asarray(image.dataobj).astype(np.int16)

    return cached(cache / path.name.split(".")[0], labels)
