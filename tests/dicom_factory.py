"""Write synthetic classic CT and MR series for tests: any orientation, spacing, tags and syntax."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    RLELossless,
    generate_uid,
)

__all__ = ["T1_TAGS", "SeriesPlan", "marked_voxels", "orientations", "ras_affine", "uid", "write_series"]

T1_TAGS: dict[str, Any] = {
    "ScanningSequence": ["GR", "IR"],
    "SequenceVariant": ["SK", "SP", "MP"],
    "EchoTime": 2.5,
    "RepetitionTime": 2000,
    "InversionTime": 900,
    "FlipAngle": 9,
}

_SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "big": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "rle": RLELossless,
}


def uid(*names: str) -> str:
    """A UID that is the same for the same names."""
    return str(generate_uid(entropy_srcs=["zeus-edge-tests", *names]))


@dataclass(frozen=True)
class SeriesPlan:
    """What to write; lengths in millimetres, vectors in LPS as DICOM has them.

    Attributes:
        name: Tells series apart: file names and UIDs are made from it.
        modality: "MR" or "CT".
        orientation: ImageOrientationPatient: along a row, then along a column.
        first_mm: ImagePositionPatient of slice 0.
        spacing_mm: Between slices, between rows, between columns.
        slice_step: Unit direction from slice to slice; the slice normal when absent.
        syntax: One of "explicit", "implicit", "big", "deflated", "rle".
        patient: PatientID.
        study: Tells studies apart.
        tags: More attributes by keyword, for every slice; a value of None removes the attribute.
        slice_tags: The same for single slices, by slice index.
    """

    name: str = "t1"
    modality: str = "MR"
    orientation: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    first_mm: tuple[float, float, float] = (-20.0, -30.0, -40.0)
    spacing_mm: tuple[float, float, float] = (3.0, 1.5, 1.25)
    slice_step: tuple[float, float, float] | None = None
    syntax: str = "explicit"
    patient: str = "TEST-PATIENT"
    study: str = "study"
    tags: Mapping[str, Any] = field(default_factory=dict)
    slice_tags: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def step_mm(self) -> NDArray[np.float64]:
        """From one slice to the next, (3,), LPS."""
        along = self.slice_step
        direction = np.cross(self.orientation[:3], self.orientation[3:]) if along is None else np.array(along)
        return np.asarray(direction * self.spacing_mm[0])


def ras_affine(plan: SeriesPlan) -> NDArray[np.float64]:
    """(slice, row, column) index as written to RAS+ millimetres, (4, 4), from the plan alone."""
    row, column = np.array(plan.orientation[:3]), np.array(plan.orientation[3:])
    lps = np.eye(4)
    lps[:3] = np.stack(
        [plan.step_mm, column * plan.spacing_mm[1], row * plan.spacing_mm[2], np.array(plan.first_mm)], axis=1
    )
    lps[:2] *= -1
    return lps


def orientations() -> Iterator[tuple[float, ...]]:
    """The 48 axis-aligned frames as (row, column, slice step), 9 numbers each; half are left-handed."""
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            frame = np.zeros((3, 3))
            frame[range(3), axes] = signs
            yield tuple(frame.ravel().tolist())


def marked_voxels(
    shape: tuple[int, int, int] = (5, 6, 7), at: tuple[int, int, int] = (1, 4, 2)
) -> NDArray[Any]:
    """int16 voxels with a ramp of small values and 1000 at one index."""
    voxels = (np.arange(np.prod(shape)) % 97).astype(np.int16).reshape(shape)
    voxels[at] = 1000
    return voxels


def _data_set(plan: SeriesPlan, index: int, plane: NDArray[Any]) -> Dataset:
    made = Dataset()
    made.SOPClassUID = CTImageStorage if plan.modality == "CT" else MRImageStorage
    made.SOPInstanceUID = uid(plan.study, plan.name, str(index))
    made.StudyInstanceUID = uid(plan.study)
    made.SeriesInstanceUID = uid(plan.study, plan.name)
    made.FrameOfReferenceUID = uid(plan.study, "frame")
    made.PatientID, made.PatientName = plan.patient, "Secret^Name"
    made.PatientBirthDate, made.PatientSex = "19700101", "O"
    made.StudyDate, made.StudyTime, made.StudyID = "20200102", "120000", "1"
    made.AccessionNumber, made.ReferringPhysicianName = "", ""
    made.Manufacturer, made.Modality = "Zeus Edge tests", plan.modality
    made.SeriesNumber, made.InstanceNumber = 1, index + 1
    made.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL" if plan.modality == "CT" else "M"]
    made.ImagePositionPatient = [f"{value:.9g}" for value in np.array(plan.first_mm) + index * plan.step_mm]
    made.ImageOrientationPatient = [f"{value:.12g}" for value in plan.orientation]
    made.PixelSpacing = list(plan.spacing_mm[1:])
    made.SliceThickness = plan.spacing_mm[0]
    made.Rows, made.Columns, made.SamplesPerPixel = *plane.shape, 1
    made.PhotometricInterpretation = "MONOCHROME2"
    bits = 8 * plane.dtype.itemsize
    made.BitsAllocated, made.BitsStored, made.HighBit = bits, bits, bits - 1
    made.PixelRepresentation = int(plane.dtype.kind == "i")
    if plan.modality == "CT":
        made.RescaleSlope, made.RescaleIntercept = 1, -1024
    for keyword, value in {**plan.tags, **plan.slice_tags.get(index, {})}.items():
        if value is None:
            del made[keyword]
        else:
            setattr(made, keyword, value)
    return made


def write_series(folder: Path, voxels: NDArray[Any], plan: SeriesPlan | None = None) -> list[Path]:
    """Write one file per slice.

    Args:
        folder: Where to write; made when absent.
        voxels: (slice, row, column), an 8 or 16 bit integer type.
        plan: Geometry, tags and syntax.

    Returns:
        The files in slice order, named `<plan name>_<slice>.dcm`.
    """
    plan = plan or SeriesPlan(tags=T1_TAGS)
    folder.mkdir(parents=True, exist_ok=True)
    syntax = _SYNTAXES[plan.syntax]
    paths = []
    for index, plane in enumerate(voxels):
        made = _data_set(plan, index, plane)
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if plan.syntax == "rle" else syntax
        order = ">" if plan.syntax == "big" else "<"
        data = plane.astype(plane.dtype.newbyteorder(order)).tobytes()
        made.PixelData = data + b"\0" * (len(data) % 2)
        made["PixelData"].VR = "OW" if plane.dtype.itemsize == 2 or plan.syntax == "implicit" else "OB"
        if plan.syntax == "rle":
            made.compress(RLELossless, generate_instance_uid=False)
        paths.append(folder / f"{plan.name}_{index:03d}.dcm")
        made.save_as(paths[-1], enforce_file_format=True)
    return paths
