"""The frames of a DICOM SEG: per-frame headers and 1-bit pixels, both as bytes.

A data set per frame is what makes a SEG of many structures slow to write; here a frame's header
is put together from pieces that its slice and its segment share with other frames.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.content import SliceContent
from runtime.formats.seg_encode import Piece, decimal_strings, element, frozen, items, joined, laid_out, uid
from runtime.formats.seg_source import SourceSlice
from runtime.kernels import Kernels

__all__ = ["PackedFrames", "frame_headers"]

_FRAMES_AT_ONCE = 64
"""A multiple of eight, so that every part ends on a whole byte of packed bits."""

_CLASS_UID, _INSTANCE_UID, _POSITION = 0x00081150, 0x00081155, 0x00200032
_PLACE, _SEGMENT = 0x00209157, 0x0062000B


def frame_headers(
    template: Any, slices: Sequence[SourceSlice], ranks: Mapping[int, int], frames: Sequence[tuple[int, int]]
) -> Iterator[bytes]:
    """Items of the Per-Frame Functional Groups Sequence.

    Args:
        template: The item of any frame, as highdicom makes it (pydicom data set).
        slices: Every slice of the source.
        ranks: Slice to its place among the slices that have a frame, from 1.
        frames: Slice and segment number of each frame.

    Yields:
        One encoded item per frame, explicit VR little endian.

    Source:
        DICOM PS3.3 C.8.20.3 (segmentation functional groups).
    """
    groups = frozen(template, (_CLASS_UID, _INSTANCE_UID, _POSITION, _PLACE, _SEGMENT))
    with_segment = len(template.FrameContentSequence[0].DimensionIndexValues) == 2
    by_slice = {index: _slice_elements(slices[index]) for index in ranks}
    layouts: dict[tuple[int, ...], list[Piece]] = {}  # one for most slices: their elements are as long
    segments = {n: element(_SEGMENT, b"US", struct.pack("<H", n)) for n in {number for _, number in frames}}
    for index, number in frames:
        place = struct.pack("<II", number, ranks[index]) if with_segment else struct.pack("<I", ranks[index])
        values = {**by_slice[index], _PLACE: element(_PLACE, b"UL", place), _SEGMENT: segments[number]}
        sizes = tuple(map(len, values.values()))
        if sizes not in layouts:
            layouts[sizes] = laid_out(groups, dict(zip(values, sizes, strict=True)))
        yield items([joined(layouts[sizes], values)])


def _slice_elements(source: SourceSlice) -> dict[int, bytes]:
    """What every frame of a slice says about where it lies and what it came from."""
    return {
        _CLASS_UID: uid(_CLASS_UID, source.class_uid),
        _INSTANCE_UID: uid(_INSTANCE_UID, source.instance_uid),
        _POSITION: decimal_strings(_POSITION, source.position_mm),
    }


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
