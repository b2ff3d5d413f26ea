"""Sort the DICOM files of one study into candidate volumes, and say what is left out and why."""

from __future__ import annotations

import filecmp
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from runtime.errors import ImageError
from runtime.formats.dicom_files import DicomFile
from runtime.formats.dicom_geometry import SAME_POSITION_MM, slice_positions
from runtime.formats.dicom_tags import integer, number, numbers, text, words

__all__ = ["SliceGroup", "check_one_study", "group_slices"]

_CT, _MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
_FEWEST_SLICES = 3
_SAME_DIRECTION = 1e-3  # largest difference of a direction cosine inside one stack
_SAME_SPACING = 1e-3  # relative difference of PixelSpacing inside one stack

_SPLIT_KEYS: tuple[tuple[str, ...], ...] = (
    ("EchoTime",),
    ("ImageType",),
    ("TemporalPositionIdentifier",),
    ("AcquisitionNumber",),
    ("EchoTime", "ImageType", "TemporalPositionIdentifier", "AcquisitionNumber"),
)


@dataclass(frozen=True)
class SliceGroup:
    """Slices that may form one volume.

    Attributes:
        files: At least three, no two at one position, equal in matrix, orientation and spacing.
        label: What notes call the series, e.g. "series 4 (28 files, first GE/01.dcm)".
        notes: Assumptions made while grouping.
    """

    files: tuple[DicomFile, ...]
    label: str
    notes: tuple[str, ...] = ()


def check_one_study(files: Sequence[DicomFile]) -> None:
    """Refuse an input that holds more than one patient or more than one study.

    Raises:
        ImageError: It does. The message names example files, never an identity.
    """
    patients: dict[str, DicomFile] = {}
    for file in files:
        patients.setdefault(text(file.header, "PatientID"), file)
    for keyword in ("IssuerOfPatientID", "PatientBirthDate"):
        stated: dict[str, DicomFile] = {}
        for file in files:
            if value := text(file.header, keyword):
                stated.setdefault(value, file)
        if len(stated) > len(patients):
            patients = stated
    if len(patients) > 1:
        examples = ", ".join(file.source.name for file in list(patients.values())[:3])
        raise ImageError(
            f"the input holds files of {len(patients)} patients, for example {examples}; "
            "pass one patient's study, two patients are never read together"
        )
    studies: dict[str, DicomFile] = {}
    for file in files:
        studies.setdefault(text(file.header, "StudyInstanceUID"), file)
    if len(studies) > 1:
        examples = ", ".join(file.source.name for file in list(studies.values())[:3])
        raise ImageError(f"the input holds {len(studies)} studies, for example {examples}; pass one study")


def _not_supported(file: DicomFile) -> str:
    """Why a file cannot be a slice of a volume; "" when it can."""
    from pydicom.uid import UID

    header = file.header
    sop_class, image_type = text(header, "SOPClassUID"), words(header, "ImageType")
    frames, samples = integer(header, "NumberOfFrames") or 1, integer(header, "SamplesPerPixel") or 1
    if sop_class not in (_CT, _MR) and (sop_class or text(header, "Modality") not in ("CT", "MR")):
        name = UID(sop_class).name if sop_class else "no SOP class"
        return f"{'a private object' if name == sop_class else name} is not supported yet"
    if frames > 1:
        return "a classic object with several frames is not supported yet"
    if samples != 1:
        return "colour images are not supported yet"
    if "MOSAIC" in image_type:
        return "Siemens mosaic images are not supported yet"
    if "LOCALIZER" in image_type:
        return "a localiser is not a volume"
    return ""


def _label(files: Sequence[DicomFile]) -> str:
    series = integer(files[0].header, "SeriesNumber")
    count = "1 file" if len(files) == 1 else f"{len(files)} files"
    name = "a series without a number" if series is None else f"series {series}"
    return f"{name} ({count}, first {files[0].source.name})"


def _partition(
    files: Sequence[DicomFile], key: Callable[[DicomFile], Hashable]
) -> dict[Hashable, list[DicomFile]]:
    parts: dict[Hashable, list[DicomFile]] = {}
    for file in files:
        parts.setdefault(key(file), []).append(file)
    return parts


def _drop_copies(files: Sequence[DicomFile]) -> tuple[list[DicomFile], int]:
    kept: dict[str, DicomFile] = {}
    for at, file in enumerate(files):
        uid = text(file.header, "SOPInstanceUID") or f"file {at}"
        first = kept.setdefault(uid, file)
        if first is not file and not filecmp.cmp(first.source.path, file.source.path, shallow=False):
            names = f"{first.source.name} and {file.source.name}"
            raise ImageError(f"{names} differ but claim to be the same instance")
    return list(kept.values()), len(files) - len(kept)


def _check_headers(files: Sequence[DicomFile]) -> None:
    for file in files:
        if file.damage:
            raise ImageError(f"{file.source.name} {file.damage}")
        for keyword, count in (
            ("Rows", 1),
            ("Columns", 1),
            ("PixelSpacing", 2),
            ("ImagePositionPatient", 3),
            ("ImageOrientationPatient", 6),
        ):
            if numbers(file.header, keyword, count) is None:
                raise ImageError(f"{file.source.name} has no usable {keyword}; the file may be cut short")


