"""The slice content and pack kernels against numpy, on every target and for odd frame sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.content import slice_content
from runtime.kernels import kernel_names, open_kernels

SHAPES = [(1, 1, 1), (3, 1, 5), (2, 7, 9), (9, 5, 8), (4, 16, 16), (11, 13, 17)]


def blobs(shape: tuple[int, int, int], seed: int = 0) -> NDArray[np.uint8]:
    """Labels 0…4 and 255, with whole rows and slices of nothing."""
    random = np.random.default_rng(seed)
    voxels = random.choice(np.array([0, 1, 2, 3, 4, 255], np.uint8), shape, p=[0.5, 0.1, 0.1, 0.1, 0.1, 0.1])
    voxels[:, : shape[1] // 3] = 0
    voxels[::3][voxels[::3] == 2] = 0
    return voxels


def tables() -> NDArray[np.uint8]:
    """One label alone, a union, everything but air, and a structure no voxel has."""
    made = np.zeros((4, 256), np.uint8)
    made[0, 2] = made[1, [1, 3, 255]] = made[2, 1:] = made[3, 77] = 1
    return made


def plain(voxels: NDArray[np.uint8], frames: NDArray[np.int32]) -> NDArray[np.uint8]:
    masks = np.array([tables()[table][voxels[index]] for index, table in frames])
    return np.packbits(masks.ravel(), bitorder="little")


def packed(
    voxels: NDArray[np.uint8], frames: NDArray[np.int32], name: str, threads: int
) -> NDArray[np.uint8]:
    kernels = open_kernels(name, threads)
    content = slice_content(voxels, kernels)
    bits = np.full((len(frames) * voxels[0].size + 7) // 8, 0xAA, np.uint8)
    kernels.table.pack(voxels, content.first_row, content.last_row, tables(), frames, bits, threads)
    return bits


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", kernel_names())
def test_pack_is_packbits_of_the_masks(shape: tuple[int, int, int], name: str) -> None:
    voxels = blobs(shape)
    frames = np.array([(i, t) for t in range(4) for i in range(shape[0])] * 3, np.int32)
    for threads in (1, 3):
        assert np.array_equal(packed(voxels, frames, name, threads), plain(voxels, frames))


@pytest.mark.parametrize("name", kernel_names())
def test_slice_content_is_a_histogram_with_rows(name: str) -> None:
    voxels = blobs((7, 12, 19), 3)
    for threads in (1, 2, 5):
        content = slice_content(voxels, open_kernels(name, threads))
        for index, plane in enumerate(voxels):
            assert np.array_equal(content.counts[index], np.bincount(plane.ravel(), minlength=256))
            for label in range(256):
                rows = np.flatnonzero((plane == label).any(axis=1))
                expected = (rows[0], rows[-1] + 1) if len(rows) else (0, 0)
                assert (content.first_row[index, label], content.last_row[index, label]) == expected


def test_no_frames_make_no_bits() -> None:
    assert packed(blobs((2, 3, 4)), np.zeros((0, 2), np.int32), "cpu", 2).size == 0


def test_binding_refuses_what_would_read_or_write_outside() -> None:
    voxels, table = blobs((4, 6, 5)), open_kernels().table
    content = slice_content(voxels, open_kernels())
    good: dict[str, Any] = {
        "labels": voxels,
        "first_row": content.first_row,
        "last_row": content.last_row,
        "tables": tables(),
        "frames": np.array([[0, 0], [3, 3]], np.int32),
        "bits": np.empty(8, np.uint8),
        "threads": 1,
    }
    table.pack(**good)
    for changed, message in (
        ({"frames": np.array([[4, 0], [0, 0]], np.int32)}, "not there"),
        ({"frames": np.array([[0, 4], [0, 0]], np.int32)}, "not there"),
        ({"frames": np.array([[-1, 0], [0, 0]], np.int32)}, "not there"),
        ({"first_row": content.first_row - 1}, "not those of labels"),
        ({"last_row": content.last_row + 7}, "not those of labels"),
        ({"last_row": content.last_row[:3]}, "one row per slice"),
        ({"tables": tables() * 2}, "0 and 1"),
        ({"bits": np.empty(7, np.uint8)}, "one bit per pixel"),
        ({"threads": 0}, "threads"),
    ):
        with pytest.raises(ValueError, match=message):
            table.pack(**(good | changed))
    with pytest.raises(TypeError):
        table.pack(**(good | {"labels": voxels[::2]}))
    with pytest.raises(ValueError, match="one row per slice"):
        table.slice_content(voxels, content.counts[:2], content.first_row, content.last_row, 1)
