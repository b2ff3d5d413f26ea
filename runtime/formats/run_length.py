"""Label maps as frames of DICOM's RLE Lossless, for objects that store them compressed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from runtime.errors import UsageError
from runtime.kernels import Kernels

__all__ = ["RLE_LOSSLESS", "run_length_frames"]

RLE_LOSSLESS = "1.2.840.10008.1.2.5"
"""Transfer syntax of data sets with these frames."""

_MOST_SIDE = 65535
"""Rows and Columns are 16-bit numbers."""

_FRAMES_AT_ONCE = 64


def run_length_frames(
    voxels: NDArray[np.uint8] | NDArray[np.uint16], kernels: Kernels
) -> Iterator[memoryview]:
    """One encoded frame per slice, 64 slices at a time, to be encapsulated as one fragment each.

    Args:
        voxels: (slices, rows, columns), C-contiguous uint8 or uint16 label values.
        kernels: Where to run; a CPU's.

    Yields:
        A frame of even length; it stays valid.

    Raises:
        DeviceError: The kernels are a CUDA device's.
        TypeError: `voxels` is not C-contiguous uint8 or uint16 of three axes.
        UsageError: A slice has more than 65535 rows or columns.

    Source:
        DICOM PS3.5 annex G; annex A.4.2 (transfer syntax).
    """
    if max(voxels.shape[1:], default=0) > _MOST_SIDE:
        raise UsageError(
            f"a slice has {voxels.shape[1:]} rows and columns; DICOM allows {_MOST_SIDE}, so crop it first"
        )
    for start in range(0, len(voxels), _FRAMES_AT_ONCE):
        part = voxels[start : start + _FRAMES_AT_ONCE]
        sizes, needed = np.empty(len(part), np.int64), np.empty(len(part), np.int64)
        kernels.cpu.run_length_sizes(part, sizes, kernels.threads)
        ends = np.cumsum(sizes)
        encoded = np.empty(int(ends[-1]), np.uint8)
        kernels.cpu.run_length(part, ends, encoded, needed, kernels.threads)
        for end, size in zip(ends.tolist(), sizes.tolist(), strict=True):
            yield encoded[end - size : end].data
