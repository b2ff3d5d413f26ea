"""A whole study of the phantom on disk, and the truth about it."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.errors import DestinationError
from runtime.volume import Affine, Grid
from training.phantom.head import head_to_world, sample_labels
from training.phantom.instances import deterministic_uid, write_series
from training.phantom.parameters import HeadParameters
from training.phantom.protocol import CT_POSE, PROTOCOLS, Protocol
from training.phantom.scanner import paint

__all__ = ["Truth", "write_dicom_study"]


@dataclass(frozen=True)
class Truth:
    """What is known about a written study.

    Attributes:
        dicom: Folder with one folder of instances per series.
        labels: Series name to its label map (NIfTI, int16, raw ids, the series' own grid).
        grids: Series name to its geometry; axis 0 runs over slices. CT is in its own frame.
        series_uids: Series name to SeriesInstanceUID.
        ct_to_mr: RAS+ of the CT frame of reference to RAS+ of the MR one, (4, 4) rigid.
        lesion_centres_mm: Centre of each lesion of the parameters in the MR frame, (n, 3) RAS+.
    """

    dicom: Path
    labels: dict[str, Path]
    grids: dict[str, Grid]
    series_uids: dict[str, str]
    ct_to_mr: Affine
    lesion_centres_mm: NDArray[np.float64]


def write_dicom_study(
    folder: Path, parameters: HeadParameters, seed: int = 0, overwrite: bool = False
) -> Truth:
    """Scan a phantom: T1, T2, FLAIR and CT as DICOM under `dicom/`, label maps under `truth/`.

    The same parameters and seed give the same bytes of DICOM.

    Args:
        folder: Result folder; appears only when everything in it is written.
        parameters: The head.
        seed: Draws noise and shading, and makes the UIDs.
        overwrite: Replace `folder` if it exists.

    Raises:
        DestinationError: `folder` exists and `overwrite` is False.
    """
    if folder.exists() and not overwrite:
        raise DestinationError(f"{folder} exists; choose another folder or pass --force to replace it")
    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        (partial / "truth").mkdir()
        with ThreadPoolExecutor(max_workers=2) as pool:
            list(pool.map(lambda job: _scan(partial, parameters, job, seed), enumerate(PROTOCOLS, start=1)))
        _write_transform(partial / "truth" / "ct_to_mr.txt")
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    centres = np.array([(*lesion.centre_mm, 1.0) for lesion in parameters.lesions]).reshape(-1, 4)
    return Truth(
        folder / "dicom",
        {protocol.name: folder / "truth" / f"{protocol.name}.nii.gz" for protocol in PROTOCOLS},
        {protocol.name: protocol.grid for protocol in PROTOCOLS},
        {protocol.name: deterministic_uid(seed, "series", protocol.name) for protocol in PROTOCOLS},
        np.asarray(np.linalg.inv(CT_POSE), np.float64),
        (centres @ head_to_world(parameters).T)[:, :3],
    )


def _scan(folder: Path, parameters: HeadParameters, job: tuple[int, Protocol], seed: int) -> None:
    import nibabel

    number, protocol = job
    grid = protocol.grid
    in_head = grid.affine if protocol.name != "CT" else np.linalg.inv(CT_POSE) @ grid.affine
    samples = []
    for fraction in protocol.samples:
        shifted = in_head.copy()
        shifted[:3, 3] += fraction * in_head[:3, 0]
        samples.append(sample_labels(parameters, Grid(grid.shape, shifted)))
    generator = np.random.default_rng([seed, number, 5])
    image = paint(samples, Grid(grid.shape, in_head), protocol.name, generator)
    write_series(folder / "dicom" / protocol.name, image, grid, protocol, number, seed)
    truth = nibabel.Nifti1Image(samples[0], grid.affine)
    truth.header.set_xyzt_units("mm")
    nibabel.save(truth, folder / "truth" / f"{protocol.name}.nii.gz")


def _write_transform(path: Path) -> None:
    header = "RAS+ mm of the CT frame of reference to RAS+ mm of the MR frame of reference"
    np.savetxt(path, np.linalg.inv(CT_POSE), fmt="%.10f", header=header)
