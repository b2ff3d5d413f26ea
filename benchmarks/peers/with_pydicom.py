"""pydicom's own RLE Lossless encoder, frame by frame, as its manual shows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.comparison import Run

__all__ = ["encode_frames"]


def encode_frames(voxels: NDArray[np.uint8]) -> Run:
    """One frame a slice of (slices, rows, columns)."""
    from pydicom.pixels.encoders.base import RLELosslessEncoder

    _, rows, columns = voxels.shape
    described: dict[str, Any] = {
        "rows": rows,
        "columns": columns,
        "samples_per_pixel": 1,
        "bits_allocated": 8,
        "bits_stored": 8,
        "pixel_representation": 0,
        "photometric_interpretation": "MONOCHROME2",
        "number_of_frames": 1,
    }

    def run() -> object:
        encode = RLELosslessEncoder.encode
        return [encode(plane, encoding_plugin="pydicom", **described) for plane in voxels]

    return run
