"""RLE Lossless frames: decoded by others, never longer than annex G needs, the same bytes everywhere."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders import RLELosslessDecoder
from pydicom.pixels.encoders import RLELosslessEncoder

from runtime.errors import UsageError
from runtime.formats.run_length import RLE_LOSSLESS, run_length_frames
from runtime.kernels import kernel_names, open_kernels

KERNELS = open_kernels("cpu", 2)
MOST = settings(max_examples=150, deadline=None, derandomize=True, database=None)


def encoded(voxels: NDArray[Any], name: str = "cpu", threads: int = 2) -> list[bytes]:
    return [bytes(frame) for frame in run_length_frames(voxels, open_kernels(name, threads))]


def dataset(voxels: NDArray[Any], frames: list[bytes]) -> Dataset:
    """The least that a decoder asks for."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = RLE_LOSSLESS
    made.NumberOfFrames, made.Rows, made.Columns = voxels.shape
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelRepresentation = 1, "MONOCHROME2", 0
    made.BitsAllocated = made.BitsStored = 8 * voxels.itemsize
    made.HighBit = made.BitsStored - 1
    made.PixelData = encapsulate(frames)
    made["PixelData"].VR = "OB"
    return made


def decoded(voxels: NDArray[Any], frames: list[bytes]) -> NDArray[Any]:
    """By pydicom's own decoder."""
    made = dataset(voxels, frames)
    pixels, _ = RLELosslessDecoder.as_array(made, decoding_plugin="pydicom", raw=True)
    return np.asarray(pixels).reshape(voxels.shape)


def decoded_by_gdcm(voxels: NDArray[Any], frames: list[bytes], path: Path) -> NDArray[Any]:
    """By another program, from a file."""
    made = dataset(voxels, frames)
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = (
        f"1.2.840.10008.5.1.4.1.1.7.{voxels.itemsize + 1}"
    )
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    made.save_as(path, enforce_file_format=True)
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    image = reader.GetImage()
    raw = image.GetBuffer().encode("utf-8", errors="surrogateescape")
    return np.frombuffer(raw, voxels.dtype).reshape(voxels.shape)


def segments(frame: bytes) -> list[bytes]:
    """What the header says."""
    count, *starts = struct.unpack_from("<16I", frame)
    ends = [*starts[1:count], len(frame)]
    assert starts[count:] == [0] * (15 - count)
    return [frame[start:end] for start, end in zip(starts[:count], ends, strict=True)]


def codes(segment: bytes, row: int) -> list[list[tuple[bool, bytes]]]:
    """The codes of each row: whether it is a run, and its bytes; fails where a code crosses a row."""
    rows: list[list[tuple[bool, bytes]]] = []
    at, done = 0, row
    while at < len(segment) - 1:
        if done == row:
            rows.append([])
            done = 0
        first = segment[at]
        assert first != 128
        run = first > 128
        part = segment[at + 1 : at + 2] * (257 - first) if run else segment[at + 1 : at + 2 + first]
        at += 2 if run else 2 + first
        rows[-1].append((run, part))
        done += len(part)
        assert done <= row
    assert segment[at:] in (b"", b"\0")
    assert done == row
    return rows


def shortest(row: bytes) -> int:
    """Bytes of the best possible codes of a row, by trying every cut."""
    best = [0]
    for end in range(1, len(row) + 1):
        tries = []
        for begin in range(max(0, end - 128), end):
            part = row[begin:end]
            tries.append(best[begin] + (2 if len(set(part)) == 1 and len(part) > 1 else 1 + len(part)))
        best.append(min(tries))
    return best[-1]


@st.composite
def label_maps(draw: st.DrawFn) -> NDArray[Any]:
    """Slices of a few labels in runs of all lengths around 128, or of noise."""
    dtype = np.dtype(draw(st.sampled_from([np.uint8, np.uint16])))
    slices, rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(1, 300))
    size, random = slices * rows * columns, np.random.default_rng(draw(st.integers(0, 2**16)))
    most = draw(st.sampled_from([1, 2, 3, 5, 130, 400]))
    lengths = random.integers(1, most + 1, size)
    values = random.choice(random.integers(0, np.iinfo(dtype).max + 1, draw(st.integers(1, 6))), size)
    return np.repeat(values, lengths)[:size].astype(dtype).reshape(slices, rows, columns)


