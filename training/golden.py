"""A golden study for bundles of heads: the demo phantom in large voxels, small enough to lie in a bundle."""

from __future__ import annotations

import gzip
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np

from runtime.formats.study_input import read_study
from runtime.kernels import open_kernels
from runtime.manifest import Channel
from runtime.stages.normalise import channel_normalisation
from runtime.stages.prepare import prepare
from runtime.volume import Grid
from training.phantom import HeadParameters
from training.phantom.study import write_dicom_study

__all__ = ["golden_study"]

_MODALITIES: tuple[Literal["T1", "FLAIR"], ...] = ("T1", "FLAIR")
_STEP = 3
"""Voxels of the T1 scan along each side of one of the study's."""
_BRIGHT = 100.0
"""What the mean of the foreground becomes, of 255."""


@lru_cache(maxsize=1)
def golden_study() -> dict[str, bytes]:
    """Scan the demo head, with its tumour and plaques.

    Returns:
        Modality to a gzipped NIfTI file of uint8; the same bytes on every call.
    """
    import nibabel

    kernels, study = open_kernels("cpu"), dict[str, bytes]()
    with TemporaryDirectory(prefix="zeus-edge-") as folder:
        truth = write_dicom_study(Path(folder) / "phantom", HeadParameters())
        scans = {series.modality: series.volume for series in read_study([str(truth.dicom)]).series}
    fine = scans["T1"].grid
    scaled = np.diag([_STEP, _STEP, _STEP, 1.0])
    scaled[:3, 3] = (_STEP - 1) / 2
    a, b, c = (side // _STEP for side in fine.shape)
    grid = Grid((a, b, c), fine.affine @ scaled)
    for modality in _MODALITIES:
        channel = Channel(modality, "foreground_mean", 0.0, _BRIGHT, (0.0, 255.0))
        voxels = np.empty(grid.shape, np.float32)
        prepare(
            scans[modality], grid, voxels, channel_normalisation(scans[modality], channel, kernels), kernels
        )
        image = nibabel.Nifti1Image(np.rint(voxels).astype(np.uint8), grid.affine)
        study[modality] = gzip.compress(image.to_bytes(), 9, mtime=0)
    return study
