"""What a label map contains, slice by slice, from one pass over it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.kernels import Kernels

__all__ = ["SliceContent", "hash_beside", "slice_content"]


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


def hash_beside(voxels: NDArray[np.uint8], content: SliceContent) -> Callable[[], Any]:
    """Begin a SHA-256 that tells label maps apart, on two threads that hardly need the interpreter.

    Args:
        voxels: (I, J, K), C-contiguous; must not change until the result is there.
        content: Of `voxels`.

    Returns:
        Waits, and returns the hash object, to which more may be added.
    """
    shown = np.flatnonzero(content.counts[:, 1:].any(axis=1))
    first, last = (int(shown[0]), int(shown[-1]) + 1) if len(shown) else (0, 0)
    halves = np.array_split(voxels[first:last], 2)
    pool = ThreadPoolExecutor(2)
    parts = [pool.submit(hashlib.sha256, half.data) for half in halves]
    pool.shutdown(wait=False)

    def finish() -> Any:
        made = hashlib.sha256(repr((voxels.shape, first, last)).encode())
        for part in parts:
            made.update(part.result().digest())
        return made

    return finish
