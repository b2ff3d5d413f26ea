"""SimpleITK's way: its filters on images that carry their own geometry."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.comparison import Run
from benchmarks.tasks import ComponentsTask, ResampleTask

__all__ = ["components", "resample"]


def _library(threads: int) -> Any:
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    return sitk


def resample(task: ResampleTask) -> Run:
    """Resample with a linear interpolator, then IntensityWindowing. Wrapping the voxels is not timed."""
    sitk = _library(task.threads)
    image = sitk.GetImageFromArray(task.volume.voxels)  # axes reversed: x is the last
    spacing = task.volume.spacing_mm[::-1]
    scale = np.array(task.volume.voxels.shape[::-1]) / np.array(task.grid.shape[::-1])
    image.SetSpacing(spacing.tolist())
    origin = ((scale - 1) / 2 * spacing).tolist()
    wanted = (scale * spacing).tolist()
    direction = np.eye(3).ravel().tolist()

    def run() -> object:
        resampled = sitk.Resample(
            image,
            list(task.grid.shape[::-1]),
            sitk.Transform(),
            sitk.sitkLinear,
            origin,
            wanted,
            direction,
            0.0,
            sitk.sitkFloat32,
        )
        windowed = sitk.IntensityWindowing(resampled, task.low, task.high, 0.0, 1.0)
        return sitk.GetArrayViewFromImage(windowed).copy()

    return run


def components(task: ComponentsTask) -> Run:
    """ConnectedComponent and RelabelComponent of every structure; part 1 is the largest."""
    sitk = _library(task.threads)
    image = sitk.GetImageFromArray(task.labels)

    def run() -> object:
        cleaned = task.labels.copy()
        for value in task.values:
            parts = sitk.RelabelComponent(sitk.ConnectedComponent(image == value, True))
            cleaned[sitk.GetArrayViewFromImage(parts) > 1] = 0
        return cleaned

    return run
