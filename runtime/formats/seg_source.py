"""What a DICOM SEG needs to know about its source slices, made safe from incomplete headers."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

from runtime.errors import ImageError
from runtime.study import Instance, Series

__all__ = ["STAND_IN_PIXELS", "derived_uid", "stand_ins"]

STAND_IN_PIXELS = 1
"""Rows and columns that the stand-ins claim, so that no library loops over real pixels."""

_NAMESPACE = uuid.UUID("6f0f6e0c-6f5b-5d0e-9b6e-0b3f5a6f9d11")

_STORAGE_CLASSES = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4"}

_EVERY_SLICE = ("ImagePositionPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices")
_TYPE_2_TEXT = ("PatientID", "AccessionNumber", "StudyID", "ReferringPhysicianName")
# Attributes of the Patient, General Study and Patient Study modules that identify the study to a
# PACS; the rest (free text, history, private groups) stays in the source images.
_OPTIONAL_TEXT = (
    *("IssuerOfPatientID", "OtherPatientIDs", "StudyDescription", "PatientAge"),
    *("PatientSize", "PatientWeight", "PatientIdentityRemoved"),
    *("DeidentificationMethod", "DeidentificationMethodCodeSequence"),
)

_CHARACTER_SETS = tuple(
    f"ISO_IR {number}" for number in (100, 101, 109, 110, 144, 127, 126, 138, 148, 203, 13, 166, 192)
)


def derived_uid(*parts: str) -> str:
    """A UID that depends only on `parts`: 2.25 and a UUID of version 5.

    Source:
        DICOM PS3.5 B.2 (UUID-derived UID), RFC 4122 section 4.3.
    """
    name = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return f"2.25.{uuid.uuid5(_NAMESPACE, name).int}"


def stand_ins(series: Series) -> tuple[list[Any], tuple[str, ...]]:
    """Make a small header for each slice: geometry and references, and patient and study on the first.

    Missing or unreadable values of type 2 become empty, as the standard asks of unknown values.

    Args:
        series: A DICOM series, one instance for each slice of axis 0.

    Returns:
        One pydicom data set for each slice, in the order of axis 0, without pixels and with
        `STAND_IN_PIXELS` rows and columns; and notes on what was assumed.

    Raises:
        ImageError: The series is not a DICOM series of single-frame slices, or a slice has no
            position, pixel spacing or orientation.
    """
    slices = series.volume.voxels.shape[0]
    if len(series.instances) != slices:
        raise ImageError(
            f"series {series.uid}: {len(series.instances)} DICOM instances for {slices} slices; a DICOM SEG "
            "needs one instance for each slice, ask for NIfTI output instead"
        )
    first = series.instances[0].header
    notes: list[str] = []
    shared = _shared_attributes(first, series, notes)
    made = [_stand_in(instance, shared, _storage_class(instance, notes)) for instance in series.instances]
    if "SliceThickness" not in made[0]:
        made[0].SliceThickness = round(float(series.volume.spacing_mm[0]), 4)
        notes.append("the source has no SliceThickness; the SEG was given the distance between slices")
    _add_patient_and_study(made[0], first, notes)
    return made, tuple(dict.fromkeys(notes))


def _shared_attributes(first: Any, series: Series, notes: list[str]) -> dict[str, Any]:
    study_uid = str(first.get("StudyInstanceUID") or "")
    if not study_uid:
        study_uid = derived_uid("study", series.uid)
        notes.append("the source has no StudyInstanceUID; the SEG was given one derived from its series")
    frame_uid = str(series.frame_of_reference_uid or first.get("FrameOfReferenceUID") or "")
    if not frame_uid:
        frame_uid = derived_uid("frame of reference", series.uid)
        notes.append("the source has no FrameOfReferenceUID; the SEG was given one derived from its series")
    orientation = first.get("ImageOrientationPatient")
    if orientation is None or len(orientation) != 6:
        raise ImageError(
            f"{series.instances[0].path}: ImageOrientationPatient is missing; export the series again"
        )
    return {
        "StudyInstanceUID": study_uid,
        "SeriesInstanceUID": str(first.get("SeriesInstanceUID") or series.uid),
        "FrameOfReferenceUID": frame_uid,
        "PositionReferenceIndicator": str(first.get("PositionReferenceIndicator") or ""),
        "Modality": str(first.get("Modality") or "OT"),
        # One orientation for all: scanners round it differently from slice to slice.
        "ImageOrientationPatient": list(orientation),
        "LossyImageCompression": "01" if first.get("LossyImageCompression") == "01" else "00",
        "Rows": STAND_IN_PIXELS,
        "Columns": STAND_IN_PIXELS,
    }


def _stand_in(instance: Instance, shared: dict[str, Any], storage_class: str) -> Any:
    from pydicom.dataset import Dataset

    if not instance.sop_instance_uid:
        raise ImageError(
            f"{instance.path}: SOPInstanceUID is missing, so a SEG cannot refer to it; export it again"
        )
    made = Dataset()
    made.SOPInstanceUID = instance.sop_instance_uid
    made.SOPClassUID = storage_class
    for keyword, value in shared.items():
        setattr(made, keyword, value)
    for keyword in _EVERY_SLICE:
        value = instance.header.get(keyword)
        if value not in (None, ""):
            setattr(made, keyword, value)
    for keyword in ("ImagePositionPatient", "PixelSpacing"):
        if keyword not in made:
            raise ImageError(f"{instance.path}: {keyword} is missing; export the series again")
    return made


def _storage_class(instance: Instance, notes: list[str]) -> str:
    header = instance.header
    meta = getattr(header, "file_meta", None)
    found = header.get("SOPClassUID") or (meta.get("MediaStorageSOPClassUID") if meta is not None else None)
    if found:
        return str(found)
    modality = str(header.get("Modality") or "")
    if modality not in _STORAGE_CLASSES:
        raise ImageError(f"{instance.path}: SOPClassUID is missing; export the series again")
    notes.append(f"the source has no SOPClassUID; taken for {modality} Image Storage")
    return _STORAGE_CLASSES[modality]


def _add_patient_and_study(made: Any, first: Any, notes: list[str]) -> None:
    made.SpecificCharacterSet = _character_set(first.get("SpecificCharacterSet"))
    made.PatientName = ""  # highdicom logs names it finds odd; the writer adds the name at the end
    for keyword in _TYPE_2_TEXT:
        value = first.get(keyword)
        setattr(made, keyword, "" if value is None else value)
    for keyword in _OPTIONAL_TEXT:
        _copy_optional(made, first, keyword, notes)
    sex = str(first.get("PatientSex") or "").strip()
    made.PatientSex = sex if sex in ("M", "F", "O") else ""
    for keyword in ("PatientBirthDate", "StudyDate", "StudyTime"):
        value = str(first.get(keyword) or "").strip()
        usable = _is_date_or_time(value, keyword)
        setattr(made, keyword, value if usable else "")
        if not usable:
            notes.append(f"the source's {keyword} is not a DICOM value; left empty in the SEG")


def _copy_optional(made: Any, first: Any, keyword: str, notes: list[str]) -> None:
    """Copy a value; leave out one that cannot be read or written as what it claims to be."""
    from pydicom.dataset import Dataset

    try:
        value = first.get(keyword)
        if value in (None, ""):
            return
        alone = Dataset()
        setattr(alone, keyword, value)
        alone.to_json()  # converts every number, which assignment does not
        setattr(made, keyword, value)
    except Exception:  # pydicom raises many kinds on a malformed value
        notes.append(f"the source's {keyword} is not a DICOM value; left out of the SEG")


def _is_date_or_time(value: str, keyword: str) -> bool:
    from pydicom.valuerep import DA, TM

    try:
        _ = TM(value) if keyword.endswith("Time") else DA(value)
    except (ValueError, TypeError):
        return False
    return True


def _character_set(value: Any) -> str:
    """The source's character set when it is a plain one; UTF-8 for code extensions and mistakes."""
    text = "ISO_IR 100" if value in (None, "") else str(value)  # what pydicom read it as
    return text if text in _CHARACTER_SETS else "ISO_IR 192"
