"""What the phantom's scanner is asked for: four series, their geometry and their sequence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.study import Modality
from runtime.volume import Affine, Grid

__all__ = ["CT_POSE", "PROTOCOLS", "Protocol", "rotation"]

Triple = tuple[float, float, float]


def rotation(degrees: Triple) -> NDArray[np.float64]:
    """Rotate about R, then A, then S, (3, 3)."""
    a, b, c = np.radians(degrees)
    about_r = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_a = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_s = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return np.asarray(about_s @ about_a @ about_r)


def _pose(degrees: Triple, shift_mm: Triple) -> Affine:
    pose = np.eye(4)
    pose[:3, :3] = rotation(degrees)
    pose[:3, 3] = shift_mm
    return pose


CT_POSE = _pose((4.0, -2.5, 3.5), (6.0, -9.0, 14.0))
"""How the head lies on the CT table: RAS+ of the MR frame of reference to RAS+ of CT's, (4, 4)."""


@dataclass(frozen=True)
class Protocol:
    """One series.

    Attributes:
        name: Folder and truth name; also the modality.
        shape: Slices, rows, columns.
        spacing_mm: Between slices, rows and columns.
        sagittal: Sagittal slices; axial otherwise.
        tilt_deg: Obliquity about R, A, S.
        centre_mm: Centre of the block, RAS+.
        samples: Points across the slice, as fractions of its thickness; the first is the truth's.
        tags: DICOM keyword to value for everything that describes the sequence.
    """

    name: Modality
    shape: tuple[int, int, int]
    spacing_mm: Triple
    sagittal: bool
    tilt_deg: Triple
    centre_mm: Triple
    samples: tuple[float, ...]
    tags: dict[str, object]

    @property
    def grid(self) -> Grid:
        """Shape and RAS+ affine: axis 0 runs over slices, 1 down the rows, 2 along the columns."""
        right, down = ((0, -1, 0), (0, 0, -1)) if self.sagittal else ((-1, 0, 0), (0, -1, 0))
        axes = np.array([np.cross(right, down), down, right], np.float64).T
        affine = np.eye(4)
        affine[:3, :3] = rotation(self.tilt_deg) @ axes * np.array(self.spacing_mm)
        affine[:3, 3] = np.array(self.centre_mm) - affine[:3, :3] @ ((np.array(self.shape) - 1) / 2)
        return Grid(self.shape, affine)


_MR_TAGS: dict[str, object] = {
    "Modality": "MR",
    "ImageType": ["ORIGINAL", "PRIMARY", "OTHER"],
    "MagneticFieldStrength": 1.5,
    "ImagingFrequency": 63.87,
    "ImagedNucleus": "1H",
    "NumberOfAverages": 1,
    "PercentSampling": 100,
    "PercentPhaseFieldOfView": 100,
    "ScanOptions": "",
}

PROTOCOLS: tuple[Protocol, ...] = (
    Protocol(
        "T1",
        (176, 224, 224),
        (1.0, 1.0, 1.0),
        True,
        (0.0, 0.0, 0.0),
        (0.0, 4.0, -22.0),
        (0.0,),
        {
            **_MR_TAGS,
            "SeriesDescription": "T1 MPRAGE sagittal",
            "ProtocolName": "T1 MPRAGE sagittal",
            "SequenceName": "*tfl3d1",
            "ScanningSequence": ["GR", "IR"],
            "SequenceVariant": ["SK", "SP", "MP"],
            "MRAcquisitionType": "3D",
            "RepetitionTime": 1900.0,
            "EchoTime": 2.5,
            "InversionTime": 900.0,
            "EchoTrainLength": 1,
            "FlipAngle": 9.0,
        },
    ),
    Protocol(
        "T2",
        (36, 384, 352),
        (4.0, 0.6, 0.6),
        False,
        (7.0, 1.5, -2.0),
        (0.0, 2.0, 8.0),
        (0.0, -0.34, 0.34),
        {
            **_MR_TAGS,
            "SeriesDescription": "T2 TSE axial",
            "ProtocolName": "T2 TSE axial",
            "SequenceName": "*tse2d1_15",
            "ScanningSequence": "SE",
            "SequenceVariant": "SK",
            "MRAcquisitionType": "2D",
            "RepetitionTime": 4500.0,
            "EchoTime": 95.0,
            "EchoTrainLength": 15,
            "FlipAngle": 150.0,
        },
    ),
    Protocol(
        "FLAIR",
        (50, 256, 224),
        (3.0, 0.9, 0.9),
        False,
        (7.0, 0.0, 0.0),
        (0.0, 2.0, 8.0),
        (0.0, -0.34, 0.34),
        {
            **_MR_TAGS,
            "SeriesDescription": "T2 FLAIR axial",
            "ProtocolName": "T2 FLAIR axial",
            "SequenceName": "*tir2d1_16",
            "ScanningSequence": ["SE", "IR"],
            "SequenceVariant": ["SK", "SP", "MP"],
            "MRAcquisitionType": "2D",
            "RepetitionTime": 9000.0,
            "EchoTime": 120.0,
            "InversionTime": 2500.0,
            "EchoTrainLength": 16,
            "FlipAngle": 150.0,
        },
    ),
    Protocol(
        "CT",
        (54, 384, 384),
        (3.0, 0.6, 0.6),
        False,
        (0.0, 0.0, 0.0),
        (6.0, -5.0, 19.0),
        (0.0, -0.3, 0.3),
        {
            "Modality": "CT",
            "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
            "SeriesDescription": "CT head",
            "ProtocolName": "CT head",
            "KVP": 120.0,
            "ConvolutionKernel": "H31",
            "ExposureTime": 1000,
            "XRayTubeCurrent": 280,
            "ScanOptions": "AXIAL",
            "GantryDetectorTilt": 0.0,
        },
    ),
)