def _matrices(files: Sequence[DicomFile]) -> list[list[DicomFile]]:
    """Part by matrix, pixel spacing, kind and frame of reference."""
    parts: list[tuple[Hashable, np.ndarray, list[DicomFile]]] = []
    for file in files:
        header = file.header
        kind = tuple(text(header, word) for word in ("Rows", "Columns", "SOPClassUID", "FrameOfReferenceUID"))
        spacing = numbers(header, "PixelSpacing", 2)
        assert spacing is not None  # _check_headers
        for other, other_spacing, members in parts:
            if kind == other and np.allclose(spacing, other_spacing, rtol=_SAME_SPACING, atol=0):
                members.append(file)
                break
        else:
            parts.append((kind, spacing, [file]))
    return [members for _, _, members in parts]


def _distances(files: Sequence[DicomFile]) -> np.ndarray:
    positions = np.array([numbers(file.header, "ImagePositionPatient", 3) for file in files])
    orientation = numbers(files[0].header, "ImageOrientationPatient", 6)
    assert orientation is not None  # _check_headers
    return slice_positions(positions, orientation)


def _collides(files: Sequence[DicomFile]) -> bool:
    return bool((np.diff(np.sort(_distances(files))) < SAME_POSITION_MM).any())


def _runs(files: Sequence[DicomFile]) -> list[list[DicomFile]]:
    """Cut the slices in the order of InstanceNumber where a position comes again."""
    ordered = sorted(files, key=lambda file: number(file.header, "InstanceNumber") or 0.0)
    runs: list[list[DicomFile]] = [[]]
    seen: list[float] = []
    for file, distance in zip(ordered, _distances(ordered), strict=True):
        if any(abs(distance - other) < SAME_POSITION_MM for other in seen):
            runs.append([])
            seen = []
        runs[-1].append(file)
        seen.append(float(distance))
    return runs


def _tag_values(file: DicomFile, keywords: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(text(file.header, keyword) for keyword in keywords)


def _split(files: list[DicomFile]) -> tuple[list[list[DicomFile]], str]:
    """Part slices so that no two of a part share a position; also says by which tag."""
    if not _collides(files):
        return [files], ""
    for keywords in _SPLIT_KEYS:
        parts = list(_partition(files, partial(_tag_values, keywords=keywords)).values())
        fits = all(len(part) >= _FEWEST_SLICES and not _collides(part) for part in parts)
        if len(parts) > 1 and fits:
            return parts, " and ".join(keywords)
    runs = _runs(files)
    if len({len(run) for run in runs}) == 1 and len(runs[0]) >= _FEWEST_SLICES:
        return runs, "InstanceNumber"
    raise ImageError("several slices lie at the same position and no tag tells them apart")


def _series_groups(files: list[DicomFile]) -> tuple[list[SliceGroup], list[str]]:
    kept, copies = _drop_copies(files)
    _check_headers(kept)
    notes: list[str] = []
    if copies:
        notes.append(f"{copies} {'copy' if copies == 1 else 'copies'} of the same instance left out")
    if any(file.from_meta for file in kept):
        notes.append("SOP class or instance UID is missing and taken from the file meta information")
    if not text(kept[0].header, "SOPClassUID"):
        notes.append("SOP class is missing; taken for a classic image because of Modality")
    if not text(kept[0].header, "SeriesInstanceUID"):
        notes.append("SeriesInstanceUID is missing; all such files are taken for one series")
    directions = np.array([numbers(file.header, "ImageOrientationPatient", 6) for file in kept])
    if np.abs(directions - directions[0]).max() > _SAME_DIRECTION:
        raise ImageError("slices point in different directions (a localiser or radial series)")

    groups: list[SliceGroup] = []
    reasons: list[str] = []
    for matrix in _matrices(kept):
        if len(matrix) < _FEWEST_SLICES:
            reasons.append(f"{_label(matrix)}: fewer than {_FEWEST_SLICES} slices is not a volume")
            continue
        try:
            parts, by = _split(matrix)
        except ImageError as error:
            reasons.append(f"{_label(matrix)}: {error}")
            continue
        split = [f"the series holds {len(parts)} volumes, told apart by {by}"] if by else []
        groups += [SliceGroup(tuple(part), _label(part), tuple(notes + split)) for part in parts]
    return groups, reasons


def group_slices(files: Sequence[DicomFile]) -> tuple[list[SliceGroup], list[str]]:
    """Part the files of one study into candidate volumes.

    Returns:
        The candidates sorted by SeriesNumber, and one reason for every series or part left out.
    """
    groups: list[SliceGroup] = []
    reasons: list[str] = []
    for members in _partition(files, lambda file: text(file.header, "SeriesInstanceUID")).values():
        by_reason = _partition(members, _not_supported)
        slices = by_reason.pop("", [])
        reasons += [f"{_label(part)}: {reason}" for reason, part in by_reason.items()]
        if not slices:
            continue
        try:
            found, left_out = _series_groups(slices)
        except ImageError as error:
            reasons.append(f"{_label(slices)}: {error}")
            continue
        groups += found
        reasons += left_out
    groups.sort(key=lambda group: number(group.files[0].header, "SeriesNumber") or 0.0)
    return groups, reasons
