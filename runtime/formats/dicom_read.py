"""Read the classic single-frame CT and MR series of one DICOM study."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence

import numpy as np

from runtime.errors import ImageError
from runtime.formats.dicom_files import DicomFile, SourceFile, read_headers
from runtime.formats.dicom_geometry import stack_slices
from runtime.formats.dicom_groups import SliceGroup, check_one_study, group_slices
from runtime.formats.dicom_modality import decide_modality
from runtime.formats.dicom_pixels import read_voxels
from runtime.formats.dicom_tags import integer, numbers, text
from runtime.study import Instance, Series
from runtime.volume import Volume

__all__ = ["read_dicom"]


def _slice_name(file: DicomFile) -> str:
    instance = integer(file.header, "InstanceNumber")
    return file.source.name if instance is None else f"instance {instance} ({file.source.name})"


def _read_series(group: SliceGroup) -> Series:
    headers = [file.header for file in group.files]
    stack = stack_slices(
        np.array([numbers(header, "ImagePositionPatient", 3) for header in headers]),
        np.asarray(numbers(headers[0], "ImageOrientationPatient", 6)),
        np.asarray(numbers(headers[0], "PixelSpacing", 2)),
        [_slice_name(file) for file in group.files],
    )
    files = [group.files[at] for at in stack.order]
    voxels = read_voxels(files)
    first = files[0].header
    frame = text(first, "FrameOfReferenceUID") or None
    notes = list(group.notes + voxels.notes)
    if frame is None:
        notes.append("no FrameOfReferenceUID; whether it shares coordinates with other series is unknown")
    return Series(
        uid=text(first, "SeriesInstanceUID"),
        volume=Volume(voxels.stored, stack.affine, voxels.slope, voxels.intercept),
        decision=decide_modality(first),
        frame_of_reference_uid=frame,
        instances=tuple(
            Instance(file.source.shown, text(file.header, "SOPInstanceUID"), file.header) for file in files
        ),
        notes=tuple(notes),
    )


def read_dicom(sources: Sequence[SourceFile]) -> tuple[list[Series], list[str]]:
    """Read every series that is a regular volume.

    Args:
        sources: Files of the input; those that are not DICOM are counted and left out.

    Returns:
        The series sorted by SeriesNumber, and notes on everything left out.

    Raises:
        ImageError: There is no DICOM file, more than one patient or study, or no usable series.
    """
    # pydicom quotes odd values in its warnings and its log, and a value may be a patient's name.
    logging.getLogger("pydicom").propagate = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        files, notes = read_headers(sources)
        if not files:
            raise ImageError("; ".join(["no readable DICOM file in the input", *notes]))
        check_one_study(files)
        groups, reasons = group_slices(files)
        series = []
        for group in groups:
            try:
                series.append(_read_series(group))
            except ImageError as error:
                reasons.append(f"{group.label}: {error}")
    if not series:
        raise ImageError("no series can be used: " + "; ".join(reasons + notes))
    return series, notes + [f"left out: {reason}" for reason in reasons]
