"""Made-up scans, scores and series for kernels: as large and as smooth as real ones, the same every time."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.tasks import Triple
from runtime.structure import Code, ModelIdentity, Structure
from runtime.study import Decision, Instance, Series
from runtime.version import __version__
from runtime.volume import Affine, Volume

__all__ = ["IDENTITY", "axial_affine", "ct_volume", "dicom_series", "mr_channels", "scores", "structures"]

IDENTITY = ModelIdentity("benchmark", "1", "0" * 64, __version__)
_AIR_HU, _WATER_HU, _BONE_HU, _NOISE_HU = -950.0, 40.0, 900.0, 12.0
_LOW_HU, _HIGH_HU = -1024, 3071  # twelve bits
_BLANKED = 1.2 / 0.8**2  # squared radius, the image's faces being at 1 / 0.8^2
_UID_ROOT = "1.2.826.0.1.3680043.8.498.77"

_SURE = 8.0  # score of a class well inside its region; minus that well outside
_EDGE_VOXELS = 3.0  # from sure to undecided
_RIPPLE = 0.5  # no network gives constant scores inside a region
_FILLED = 0.3  # radius, as a share of the side, of the ball that all classes together would fill


def axial_affine(shape: Triple, spacing_mm: tuple[float, float, float]) -> Affine:
    """Slices upwards, rows to the back, columns to the patient's left, centred on the origin."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = spacing_mm[0], -spacing_mm[1], -spacing_mm[2]
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    affine[3, 3] = 1
    return affine


def _axes(shape: Triple) -> list[NDArray[np.float32]]:
    """Voxel positions along each axis, -1…1, shaped to broadcast."""
    axes = [np.linspace(-1, 1, size, dtype=np.float32) for size in shape]
    return [axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]]


def ct_volume(shape: Triple, spacing_mm: tuple[float, float, float]) -> Volume:
    """Air, a body of water with noise, and a spine; int16 HU, no voxel of the outermost layer is 0."""
    random = np.random.default_rng(1)
    slices, rows, columns = _axes(shape)
    body = (rows[0] / 0.7) ** 2 + (columns[0] / 0.9) ** 2
    spine = ((rows[0] - 0.4) / 0.12) ** 2 + (columns[0] / 0.12) ** 2
    voxels = np.empty(shape, np.int16)
    for index, height in enumerate(slices.ravel()):
        widening = 1 + 0.2 * height
        plane = np.where(body < widening, _WATER_HU, _AIR_HU)
        plane = np.where(spine < widening, _BONE_HU, plane)
        plane = plane + _NOISE_HU * random.standard_normal(plane.shape, np.float32)
        voxels[index] = np.clip(np.rint(plane), _LOW_HU, _HIGH_HU)
    return Volume(voxels, axial_affine(shape, spacing_mm))


def mr_channels(channels: int, shape: Triple, blanked: bool = False) -> NDArray[np.int16]:
    """Magnitude images of an ellipsoid with noise everywhere; no voxel is 0, unless the air is blanked.

    Args:
        channels: C.
        shape: (I, J, K).
        blanked: Whether voxels far outside the ellipsoid are 0; some stay at every face of the image.

    Returns:
        (C, I, J, K).
    """
    random = np.random.default_rng(2)
    radius = sum((axis / 0.8) ** 2 for axis in _axes(shape))
    head = np.asarray(np.clip(2 - 2 * np.asarray(radius), 0, 1), np.float32)
    made = np.empty((channels, *shape), np.int16)
    for channel in range(channels):
        noise = random.standard_normal(shape, np.float32)
        made[channel] = 1 + np.abs((300 + 150 * channel) * head + 20 * noise)
    if blanked:
        made[:, np.broadcast_to(np.asarray(radius) > _BLANKED, shape)] = 0
    return made


