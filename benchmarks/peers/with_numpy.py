"""NumPy's way: the plain statement of what is meant."""

from __future__ import annotations

import numpy as np

from benchmarks.comparison import Run
from benchmarks.tasks import BlendTask, LabelTask, StatisticsTask
from runtime.stages.blend import tile_origins

__all__ = ["argmax", "blend", "statistics"]


def statistics(task: StatisticsTask) -> Run:
    """Percentile + mean + std."""
    voxels = task.volume.voxels

    def run() -> object:
        return np.array([*np.percentile(voxels, task.percentiles), voxels.mean(), voxels.std()])

    return run


def argmax(task: LabelTask) -> Run:
    """Argmax over the classes, without resampling; what nnU-Net calls where the grid is already right."""
    return lambda: task.scores.argmax(0).astype(np.uint8)


def blend(task: BlendTask) -> Run:
    """Add slices of an array, divide at the end."""
    side = task.weight.shape
    origins = tile_origins(task.shape, (side[0], side[1], side[2]), task.overlap)

    def run() -> object:
        total = np.zeros((len(task.tile), *task.shape), np.float32)
        weights = np.zeros(task.shape, np.float32)
        for origin in origins:
            box = tuple(slice(first, first + size) for first, size in zip(origin, side, strict=True))
            in_every_class = (slice(None), *box)
            total[in_every_class] += task.tile.copy() * task.weight
            weights[box] += task.weight
        total /= weights
        return total

    return run
