"""SciPy's way: `ndimage` on whole arrays, one thread."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.comparison import Run
from benchmarks.tasks import ComponentsTask, LabelTask, ResampleTask, Triple

__all__ = ["components", "label", "resample", "resample_mean"]


def _factors(task: ResampleTask, samples: Triple = (1, 1, 1)) -> list[float]:
    sizes = zip(task.grid.shape, samples, task.volume.voxels.shape, strict=True)
    return [wanted * more / size for wanted, more, size in sizes]


def _window(values: NDArray[np.float32], task: ResampleTask) -> NDArray[np.float32]:
    values -= np.float32(task.low)
    values *= np.float32(1 / (task.high - task.low))
    return np.clip(values, 0, 1, out=values)


def resample(task: ResampleTask) -> Run:
    """Zoom of order 1, then the window in place."""
    from scipy import ndimage

    def run() -> object:
        zoomed = ndimage.zoom(
            task.volume.voxels, _factors(task), np.float32, order=1, mode="nearest", grid_mode=True
        )
        return _window(zoomed, task)

    return run


def resample_mean(task: ResampleTask, samples: Triple) -> Run:
    """Zoom to a grid that is finer by `samples`, then the mean of every block."""
    from scipy import ndimage

    i, j, k = task.grid.shape
    a, b, c = samples

    def run() -> object:
        finer = ndimage.zoom(
            task.volume.voxels, _factors(task, samples), np.float32, order=1, mode="nearest", grid_mode=True
        )
        means = finer.reshape(i, a, j, b, k, c).mean(axis=(1, 3, 5))
        return _window(means, task)

    return run


def label(task: LabelTask) -> Run:
    """Zoom of order 1 one class after the other, keeping the best score so far."""
    from scipy import ndimage

    sizes = zip(task.onto.shape, task.scores_grid.shape, strict=True)
    factors = [wanted / size for wanted, size in sizes]

    def run() -> object:
        best = np.full(task.onto.shape, -np.inf, np.float32)
        labels = np.zeros(task.onto.shape, np.uint8)
        for number, scores in enumerate(task.scores):
            zoomed = ndimage.zoom(
                scores.astype(np.float32), factors, np.float32, order=1, mode="nearest", grid_mode=True
            )
            wins = zoomed > best
            labels[wins] = number
            np.maximum(best, zoomed, out=best)
        return labels

    return run


def components(task: ComponentsTask) -> Run:
    """Label every structure's mask, count, keep the largest."""
    from scipy import ndimage

    neighbours = np.ones((3, 3, 3), np.bool_)

    def run() -> object:
        cleaned = task.labels.copy()
        for value in task.values:
            parts, _ = ndimage.label(task.labels == value, neighbours)
            sizes = np.bincount(parts.ravel())
            sizes[0] = 0
            cleaned[(parts > 0) & (parts != sizes.argmax())] = 0
        return cleaned

    return run
