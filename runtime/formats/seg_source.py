"""What a DICOM SEG needs to know about its source slices, made safe from incomplete headers."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.errors import ImageError
from runtime.study import Instance, Series

__all__ = ["STAND_IN_PIXELS", "SegSource", "SourceSlice", "derived_uid", "read_source"]

STAND_IN_PIXELS = 1
"""Rows and columns that the stand-ins claim, so that no library loops over real pixels."""

_NAMESPACE = uuid.UUID("6f0f6e0c-6f5b-5d0e-9b6e-0b3f5a6f9d11")

_STORAGE_CLASSES = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4"}

_MEASURES = ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices")
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


@dataclass(frozen=True)
class SourceSlice:
    """What a frame says about the slice it was made from.

    Attributes:
        class_uid: SOP class.
        instance_uid: SOP instance.
        position_mm: ImagePositionPatient, three DICOM decimal strings.
    """

    class_uid: str
    instance_uid: str
    position_mm: tuple[Any, Any, Any]


@dataclass(frozen=True)
class SegSource:
    """The source series as a SEG refers to it, made safe from incomplete headers.

    Attributes:
        slices: In the order of axis 0.
        shared: Attributes by keyword that every slice has alike.
        patient_and_study: Attributes of those modules (pydicom data set).
        notes: What was assumed.
    """

    slices: tuple[SourceSlice, ...]
    shared: dict[str, Any]
    patient_and_study: Any
    notes: tuple[str, ...]

    def stand_ins(self, indices: Iterable[int]) -> list[Any]:
        """Make a small header (pydicom data set) for some slices; the first has patient and study, too.

        Args:
            indices: Which slices; each gets `STAND_IN_PIXELS` rows and columns and no pixels.
        """
        made = [self._stand_in(index) for index in indices]
        made[0].update(self.patient_and_study)
        return made

    def is_volume(self, indices: Sequence[int]) -> bool:
        """Whether these slices, in this order, are more than one and evenly spaced along their normal."""
        spacing = None
        if len(indices) > 1:
            slices = [self.slices[index] for index in indices]
            spacing = _regular_spacing(self.shared["ImageOrientationPatient"], slices, sort=False)
        return spacing is not None and spacing > 0

    def _stand_in(self, index: int) -> Any:
        from pydicom.dataset import Dataset

        made = Dataset()
        made.SOPInstanceUID = self.slices[index].instance_uid
        made.SOPClassUID = self.slices[index].class_uid
        for keyword, value in self.shared.items():
            setattr(made, keyword, value)
        made.ImagePositionPatient = list(self.slices[index].position_mm)
        return made


def read_source(series: Series) -> SegSource:
    """Read what a SEG must say about its source.

    Missing or unreadable values of type 2 become empty, as the standard asks of unknown values.

    Args:
        series: A DICOM series, one instance for each slice of axis 0.

    Raises:
        ImageError: The series is not a DICOM series of single-frame slices, or a slice has no
            position, pixel spacing or orientation.
    """
    from pydicom.valuerep import format_number_as_ds

    slices = series.volume.voxels.shape[0]
    if len(series.instances) != slices:
        raise ImageError(
            f"series {series.uid}: {len(series.instances)} DICOM instances for {slices} slices; a DICOM SEG "
            "needs one instance for each slice, ask for NIfTI output instead"
        )
    notes: list[str] = []
    first = series.instances[0].header
    shared = _shared_attributes(first, series, notes)
    found = tuple(_source_slice(instance, notes) for instance in series.instances)
    if "SpacingBetweenSlices" not in shared:
        spacing = _regular_spacing(shared["ImageOrientationPatient"], found, sort=True)
        if spacing is not None:
            shared["SpacingBetweenSlices"] = format_number_as_ds(spacing)
    about = _patient_and_study(first, notes)
    return SegSource(found, shared, about, tuple(dict.fromkeys(notes)))


def _regular_spacing(orientation: Any, slices: Sequence[SourceSlice], sort: bool) -> float | None:
    """Distance of neighbours in mm where it is the same for all, else None."""
    from highdicom.spatial import get_volume_positions

    positions = [[float(value) for value in one.position_mm] for one in slices]
    spacing, _ = get_volume_positions(positions, [float(value) for value in orientation], sort=sort)
    return spacing


def _source_slice(instance: Instance, notes: list[str]) -> SourceSlice:
    header = instance.header
    if not instance.sop_instance_uid:
        raise ImageError(
            f"{instance.path}: SOPInstanceUID is missing, so a SEG cannot refer to it; export it again"
        )
    for keyword in ("ImagePositionPatient", "PixelSpacing"):
        if keyword not in header or header.get_item(keyword).value in (None, "", b"", []):
            raise ImageError(f"{instance.path}: {keyword} is missing; export the series again")
    x, y, z = header.ImagePositionPatient
    class_uid = _storage_class(instance, notes)
    if not (class_uid + instance.sop_instance_uid).isascii():
        raise ImageError(f"{instance.path}: its UIDs are not UIDs; export the series again")
    return SourceSlice(class_uid, instance.sop_instance_uid, (x, y, z))


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
        **_measures(first, series, notes),
    }


def _measures(first: Any, series: Series, notes: list[str]) -> dict[str, Any]:
    """What the first slice says about the size of voxels."""
    found = {keyword: first.get(keyword) for keyword in _MEASURES}
    made = {keyword: value for keyword, value in found.items() if value not in (None, "")}
    if "SliceThickness" not in made:
        made["SliceThickness"] = round(float(series.volume.spacing_mm[0]), 4)
        notes.append("the source has no SliceThickness; the SEG was given the distance between slices")
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


def _patient_and_study(first: Any, notes: list[str]) -> Any:
    from pydicom.dataset import Dataset

    made = Dataset()
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
    return made


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
