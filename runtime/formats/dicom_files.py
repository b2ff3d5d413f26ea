"""Find DICOM files by content and read their headers; pixel data stays on disk until it is wanted."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.formats.dicom_tags import integer, text

__all__ = [
    "DicomFile",
    "SourceFile",
    "is_dicom",
    "list_files",
    "looks_like_dicom",
    "read_headers",
    "read_whole",
]

_PREAMBLE_BYTES = 128
_PIXEL_DATA = (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")  # tag (7FE0,0010), little and big endian
_IMPLICIT_LITTLE = "1.2.840.10008.1.2"
_EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_DICOMDIR = "1.2.840.10008.1.3.10"
_NAMED = 3
"""Unreadable files that a note names; the others are counted."""
_MAXIMUM_DEFLATED_BYTES = 2 * 2**20  # pydicom inflates at once; deflate grows at most 1032-fold


@dataclass(frozen=True)
class SourceFile:
    """A file of the input.

    Attributes:
        path: Where the bytes are; a temporary file for a member of an archive.
        name: What messages call it: its path relative to the input, or the archive member's name.
        shown: The path that results point to; does not exist on disk for an archive member.
    """

    path: Path
    name: str
    shown: Path


@dataclass(frozen=True)
class DicomFile:
    """A DICOM file whose header could be read.

    Attributes:
        source: Where it is and what to call it.
        header: The pydicom data set, without pixel data.
        pixel_offset: Where uncompressed little endian pixels begin, in bytes; None if a decoder is needed.
        damage: What is wrong with the file; "" when it is whole as far as the header tells.
        from_meta: Whether SOP class or instance UID were missing and taken from the file meta information.
    """

    source: SourceFile
    header: Any
    pixel_offset: int | None
    damage: str = ""
    from_meta: bool = False


def list_files(folder: Path) -> list[SourceFile]:
    """Every regular file below a folder, sorted by path; links to folders are not followed."""
    found = []
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(root, name)
            if path.is_file():
                found.append(SourceFile(path, str(path.relative_to(folder)), path))
    return found


def looks_like_dicom(head: bytes) -> bool:
    """Whether the first bytes (132 or more) are those of a DICOM file.

    A file without preamble passes only when it starts with a plausible element of group 2 or 8.
    """
    if head[_PREAMBLE_BYTES : _PREAMBLE_BYTES + 4] == b"DICM":
        return True
    if len(head) < _PREAMBLE_BYTES or head[:2] not in (b"\x02\x00", b"\x08\x00") or head[3] > 0x01:
        return False
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    return explicit or int.from_bytes(head[4:8], "little") <= _PREAMBLE_BYTES


def is_dicom(path: Path) -> bool:
    """Whether a file starts as DICOM does; nothing more is read."""
    with path.open("rb") as stream:
        return looks_like_dicom(stream.read(_PREAMBLE_BYTES + 4))


def _native_pixels(head: bytes, start: int, syntax: str) -> tuple[int, int] | None:
    """Offset and length of the pixel data whose element begins with `head`; None if not native."""
    if syntax == _IMPLICIT_LITTLE:
        return start + 8, int.from_bytes(head[4:8], "little")
    if syntax == _EXPLICIT_LITTLE:
        return start + 12, int.from_bytes(head[8:12], "little")
    return None


def _damage(header: Any, pixels: tuple[int, int] | None, size_bytes: int) -> str:
    """What is wrong with an image whose uncompressed pixel data should be at `pixels`."""
    rows, columns = integer(header, "Rows"), integer(header, "Columns")
    if not rows or not columns or pixels is None:
        return ""  # whoever needs rows and columns says so; a decoder finds damage in compressed pixels
    samples, frames = integer(header, "SamplesPerPixel") or 1, integer(header, "NumberOfFrames") or 1
    wanted = rows * columns * samples * frames * (integer(header, "BitsAllocated") or 16) // 8
    left = min(size_bytes - pixels[0], pixels[1])
    return f"is cut short: {left} of {wanted} bytes of pixel data" if left < wanted else ""


def _read_header(source: SourceFile) -> DicomFile | None:
    """Read one header; None when the content is not DICOM. Raises whatever pydicom raises."""
    from pydicom import dcmread

    with source.path.open("rb") as stream:
        head = stream.read(_PREAMBLE_BYTES + 4)
        if not looks_like_dicom(head):
            return None
        size_bytes = os.fstat(stream.fileno()).st_size
        if size_bytes > _MAXIMUM_DEFLATED_BYTES and _DEFLATED.encode() in head + stream.read(1024):
            raise ValueError("a deflated file of this size is not opened")
        stream.seek(0)
        has_preamble = head[_PREAMBLE_BYTES:] == b"DICM"
        header: Any = dcmread(stream, stop_before_pixels=True, force=not has_preamble)
        if not has_preamble and not (text(header, "SOPClassUID") and text(header, "SOPInstanceUID")):
            return None
        meta = header.file_meta
        syntax = text(meta, "TransferSyntaxUID")
        if not syntax:
            syntax = _IMPLICIT_LITTLE if header.original_encoding[0] else _EXPLICIT_LITTLE
        start, element = stream.tell(), stream.read(12)

    has_pixels = syntax == _DEFLATED or element[:4] in _PIXEL_DATA
    pixels = _native_pixels(element, start, syntax) if has_pixels else None
    from_meta = False
    for keyword, meta_keyword in (
        ("SOPClassUID", "MediaStorageSOPClassUID"),
        ("SOPInstanceUID", "MediaStorageSOPInstanceUID"),
    ):
        if not text(header, keyword) and text(meta, meta_keyword):
            setattr(header, keyword, meta.get(meta_keyword))
            from_meta = True
    damage = _damage(header, pixels, size_bytes)
    if not has_pixels:
        is_directory = text(header, "SOPClassUID") == _DICOMDIR
        if not is_directory and not text(header, "SeriesInstanceUID"):
            raise ValueError("the file ends before it says which series it belongs to")
        if integer(header, "Rows") or text(header, "Modality") in ("CT", "MR"):
            damage = "ends before its pixel data"
    return DicomFile(source, header, None if pixels is None else pixels[0], damage, from_meta)


def read_headers(sources: Iterable[SourceFile]) -> tuple[list[DicomFile], list[str]]:
    """Read the header of every DICOM file among the sources.

    Returns:
        The DICOM files in the order given, and notes on files that were left out.
    """
    found: list[DicomFile] = []
    unreadable: list[str] = []
    others = 0
    for source in sources:
        try:
            file = _read_header(source)
        except ImportError:  # the installation is damaged, not the file
            raise
        except Exception:  # a damaged file makes pydicom raise nearly anything
            # The error's text may hold patient data.
            unreadable.append(source.name)
            continue
        if file is None:
            others += 1
        elif text(file.header, "SOPClassUID") != _DICOMDIR:
            found.append(file)
    notes = []
    if unreadable:
        more = len(unreadable) - _NAMED
        named = ", ".join(unreadable[:_NAMED]) + (f" and {more} more files" if more > 0 else "")
        look = "looks" if len(unreadable) == 1 else "look"
        lost = "a slice at an end of a series may be missing"
        notes.append(f"{named} {look} like DICOM but cannot be read; {lost}")
    if others:
        notes.append(f"{others} {'file is' if others == 1 else 'files are'} not DICOM and left out")
    return found, notes


def read_whole(file: DicomFile) -> Any:
    """The data set with its pixel data, for a decoder."""
    from pydicom import dcmread

    return dcmread(io.BytesIO(file.source.path.read_bytes()), force=True)
