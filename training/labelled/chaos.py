"""The layout of CHAOS: DICOM series of abdomens, with labels as one PNG a slice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ImageError
from runtime.formats.dicom_files import list_files
from runtime.formats.dicom_read import read_dicom
from runtime.study import Series
from runtime.volume import Labels, Volume

__all__ = ["ChaosCase", "read_chaos"]

STRUCTURES = {1: "liver", 2: "right kidney", 3: "left kidney", 4: "spleen"}

_MR_GREY = {1: (55, 70), 2: (110, 135), 3: (175, 200), 4: (240, 255)}
_CT_GREY = {1: (255, 255)}
"""Label value to the first and last grey value of the PNG files that mean it."""


@dataclass(frozen=True)
class ChaosCase:
    """One sequence of one patient; both phases of T1-DUAL are one.

    Attributes:
        name: "MR/1/T1DUAL", "MR/1/T2SPIR" or "CT/1".
        patient: What folds go by: "MR/1".
        images: Folder of each DICOM series, by modality.
        labels: Folder of the PNG files.
        structures: Label value to name, background left out.
    """

    name: str
    patient: str
    images: Mapping[str, Path]
    labels: Path
    structures: Mapping[int, str]

    def read(self) -> tuple[dict[str, Volume], Labels]:
        """Read images by modality, and the labels, on the slices' own grid.

        The first PNG by name belongs to the first DICOM file by name.

        Raises:
            ImageError: A series is damaged or not one volume, there are more or fewer PNG files than slices,
                or one has another size or a grey value without a meaning.
        """
        series = {modality: _series(folder) for modality, folder in self.images.items()}
        masks = self._masks()
        labelled = [self._labels(one, masks) for one in series.values()]
        for one in labelled[1:]:
            if not one.grid.same_place_as(labelled[0].grid) or not np.array_equal(
                one.voxels, labelled[0].voxels
            ):
                raise ImageError(f"{self.labels}: the series it belongs to do not lie on one grid")
        return {modality: one.volume for modality, one in series.items()}, labelled[0]

    def _masks(self) -> list[tuple[Path, NDArray[np.uint8]]]:
        """Every PNG by name: its path and label values."""
        greys = _CT_GREY if self.name.startswith("CT/") else _MR_GREY
        paths = sorted(path for path in self.labels.iterdir() if path.name.lower().endswith(".png"))
        return [(path, _meaning(path, greys)) for path in paths]

    def _labels(self, series: Series, masks: list[tuple[Path, NDArray[np.uint8]]]) -> Labels:
        volume = series.volume
        if len(masks) != len(volume.voxels):
            raise ImageError(f"{self.labels} has {len(masks)} PNG files for {len(volume.voxels)} slices")
        names = sorted(str(instance.path) for instance in series.instances)
        mask_of = dict(zip(names, masks, strict=True))
        voxels = np.zeros(volume.voxels.shape, np.uint8)
        for plane, instance in zip(voxels, series.instances, strict=True):
            path, mask = mask_of[str(instance.path)]
            if mask.shape != plane.shape:
                raise ImageError(f"{path} has {mask.shape} pixels, its slice {plane.shape}")
            plane[:] = mask
        return Labels(voxels, volume.affine, dict(self.structures))


def read_chaos(folder: Path) -> list[ChaosCase]:
    """List every case that has labels.

    Args:
        folder: With `MR`, `CT` or both; of the training set, for the test set has no labels.

    Raises:
        ImageError: There is none.

    Source:
        CHAOS challenge (Kavur et al. 2021), training data: MR/N/{T1DUAL,T2SPIR}/{DICOM_anon,Ground} with
        InPhase and OutPhase below T1DUAL's DICOM_anon, CT/N/{DICOM_anon,Ground}.
    """
    cases = []
    for ground in sorted([*folder.glob("CT/*/Ground"), *folder.glob("MR/*/*/Ground")]):
        inside = ground.parent.relative_to(folder).parts
        dicom = ground.parent / "DICOM_anon"
        kind = inside[-1] if inside[0] == "MR" else "CT"
        if kind == "T1DUAL":
            images = {"T1 in phase": dicom / "InPhase", "T1 out of phase": dicom / "OutPhase"}
        else:
            images = {"T2 SPIR" if kind == "T2SPIR" else "CT": dicom}
        known = {1: STRUCTURES[1]} if kind == "CT" else STRUCTURES
        cases.append(ChaosCase("/".join(inside), "/".join(inside[:2]), images, ground, known))
    if not cases:
        raise ImageError(f"{folder} has no CHAOS case with labels (MR/N/T2SPIR/Ground and the like)")
    return cases


def _series(folder: Path) -> Series:
    if not folder.is_dir():
        raise ImageError(f"{folder} is not there; CHAOS has its DICOM files in it")
    found, _ = read_dicom(list_files(folder))
    if len(found) != 1:
        raise ImageError(f"{folder} has {len(found)} series; one is expected")
    return found[0]


def _meaning(path: Path, greys: Mapping[int, tuple[int, int]]) -> NDArray[np.uint8]:
    """Label values of one PNG."""
    import SimpleITK

    try:
        grey = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    except RuntimeError as error:
        raise ImageError(f"{path} cannot be read as PNG; it is cut short or damaged") from error
    made = np.zeros(grey.shape, np.uint8)
    for value, (low, high) in greys.items():
        made[(grey >= low) & (grey <= high)] = value
    if np.any((made == 0) & (grey != 0)):
        strange = int(grey[(made == 0) & (grey != 0)][0])
        raise ImageError(f"{path} has grey value {strange}, which means no organ")
    return made
