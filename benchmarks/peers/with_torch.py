"""PyTorch's way: whole tensors on the CPU."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from benchmarks.comparison import CannotRunError, Run
from benchmarks.tasks import LabelTask, ResampleTask, StatisticsTask, Triple

__all__ = ["argmax", "label_slabs", "label_whole", "library", "resample", "resample_mean", "statistics"]

_QUANTILE_LIMIT = 2**24
"""torch.quantile refuses more values."""

_SLAB_SLICES = 36
"""Result slices worked on together; the memory they take stays small against the whole."""


def library(threads: int) -> Any:
    """Torch, told how many threads to use."""
    import torch

    torch.set_num_threads(threads)
    return torch


def _window(values: Any, task: ResampleTask) -> Any:
    return values.sub_(task.low).mul_(1 / (task.high - task.low)).clamp_(0, 1)[0, 0].numpy()


def resample(task: ResampleTask) -> Run:
    """Interpolate + clamp."""
    torch = library(task.threads)
    voxels = torch.from_numpy(task.volume.voxels)[None, None]

    def run() -> object:
        made = torch.nn.functional.interpolate(voxels.float(), task.grid.shape, mode="trilinear")
        return _window(made, task)

    return run


def resample_mean(task: ResampleTask, samples: Triple) -> Run:
    """Interpolate to a grid that is finer by `samples`, then avg_pool3d."""
    torch = library(task.threads)
    voxels = torch.from_numpy(task.volume.voxels)[None, None]
    finer = [size * more for size, more in zip(task.grid.shape, samples, strict=True)]

    def run() -> object:
        made = torch.nn.functional.interpolate(voxels.float(), finer, mode="trilinear")
        return _window(torch.nn.functional.avg_pool3d(made, samples), task)

    return run


def statistics(task: StatisticsTask) -> Run:
    """Quantile + mean + std."""
    torch = library(task.threads)
    voxels = torch.from_numpy(task.volume.voxels).flatten()
    if voxels.numel() > _QUANTILE_LIMIT:
        raise CannotRunError(f"torch.quantile takes at most {_QUANTILE_LIMIT} values, not {voxels.numel()}")
    shares = torch.tensor(task.percentiles) / 100

    def run() -> object:
        values = voxels.float()
        found = [*torch.quantile(values, shares), values.mean(), values.std(correction=0)]
        return np.array([float(value) for value in found])

    return run


def argmax(task: LabelTask) -> Run:
    """Argmax over the classes, without resampling."""
    torch = library(task.threads)
    scores = torch.from_numpy(task.scores)
    return lambda: scores.argmax(0).to(torch.uint8).numpy()


def label_whole(task: LabelTask) -> Run:
    """Interpolate all classes at once, then argmax."""
    torch = library(task.threads)
    scores = torch.from_numpy(task.scores)[None]

    def run() -> object:
        finer = torch.nn.functional.interpolate(scores.float(), task.onto.shape, mode="trilinear")
        return finer[0].argmax(0).to(torch.uint8).numpy()

    return run


def label_slabs(task: LabelTask) -> Run:
    """Interpolate one class of a slab of slices at a time, keeping the best score so far.

    A slab is a whole number of periods (200 slices onto 300 repeat every 2 onto 3) and is
    interpolated with one period more on either side, so its values are those of the whole.
    """
    torch = library(task.threads)
    scores = torch.from_numpy(task.scores)
    coarse, fine = task.scores_grid.shape[0], task.onto.shape[0]
    periods = math.gcd(coarse, fine)
    few, many = coarse // periods, fine // periods
    step = max(1, _SLAB_SLICES // many)
    in_plane = task.onto.shape[1:]

    def run() -> object:
        labels = torch.zeros(task.onto.shape, dtype=torch.uint8)
        for first in range(0, periods, step):
            last = min(first + step, periods)
            low, high = max(0, first - 1), min(last + 1, periods)
            size = ((high - low) * many, *in_plane)
            kept = slice((first - low) * many, (last - low) * many)
            best = None
            slab = labels[first * many : last * many]
            for number in range(len(scores)):
                part = scores[None, number : number + 1, low * few : high * few].float()
                made = torch.nn.functional.interpolate(part, size, mode="trilinear")[0, 0, kept]
                if best is None:
                    best = made.clone()
                    continue
                slab.masked_fill_(made > best, number)
                torch.maximum(best, made, out=best)
        return labels.numpy()

    return run
