"""The frames of a DICOM SEG: per-frame headers and 1-bit pixels, both as bytes.

A data set per frame is what makes a SEG of many structures slow to write; here a frame's header
is put together from pieces that its slice and its segment share with other frames.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.content import SliceContent
from runtime.kernels import Kernels

__all__ = ["PackedFrames", "frame_headers"]

_ITEM = struct.pack("<HH", 0xFFFE, 0xE000)
_FRAMES_AT_ONCE = 64
"""A multiple of eight, so that every part ends on a whole byte of packed bits."""

_DERIVATION, _CONTENT, _POSITION, _SEGMENT = 0x00089124, 0x00209111, 0x00209113, 0x0062000A


def frame_headers(
    template: Any, sources: Sequence[Any], ranks: dict[int, int], frames: Sequence[tuple[int, int]]
) -> Iterator[bytes]:
    """Items of the Per-Frame Functional Groups Sequence.

    Args:
        template: The item of any frame, as highdicom makes it (pydicom data set); its derivation
            is changed.
        sources: Header of every slice: SOP class and instance, ImagePositionPatient.
        ranks: Slice to its place among the slices that have a frame, from 1.
        frames: Slice and segment number of each frame.

    Yields:
        One encoded item per frame, explicit VR little endian.

    Source:
        DICOM PS3.5 7.5 (nesting of data sets), PS3.3 C.8.20.3 (segmentation functional groups).
    """
    tags = sorted(int(element.tag) for element in template)
    constant = {tag: _encoded(template, tag) for tag in tags if tag not in (_DERIVATION, _POSITION)}
    by_slice = {index: _slice_groups(template, sources[index]) for index in ranks}
    with_segment = len(template.FrameContentSequence[0].DimensionIndexValues) == 2
    for index, number in frames:
        groups = constant | by_slice[index]
        place = (number, ranks[index]) if with_segment else (ranks[index],)
        groups[_CONTENT] = _sequence(
            _CONTENT, _element(0x00209157, b"UL", struct.pack(f"<{len(place)}I", *place))
        )
        if _SEGMENT in groups:
            groups[_SEGMENT] = _sequence(_SEGMENT, _element(0x0062000B, b"US", struct.pack("<H", number)))
        body = b"".join(groups[tag] for tag in tags)
        yield _ITEM + struct.pack("<I", len(body)) + body


def _slice_groups(template: Any, source: Any) -> dict[int, bytes]:
    """What every frame of a slice says about where it lies and what it came from."""
    import highdicom

    made_from = template.DerivationImageSequence[0].SourceImageSequence[0]
    made_from.ReferencedSOPClassUID = source.SOPClassUID
    made_from.ReferencedSOPInstanceUID = source.SOPInstanceUID
    template.PlanePositionSequence = highdicom.PlanePositionSequence(
        coordinate_system="PATIENT", image_position=source.ImagePositionPatient
    )
    return {tag: _encoded(template, tag) for tag in (_DERIVATION, _POSITION)}


def _encoded(dataset: Any, tag: int) -> bytes:
    """One element of a data set."""
    from pydicom import Dataset
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    alone = Dataset()
    alone[tag] = dataset[tag]
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, alone)
    return bytes(buffer.getvalue())


def _element(tag: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def _sequence(tag: int, item: bytes) -> bytes:
    """A sequence of one item."""
    head = struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, b"SQ", 0, len(item) + 8)
    return head + _ITEM + struct.pack("<I", len(item)) + item


class PackedFrames:
    """1-bit frames end to end, made a few at a time."""

    def __init__(
        self,
        voxels: NDArray[np.uint8],
        content: SliceContent,
        tables: NDArray[np.uint8],
        frames: Sequence[tuple[int, int]],
        kernels: Kernels,
    ) -> None:
        """Nothing is packed yet.

        Args:
            voxels: (I, J, K) label values.
            content: Of `voxels`.
            tables: (segments, 256), 1 where a label value belongs to the segment.
            frames: Slice and segment number (from 1) of each frame.
            kernels: Where to run.
        """
        self._voxels, self._content, self._tables, self._kernels = voxels, content, tables, kernels
        self._pixels = int(voxels.shape[1] * voxels.shape[2])
        self._frames = np.array(frames, np.int32).reshape(-1, 2) - np.array([0, 1], np.int32)

    @property
    def bytes(self) -> int:
        """Length of all frames together, padded to an even number."""
        bits = len(self._frames) * self._pixels
        return ((bits + 7) // 8 + 1) // 2 * 2

    def parts(self) -> Iterator[memoryview]:
        """All bytes in order, each part valid until the next is asked for.

        Source: DICOM PS3.5 8.1.1 (bits allocated 1: lowest bit first, no padding between frames).
        """
        pixels, done = self._pixels, 0
        buffer = np.empty((_FRAMES_AT_ONCE * pixels + 7) // 8, np.uint8)
        for start in range(0, len(self._frames), _FRAMES_AT_ONCE):
            frames = np.ascontiguousarray(self._frames[start : start + _FRAMES_AT_ONCE])
            bits = buffer[: (len(frames) * pixels + 7) // 8]
            content = self._content
            self._kernels.cpu.pack(
                self._voxels,
                content.first_row,
                content.last_row,
                self._tables,
                frames,
                bits,
                self._kernels.threads,
            )
            yield bits.data
            done += len(bits)
        yield memoryview(b"\0" * (self.bytes - done))
