"""NumPy's way: the plain statement of what is meant."""

from __future__ import annotations

import numpy as np

from benchmarks.comparison import Run
from benchmarks.tasks import BlendTask, LabelTask, NormaliseTask, PercentileTask, StatisticsTask
from runtime.stages.blend import tile_origins

__all__ = ["argmax", "blend", "normalise", "percentiles", "statistics"]


def statistics(task: StatisticsTask) -> Run:
    """Percentile + mean + std."""
    voxels = task.volume.voxels

    def run() -> object:
        return np.array([*np.percentile(voxels, task.percentiles), voxels.mean(), voxels.std()])

    return run


def normalise(task: NormaliseTask) -> Run:
    """Mean + std in float64, applied in float32; with a mask, of the voxels that are not 0."""

    def run() -> object:
        made = np.zeros(task.channels.shape, np.float32)
        for channel, into in zip(task.channels, made, strict=True):
            there = channel != 0 if task.masked else np.ones(channel.shape, np.bool_)
            values = channel[there]
            into[there] = (values.astype(np.float32) - np.float32(values.mean())) / np.float32(values.std())
        return made

    return run


def percentiles(task: PercentileTask) -> Run:
    """Percentile, then scale and clip in float32."""

    def run() -> object:
        made = task.channels.astype(np.float32)
        for channel, into in zip(task.channels, made, strict=True):
            low, high = np.percentile(channel, (task.low, task.high))
            into -= np.float32(low)
            into *= np.float32(1 / (high - low))
            np.clip(into, 0, 1, out=into)
        return made

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