def scores(classes: int, shape: Triple, dtype: str) -> NDArray[Any]:
    """Scores as a segmentation network gives them: sure almost everywhere, undecided along surfaces.

    Class 0 is 0 everywhere. Every other class is one ellipsoid at a random place, with radii
    that shrink with the number of classes: `8 * clip((1 - r) * mean radius / 3 voxels, -1, 1)`,
    where r = 1 on its surface. So a class is at +8 inside and -8 outside, and changes over about
    six voxels. Every class, the background too, has a ripple of its own: a product of three
    cosines of 12…40 voxels with amplitude 0.5. Where ellipsoids overlap, ripples decide.

    Args:
        classes: C.
        shape: (D, H, W).
        dtype: "float32" or "float16"; made in float32 and rounded.

    Returns:
        (C, D, H, W).
    """
    random = np.random.default_rng(3)
    made = np.empty((classes, *shape), dtype)
    positions = [np.arange(size, dtype=np.float32) for size in shape]
    for number in range(classes):
        waves = [
            np.cos(axis * (2 * math.pi / random.uniform(12, 40)) + random.uniform(0, 2 * math.pi))
            for axis in positions
        ]
        ripple = np.einsum("i,j,k->ijk", *(np.asarray(wave, np.float32) for wave in waves))
        ripple *= np.float32(_RIPPLE)
        if number > 0:
            size = _FILLED * (classes - 1) ** (-1 / 3)
            radii = [size * random.uniform(0.7, 1.3) * side for side in shape]
            centre = [random.uniform(0.2, 0.8) * side for side in shape]
            squares = [
                np.asarray(((axis - middle) / radius) ** 2, np.float32)
                for axis, middle, radius in zip(positions, centre, radii, strict=True)
            ]
            field = squares[0][:, None, None] + squares[1][None, :, None] + squares[2][None, None, :]
            np.sqrt(field, out=field)
            field -= 1
            field *= np.float32(-np.mean(radii) / _EDGE_VOXELS)
            np.clip(field, -1, 1, out=field)
            ripple += np.float32(_SURE) * field
        made[number] = ripple
    return made


def structures(count: int) -> tuple[Structure, ...]:
    """Structures with label values 1…count and codes that mean nothing in particular."""
    category = Code("123037004", "SCT", "Anatomical Structure")
    kind = Code("85756007", "SCT", "Body tissue structure")
    return tuple(
        Structure(value, f"structure_{value}", category, kind, (value * 37 % 256, value * 91 % 256, 128))
        for value in range(1, count + 1)
    )


def dicom_series(shape: Triple, spacing_mm: tuple[float, float, float]) -> Series:
    """An axial CT series of complete headers, one slice for each plane of axis 0; voxels are 0."""
    affine = axial_affine(shape, spacing_mm)
    instances = tuple(_instance(index, shape, spacing_mm, affine) for index in range(shape[0]))
    volume = Volume(np.zeros(shape, np.uint8), affine)
    return Series(f"{_UID_ROOT}.3", volume, Decision("CT", "made"), f"{_UID_ROOT}.4", instances)


def _instance(index: int, shape: Triple, spacing_mm: tuple[float, float, float], affine: Affine) -> Instance:
    from pydicom.dataset import Dataset

    header = Dataset()
    header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    header.SOPInstanceUID = f"{_UID_ROOT}.1.{index + 1}"
    header.StudyInstanceUID, header.SeriesInstanceUID = f"{_UID_ROOT}.2", f"{_UID_ROOT}.3"
    header.FrameOfReferenceUID, header.PositionReferenceIndicator = f"{_UID_ROOT}.4", ""
    header.Modality, header.PatientID, header.PatientName = "CT", "benchmark", "Benchmark"
    header.PatientBirthDate, header.PatientSex, header.StudyID = "19700101", "O", "1"
    header.StudyDate, header.StudyTime, header.AccessionNumber = "20261124", "101112", "1"
    header.ReferringPhysicianName = ""
    header.Rows, header.Columns = shape[1:]
    header.PixelSpacing, header.SliceThickness = [spacing_mm[1], spacing_mm[2]], spacing_mm[0]
    header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    right, front, up = (affine[:3, :3] @ [index, 0, 0] + affine[:3, 3]).tolist()
    header.ImagePositionPatient = [f"{value:.10g}" for value in (-right, -front, up)]
    return Instance(Path(f"{index}.dcm"), header.SOPInstanceUID, header)
