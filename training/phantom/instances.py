"""One classic DICOM image per slice of a phantom series."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.volume import Grid
from training.phantom.protocol import Protocol

__all__ = ["deterministic_uid", "write_series"]

_MR_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
_CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
_LPS = np.array([-1.0, -1.0, 1.0])
_CT_INTERCEPT = -1024


def deterministic_uid(seed: int, *names: object) -> str:
    """A UID under 2.25. that depends on nothing but its arguments.

    Source: DICOM PS3.5 annex B.2, with 128 bits of SHA-256 in place of a random UUID.
    """
    digest = hashlib.sha256(repr((seed, *names)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def write_series(
    folder: Path, image: NDArray[np.float32], grid: Grid, protocol: Protocol, number: int, seed: int
) -> None:
    """Write one series, one file a slice.

    Args:
        folder: Where the files go; created.
        image: (slices, rows, columns); arbitrary units for MR, Hounsfield units for CT.
        grid: RAS+ geometry in the series' own frame of reference.
        protocol: What the series is.
        number: SeriesNumber.
        seed: Makes the UIDs.
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    folder.mkdir(parents=True)
    is_ct = protocol.name == "CT"
    stored = np.clip(np.rint(image - (_CT_INTERCEPT if is_ct else 0)), 0, 4095).astype("<u2")
    shared = _series_tags(protocol, number, seed)
    axes = grid.affine[:3, :3] / grid.spacing_mm
    for index, pixels in enumerate(stored):
        dataset = Dataset()
        for keyword, value in {**shared, **_slice_tags(grid, axes, index)}.items():
            setattr(dataset, keyword, value)
        dataset.SOPClassUID = _CT_STORAGE if is_ct else _MR_STORAGE
        dataset.SOPInstanceUID = deterministic_uid(seed, "instance", protocol.name, index)
        dataset.InstanceNumber = index + 1
        if not is_ct:
            dataset.SmallestImagePixelValue = int(pixels.min())
            dataset.LargestImagePixelValue = int(pixels.max())
        dataset.PixelData = pixels.tobytes()
        dataset["PixelData"].VR = "OW"
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta = meta
        dataset.save_as(folder / f"IM{index + 1:04d}.dcm", enforce_file_format=True)


def _series_tags(protocol: Protocol, number: int, seed: int) -> dict[str, object]:
    is_ct = protocol.name == "CT"
    _, rows, columns = protocol.shape
    time = f"10{5 * number:02d}00"
    tags: dict[str, object] = {
        "SpecificCharacterSet": "ISO_IR 192",
        "StudyDate": "20260105",
        "SeriesDate": "20260105",
        "AcquisitionDate": "20260105",
        "ContentDate": "20260105",
        "StudyTime": "100000",
        "SeriesTime": time,
        "AcquisitionTime": time,
        "ContentTime": time,
        "AccessionNumber": "",
        "Manufacturer": "Zeus Edge",
        "ManufacturerModelName": "Analytic head phantom",
        "DeviceSerialNumber": "0",
        "SoftwareVersions": "1",
        "InstitutionName": "",
        "ReferringPhysicianName": "",
        "StudyDescription": "Head phantom",
        "PatientName": "PHANTOM^ZEUS",
        "PatientID": f"PHANTOM-{seed}",
        "PatientBirthDate": "",
        "PatientSex": "",
        "PatientPosition": "HFS",
        "BodyPartExamined": "HEAD",
        "StudyInstanceUID": deterministic_uid(seed, "study"),
        "SeriesInstanceUID": deterministic_uid(seed, "series", protocol.name),
        "StudyID": "1",
        "SeriesNumber": number,
        "AcquisitionNumber": 1,
        "FrameOfReferenceUID": deterministic_uid(seed, "frame", "CT" if is_ct else "MR"),
        "PositionReferenceIndicator": "",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": rows,
        "Columns": columns,
        "PixelSpacing": [protocol.spacing_mm[1], protocol.spacing_mm[2]],
        "SliceThickness": protocol.spacing_mm[0],
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "WindowCenter": 40 if is_ct else 600,
        "WindowWidth": 80 if is_ct else 1200,
    }
    if is_ct:
        tags |= {"RescaleIntercept": _CT_INTERCEPT, "RescaleSlope": 1, "RescaleType": "HU"}
    else:
        tags |= {"SpacingBetweenSlices": protocol.spacing_mm[0]}
    return tags | protocol.tags


def _slice_tags(grid: Grid, axes: NDArray[np.float64], index: int) -> dict[str, object]:
    right, down, normal = axes[:, 2] * _LPS, axes[:, 1] * _LPS, axes[:, 0] * _LPS
    corner = (grid.affine[:3, 0] * index + grid.affine[:3, 3]) * _LPS
    return {
        "ImageOrientationPatient": [_decimal(value) for value in (*right, *down)],
        "ImagePositionPatient": [_decimal(value) for value in corner],
        "SliceLocation": _decimal(float(normal @ corner)),
    }


def _decimal(value: float) -> str:
    """A DICOM decimal string: at most 16 characters, no negative zero."""
    return f"{value + 0.0:.10f}"[:16] if abs(value) > 5e-11 else "0"
