"""The file of a DICOM SEG: the header, a reference to every slice, the frames."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from runtime.formats.seg_encode import encoded, sequence, uid
from runtime.formats.seg_frames import PackedFrames
from runtime.formats.seg_source import SegSource

__all__ = ["write_file"]

_REFERENCED_SERIES, _SOURCE_IMAGES = 0x00081115, 0x00082112


def write_file(
    path: Path, header: Any, source: SegSource, frame_headers: Iterable[bytes], pixels: PackedFrames
) -> None:
    """Write a SEG whose header names few of its slices and none of its frames.

    Args:
        path: Replaced.
        header: pydicom data set with file meta information, without what follows here.
        source: Every slice of it is referred to.
        frame_headers: Items of the Per-Frame Functional Groups Sequence, encoded.
        pixels: Of those frames.

    Source:
        DICOM PS3.10 7.1 (file format), PS3.3 C.12.2 (Common Instance Reference), C.7.6.16.
    """
    slices = [uid(0x00081150, one.class_uid) + uid(0x00081155, one.instance_uid) for one in source.slices]
    series = sequence(0x0008114A, slices) + uid(0x0020000E, source.shared["SeriesInstanceUID"])
    character_set = header.get("SpecificCharacterSet")
    start = header[:_REFERENCED_SERIES]
    start.file_meta = header.file_meta
    start.save_as(path, enforce_file_format=True)
    with path.open("ab") as file:
        file.write(sequence(_REFERENCED_SERIES, [series]))
        file.write(encoded(header[_REFERENCED_SERIES + 1 : _SOURCE_IMAGES], character_set))
        file.write(sequence(_SOURCE_IMAGES, slices))
        file.write(encoded(header[_SOURCE_IMAGES + 1 :], character_set))
        file.write(struct.pack("<HH2sHI", 0x5200, 0x9230, b"SQ", 0, 0xFFFFFFFF))
        file.writelines(frame_headers)
        file.write(struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))
        file.write(struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, pixels.bytes))
        for part in pixels.parts():
            file.write(part)
