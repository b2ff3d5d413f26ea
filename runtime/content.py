"""What a label map contains, slice by slice, from one pass over it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.kernels import Kernels

__all__ = ["SliceContent", "slice_content"]


@dataclass(frozen=True)
class SliceContent:
    """How much of each label value each slice along axis 0 shows, and where.

    Attributes:
        counts: Voxels, (I, 256) int64.
        first_row: First row (index of axis 1) with a voxel, (I, 256) int32; 0 where there is none.
        last_row: One past the last such row, (I, 256) int32; 0 where there is none.
    """

    counts: NDArray[np.int64]
    first_row: NDArray[np.int32]
    last_row: NDArray[np.int32]


def slice_content(voxels: NDArray[np.uint8], kernels: Kernels) -> SliceContent:
    """Count a label map.

    Args:
        voxels: (I, J, K), C-contiguous.
        kernels: Where to run.
    """
    shape = len(voxels), 256
    content = SliceContent(np.empty(shape, np.int64), np.empty(shape, np.int32), np.empty(shape, np.int32))
    kernels.cpu.slice_content(voxels, content.counts, content.first_row, content.last_row, kernels.threads)
    return content
