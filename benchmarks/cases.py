"""The cases with a reference: where they lie and how a result is compared with them."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.volume import Affine, Grid

__all__ = ["DATA", "Case", "Reference", "aseg_reference", "real_cases"]

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

ASEG: dict[str, tuple[int, ...]] = {
    "cerebral_white_matter": (2, 41, 77, 251, 252, 253, 254, 255),
    "cerebral_cortex": (3, 42, *range(1000, 3000), *range(11000, 13000)),
    "lateral_ventricles": (4, 5, 31, 43, 44, 63),
    "third_fourth_ventricles": (14, 15),
    "thalamus": (10, 49),
    "caudate": (11, 26, 50, 58),
    "putamen_pallidum": (12, 13, 51, 52),
    "hippocampus_amygdala": (17, 18, 53, 54),
    "ventral_diencephalon": (28, 60),
    "cerebellum": (7, 8, 46, 47),
    "brain_stem": (16,),
}
"""FreeSurfer ids of each structure; `caudate` includes the accumbens, as in training."""


@dataclass(frozen=True)
class Reference:
    """Masks on a grid.

    Attributes:
        grid: Where the masks lie.
        masks: Structure name to (I, J, K) bool.
        world: RAS+ of `grid` to RAS+ of each possible reference channel, by modality; identity
            where a modality is not listed.
    """

    grid: Grid
    masks: dict[str, NDArray[np.bool_]]
    world: dict[str, Affine] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One study and one way to show it to the product.

    Attributes:
        name: Case and input, e.g. "openms patient01 study1 / T1".
        sources: What `Session.segment` gets.
        reference: The truth.
        modalities: SeriesInstanceUID to modality, to hide series from the product ("other").
    """

    name: str
    sources: tuple[str, ...]
    reference: Reference
    modalities: dict[str, str] = field(default_factory=dict)


def read_grid(path: Path) -> tuple[NDArray[np.int32], Grid]:
    """Integer voxels and grid of a NIfTI or MGH file."""
    import nibabel

    image = nibabel.load(path)
    if not isinstance(image, nibabel.spatialimages.SpatialImage):
        raise SystemExit(f"{path} is no image of voxels")
    voxels = np.asarray(image.dataobj).astype(np.int32)
    i, j, k = voxels.shape
    return voxels, Grid((i, j, k), np.asarray(image.affine, np.float64))


def aseg_reference(path: Path) -> Reference:
    """Masks of a FreeSurfer segmentation; "brain" is everything that is labelled."""
    voxels, grid = read_grid(path)
    masks = {name: np.isin(voxels, ids) for name, ids in ASEG.items()}
    masks["brain"] = voxels > 0
    return Reference(grid, masks)


def _itk_matrix(path: Path) -> Affine:
    """RAS+ matrix of an ITK text transform (LPS): output point to input point."""
    import SimpleITK as sitk

    transform = sitk.ReadTransform(str(path))
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    columns = [np.array(transform.TransformPoint(tuple(axis))) - origin for axis in np.eye(3)]
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack(columns, axis=1)
    matrix[:3, 3] = origin
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    return np.asarray(flip @ matrix @ flip)


def _openms(root: Path) -> Iterator[Case]:
    raw, common = root / "raw", root / "coregistered"
    voxels, grid = read_grid(common / "brainmask.nii.gz")
    for study in ("study1", "study2"):
        to_flair = _itk_matrix(common / f"{study}_FLAIR_to_common_space.txt")
        world = {"FLAIR": to_flair}
        for modality in ("T1", "T2"):
            step = _itk_matrix(raw / f"{study}_{modality}W_intrastudy_to_FLAIR.txt")
            world[modality] = step @ to_flair
        reference = Reference(grid, {"brain": voxels > 0}, world)
        files = {
            "T1": f"T1={raw / f'{study}_T1W.nii.gz'}",
            "T2": f"T2={raw / f'{study}_T2W.nii.gz'}",
            "FLAIR": f"FLAIR={raw / f'{study}_FLAIR.nii.gz'}",
        }
        for modality, source in files.items():
            yield Case(f"openms patient01 {study} / {modality}", (source,), reference)
        yield Case(f"openms patient01 {study} / T1+T2+FLAIR", tuple(files.values()), reference)


def _tcia(root: Path, work: Path) -> Iterator[Case]:
    with tarfile.open(root / "PGBM-002_Study1.tar.gz") as archive:
        archive.extractall(work / "tcia", filter="data")
    voxels, grid = read_grid(root / "PGBM-002_tumormask_on_T1post_grid.nii.gz")
    reference = Reference(grid, {"lesion": voxels > 0, "whole_lesion": voxels > 0})
    (study,) = (work / "tcia").iterdir()
    folders = {path.name.split("-")[1]: str(path) for path in study.iterdir()}
    sets = {
        "T1+T1c+T2+FLAIR": ("T1prereg", "T1post", "T2reg", "FLAIRreg"),
        "T1c+FLAIR": ("T1post", "FLAIRreg"),
        "T1c": ("T1post",),
        "FLAIR": ("FLAIRreg",),
        "T2": ("T2reg",),
        "T1": ("T1prereg",),
    }
    for name, chosen in sets.items():
        yield Case(f"tcia-pgbm-002 / {name}", tuple(folders[key] for key in chosen), reference)


def real_cases(data: Path, work: Path) -> Iterator[Case]:
    """Every real case of the data folder that has a reference for a head.

    Args:
        data: The data folder.
        work: A temporary folder for unpacked studies.
    """
    aseg = data / "t1-aseg"
    yield Case("t1-aseg / T1", (f"T1={aseg / 'norm.mgz'}",), aseg_reference(aseg / "aparc.a2009s+aseg.mgz"))
    yield from _openms(data / "openms" / "patient01")
    yield from _tcia(data / "tcia-pgbm-002", work)