@MOST
@given(label_maps())
def test_frames_are_what_annex_g_says_and_others_read(voxels: NDArray[Any]) -> None:
    frames = encoded(voxels)
    assert len(frames) == len(voxels)
    assert np.array_equal(decoded(voxels, frames), voxels)
    for frame, plane in zip(frames, voxels, strict=True):
        assert len(frame) % 2 == 0
        planes = plane.astype(">u2").view(np.uint8).reshape(*plane.shape, 2)[:, :, 2 - voxels.itemsize :]
        for number, segment in enumerate(segments(frame)):
            assert len(segment) % 2 == 0
            lines = codes(segment, plane.shape[1])
            for line, wanted in zip(lines, planes[:, :, number], strict=True):
                assert b"".join(part for _, part in line) == wanted.tobytes()
                literals = [part[n : n + 3] for run, part in line if not run for n in range(len(part) - 2)]
                # "Three-byte repeats shall be encoded as Replicate Runs."
                assert all(len(set(three)) > 1 for three in literals)
    for name, threads in itertools.product(kernel_names(), (1, 3)):
        assert encoded(voxels, name, threads) == frames


@MOST
@given(st.lists(st.integers(0, 2), min_size=1, max_size=150))
def test_rows_are_as_short_as_codes_can_make_them(row: list[int]) -> None:
    voxels = np.array(row, np.uint8).reshape(1, 1, -1)
    (segment,) = segments(encoded(voxels)[0])
    needed = shortest(voxels.tobytes())
    assert len(segment) == needed + needed % 2


@pytest.mark.parametrize("columns", [1, 2, 3, 127, 128, 129, 130, 131, 255, 256, 257, 258, 300])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_runs_and_literals_of_every_length_around_their_limits(
    columns: int, dtype: Any, tmp_path: Path
) -> None:
    row = np.arange(columns) * 257
    voxels = np.stack([row % 3, row * 0 + 7, row, row // 2, np.minimum(row, 600)])[:, None].astype(dtype)
    voxels = np.concatenate([voxels, voxels[:, :, ::-1]], axis=1)
    frames = encoded(voxels)
    assert np.array_equal(decoded(voxels, frames), voxels)
    if columns > 3:  # GDCM 3.2.6 gives no pixels for images as small as that; pydicom reads them
        assert np.array_equal(decoded_by_gdcm(voxels, frames, tmp_path / "frames.dcm"), voxels)


def test_many_slices_are_encoded_as_each_alone() -> None:
    random = np.random.default_rng(0)
    voxels = np.repeat(random.integers(0, 9, (150, 11, 5)), 7, axis=2).astype(np.uint8)
    frames = encoded(voxels, threads=5)
    assert frames == [encoded(plane[None])[0] for plane in voxels]
    theirs = RLELosslessEncoder.encode(
        voxels[3], encoding_plugin="pydicom", rows=11, columns=35, samples_per_pixel=1, bits_allocated=8,
        bits_stored=8, pixel_representation=0, photometric_interpretation="MONOCHROME2", number_of_frames=1,
    )  # fmt: skip
    assert len(frames[3]) <= len(theirs)


def test_frames_of_wrong_arrays_are_refused() -> None:
    good = np.zeros((3, 4, 5), np.uint8)
    for wrong in (good.astype(np.int16), good.astype(np.float32), good[:, :, ::2], good[0]):
        with pytest.raises(TypeError):
            encoded(wrong)
    with pytest.raises(UsageError, match="DICOM allows 65535, so crop it"):
        encoded(np.zeros((1, 1, 65536), np.uint8))
    assert encoded(good[:0]) == []


def test_binding_writes_nothing_beyond_the_ends_it_is_given() -> None:
    table, voxels = KERNELS.cpu, np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    sizes, needed = np.empty(3, np.int64), np.empty(3, np.int64)
    table.run_length_sizes(voxels, sizes, 1)
    ends = np.cumsum(sizes)
    whole = np.full(ends[-1] + 50, 0xAA, np.uint8)
    table.run_length(voxels, ends, whole, needed, 2)
    assert np.array_equal(needed, sizes)
    assert (whole[ends[-1] :] == 0xAA).all()
    for change in (np.array([-2, 0, 0]), np.array([0, 0, -2]), np.array([0, 0, 2]), -ends):
        made = np.full(ends[-1] + 50, 0xAA, np.uint8)
        with pytest.raises(ValueError, match="not the sums"):
            table.run_length(voxels, ends + change, made, needed, 1)
        assert np.array_equal(needed, sizes)  # what would have fitted
        assert (made[(ends + change)[-1] :] == 0xAA).all()
    for wrong in (ends + 100, ends[::-1].copy(), ends - 1000):
        with pytest.raises(ValueError, match="ascend within bytes"):
            table.run_length(voxels, wrong, whole, needed, 1)
    for wrong in (ends[:2], np.append(ends, ends[-1])):
        with pytest.raises(ValueError, match="one number per slice"):
            table.run_length(voxels, wrong, whole, needed, 1)
    with pytest.raises(ValueError, match="threads"):
        table.run_length_sizes(voxels, sizes, 0)
