"""Read the stored voxels of a stack of slices into one array, with their rescale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ImageError
from runtime.formats.dicom_files import DicomFile, read_whole
from runtime.formats.dicom_tags import integer, number, text
from runtime.formats.limits import MAXIMUM_VOXELS

__all__ = ["Voxels", "read_voxels"]


@dataclass(frozen=True)
class Voxels:
    """The voxels of a stack.

    Attributes:
        stored: (slice, row, column), C-contiguous.
        slope: Rescale slope of `stored`.
        intercept: Rescale intercept of `stored`.
        notes: Assumptions made while reading.
    """

    stored: NDArray[Any]
    slope: float
    intercept: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Layout:
    """How one slice's pixels lie in their words (PS3.5 8.1.1)."""

    kind: np.dtype[Any]
    left: int  # unused bits above the value
    right: int  # unused bits above and below it


def _layout(file: DicomFile) -> _Layout:
    header = file.header
    allocated = integer(header, "BitsAllocated") or 16
    stored = integer(header, "BitsStored") or allocated
    high = integer(header, "HighBit")
    high = stored - 1 if high is None else high
    signed = integer(header, "PixelRepresentation") == 1
    if allocated not in (8, 16) or not 0 < stored <= allocated or not stored - 1 <= high < allocated:
        raise ImageError(
            f"{file.source.name} has {allocated} bits allocated, {stored} stored, high bit {high}; "
            "only 8 and 16 bit integers are supported"
        )
    return _Layout(
        np.dtype(f"{'i' if signed else 'u'}{allocated // 8}"), allocated - 1 - high, allocated - stored
    )


def _read_native(file: DicomFile, out: NDArray[Any]) -> None:
    with file.source.path.open("rb", buffering=0) as stream:
        stream.seek(file.pixel_offset or 0)
        if stream.readinto(out.view(np.uint8).data) != out.nbytes:
            raise ImageError(f"{file.source.name} is cut short: pixel data ends early")


def _decode(file: DicomFile, out: NDArray[Any]) -> None:
    try:
        pixels = read_whole(file).pixel_array
    except Exception as error:  # every decoder raises its own
        syntax = text(file.header.file_meta, "TransferSyntaxUID")
        raise ImageError(
            f"the pixel data of {file.source.name} cannot be decoded (transfer syntax {syntax}, "
            f"{type(error).__name__}); the file is cut short or damaged"
        ) from None
    if pixels.shape != out.shape or not np.can_cast(pixels.dtype, out.dtype, "same_kind"):
        raise ImageError(
            f"{file.source.name} decodes to {pixels.dtype} {pixels.shape}, "
            f"its header says {out.dtype} {out.shape}"
        )
    out[...] = pixels


def _read_slice(file: DicomFile, layout: _Layout, out: NDArray[Any]) -> bool:
    """Read one slice into `out`; True if bits outside BitsStored were set and are dropped."""
    target = out if out.dtype == layout.kind else np.empty(out.shape, layout.kind)
    if file.pixel_offset is None:
        _decode(file, target)
    else:
        _read_native(file, target)
    dropped = False
    if layout.right:
        value = np.right_shift(np.left_shift(target, layout.left), layout.right)
        dropped = not np.array_equal(value, target)
        target[...] = value
    if target is not out:
        out[...] = target
    return dropped


def _rescale(file: DicomFile) -> tuple[float, float]:
    if "ModalityLUTSequence" in file.header:
        raise ImageError(f"{file.source.name} has a modality look-up table, which is not supported yet")
    slope, intercept = number(file.header, "RescaleSlope"), number(file.header, "RescaleIntercept")
    return 1.0 if slope is None else slope, 0.0 if intercept is None else intercept


def _invert_monochrome1(files: Sequence[DicomFile], layouts: Sequence[_Layout], stack: NDArray[Any]) -> str:
    """Turn MONOCHROME1 MR over, in place; returns a note or ""."""
    inverted = [
        at for at, file in enumerate(files) if text(file.header, "PhotometricInterpretation") == "MONOCHROME1"
    ]
    if not inverted:
        return ""
    if text(files[0].header, "Modality") == "CT":
        return "MONOCHROME1 concerns display only; Hounsfield units are kept as stored"
    for at in inverted:
        if layouts[at].kind.kind == "i":
            np.invert(stack[at], out=stack[at])
        else:
            bits = 8 * layouts[at].kind.itemsize - layouts[at].right
            np.subtract(stack.dtype.type(2**bits - 1), stack[at], out=stack[at])
    return f"{len(inverted)} slices are MONOCHROME1 (low is bright) and were inverted"


def _notes(files: Sequence[DicomFile]) -> list[str]:
    notes = []
    header = files[0].header
    if text(header, "Modality") == "CT" and number(header, "RescaleIntercept") is None:
        notes.append("no rescale in the header; stored values are taken as Hounsfield units")
    padding = number(header, "PixelPaddingValue")
    if padding is not None:
        limit = number(header, "PixelPaddingRangeLimit")
        upto = "" if limit is None else f" to {limit:g}"
        notes.append(f"stored value {padding:g}{upto} marks padding outside the scan; values are kept")
    return notes


def read_voxels(files: Sequence[DicomFile]) -> Voxels:
    """Read a stack of slices.

    Stored integers are kept when all slices share slope and intercept, else values are float32.

    Args:
        files: Slices in the order wanted, equal in rows and columns.

    Raises:
        ImageError: A file is cut short, cannot be decoded or has an unsupported pixel format.
    """
    rows, columns = integer(files[0].header, "Rows") or 0, integer(files[0].header, "Columns") or 0
    if not 0 < len(files) * rows * columns <= MAXIMUM_VOXELS:
        raise ImageError(f"{len(files)} x {rows} x {columns} voxels are more than {MAXIMUM_VOXELS}")
    layouts = [_layout(file) for file in files]
    scales = [_rescale(file) for file in files]
    stack = np.empty((len(files), rows, columns), np.result_type(*{layout.kind for layout in layouts}))
    dropped = sum(map(_read_slice, files, layouts, stack))

    notes = _notes(files)
    if dropped:
        notes.append(f"{dropped} slices carry bits outside BitsStored (overlay or sign); they were cleared")
    if note := _invert_monochrome1(files, layouts, stack):
        notes.append(note)
    if any(slope == 0 for slope, _ in scales):
        raise ImageError(f"{files[0].source.name} or a later slice has RescaleSlope 0")
    if len(set(scales)) == 1:
        return Voxels(stack, scales[0][0], scales[0][1], tuple(notes))
    notes.append("rescale differs from slice to slice; it was applied to each and values are float32")
    values = np.empty(stack.shape, np.float32)
    for at, (slope, intercept) in enumerate(scales):
        np.add(stack[at] * slope, intercept, out=values[at], casting="same_kind")
    return Voxels(values, 1.0, 0.0, tuple(notes))
