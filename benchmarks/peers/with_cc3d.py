"""cc3d's way: connected-components-3d on label maps."""

from __future__ import annotations

from typing import Final

import numpy as np

from benchmarks.comparison import Run
from benchmarks.tasks import ComponentsTask

__all__ = ["at_once", "one_by_one"]

_NEIGHBOURS: Final = 26


def one_by_one(task: ComponentsTask) -> Run:
    """largest_k of every structure's mask."""
    import cc3d

    def run() -> object:
        cleaned = task.labels.copy()
        for value in task.values:
            mask = task.labels == value
            kept = cc3d.largest_k(mask, k=1, connectivity=_NEIGHBOURS)
            cleaned[mask & (kept == 0)] = 0
        return cleaned

    return run


def at_once(task: ComponentsTask) -> Run:
    """connected_components of all values in one call, then its statistics."""
    import cc3d

    def run() -> object:
        parts = cc3d.connected_components(task.labels, connectivity=_NEIGHBOURS)
        sizes = cc3d.statistics(parts, no_slice_conversion=True)["voxel_counts"]
        # The value of each part: any of its voxels tells.
        value_of = np.zeros(len(sizes), np.uint8)
        value_of[parts] = task.labels
        kept = np.ones(len(sizes), np.bool_)
        for value in task.values:
            own = np.flatnonzero(value_of == value)
            if own.size:
                kept[own] = False
                kept[own[sizes[own].argmax()]] = True
        return np.where(kept[parts], task.labels, 0).astype(np.uint8)

    return run
