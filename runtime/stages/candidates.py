"""Find the part of a scan in which one target can win at all, so that no more is labelled again."""

from __future__ import annotations

from typing import Any

import numpy as np

from runtime.kernels import Kernels
from runtime.stages.label import Window
from runtime.volume import Grid

__all__ = ["candidate_window", "joined"]

_REACH = 0.501
"""Of a border score voxel, in score voxels: labels reach half a voxel outside, and rounding a little more."""
_NOISE = 1e-3
"""Score voxels that entries of a matrix may be moved by as noise, and more."""


def candidate_window(
    scores: Any, scores_grid: Grid, target: int, onto: Grid, kernels: Kernels
) -> Window | None:
    """The voxels that one target may be the label of; outside of them it is not, to the last bit.

    Interpolated scores are convex combinations of those at the corners of a cell, so a target that one
    other class beats at all eight corners wins nowhere inside. The window holds all other cells.

    Args:
        scores: Of `mask_scores`, or (C, D, H, W) where `kernels` run.
        scores_grid: Where the scores lie.
        target: A class.
        onto: Grid of the labels.
        kernels: Where to run.

    Returns:
        A window of `onto`, or None where the target wins nowhere.

    Raises:
        DeviceError: The device failed.
        ValueError: `target` is no class.
    """
    table, threads = kernels.table, kernels.threads
    box = kernels.empty((6,), np.int64)
    work = kernels.scratch(table.candidate_scratch(scores, threads))
    table.candidate_box(scores, target, box, work, threads)
    first, last = kernels.to_host(box).reshape(2, 3)
    if (last == 0).any():
        return None
    size = np.array(scores_grid.shape)
    low = np.where(first == 0, -_REACH, first) - _NOISE
    high = np.where(last >= size - 1, size - 1 + _REACH, last) + _NOISE
    corners = np.array([[i, j, k, 1.0] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    corners[:, :3] = np.where(corners[:, :3] == 0, low, high)
    there = (corners @ scores_grid.index_to(onto).T)[:, :3]
    begin = np.maximum(np.floor(there.min(axis=0)).astype(int) - 1, 0)
    end = np.minimum(np.ceil(there.max(axis=0)).astype(int) + 2, onto.shape)
    return _window(begin, end)


def joined(one: Window | None, other: Window | None) -> Window | None:
    """The smallest window that holds both."""
    if one is None or other is None:
        return one or other
    begin = np.minimum([first for first, _ in one], [first for first, _ in other])
    end = np.maximum([last for _, last in one], [last for _, last in other])
    return _window(begin, end)


def _window(begin: Any, end: Any) -> Window | None:
    if (begin >= end).any():
        return None
    pairs = [(int(first), int(last)) for first, last in zip(begin, end, strict=True)]
    return pairs[0], pairs[1], pairs[2]
