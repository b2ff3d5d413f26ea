"""Remove stray pieces of structures: keep the largest component of each, or drop small islands."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np

from runtime.kernels import Kernels

__all__ = ["keep_largest", "keep_largest_union", "remove_islands"]

Neighbours = Literal[6, 18, 26]

_RUNS_PER_VOXEL = 1 / 200
"""Runs a label map is expected to have; where there are more, the scratch is made again."""


def keep_largest(
    labels: Any, values: Iterable[int], kernels: Kernels, neighbours: Neighbours = 26
) -> dict[int, int]:
    """Keep only the largest connected component of each label, in place.

    Of two largest ones the one whose first voxel comes first is kept. What is removed becomes 0.

    Args:
        labels: (I, J, K) uint8 where the kernels work, C-contiguous, fewer than 2^31 voxels; overwritten.
        values: Labels to work on, 1…255; the others stay as they are.
        kernels: Where to run.
        neighbours: A voxel touches others across faces (6), edges (18) or corners (26) too.

    Returns:
        Voxels removed of each value.

    Raises:
        ValueError: A value is out of range, or `labels` is too large.
        TypeError: `labels` is not writable, C-contiguous uint8.

    Source:
        The result of `cc3d.largest_k(labels == value, k=1)` for each value, made in one pass for all.
    """
    return _remove(labels, _one_group_each(values), kernels, neighbours)


def keep_largest_union(
    labels: Any, values: Iterable[int], kernels: Kernels, neighbours: Neighbours = 26
) -> dict[int, int]:
    """Keep only the largest connected component of several labels taken together; else as `keep_largest`."""
    return _remove(labels, dict.fromkeys(values, 1), kernels, neighbours)


def remove_islands(
    labels: Any,
    values: Iterable[int],
    least_voxels: int,
    kernels: Kernels,
    neighbours: Neighbours = 26,
) -> dict[int, int]:
    """Remove components of fewer than `least_voxels` voxels, in place; else as `keep_largest`.

    Source:
        The result of `cc3d.dust(labels == value, threshold=least_voxels)` for each value.
    """
    return _remove(labels, _one_group_each(values), kernels, neighbours, least_voxels)


def _one_group_each(values: Iterable[int]) -> dict[int, int]:
    return {value: value for value in values}


def _remove(
    labels: Any,
    groups: dict[int, int],
    kernels: Kernels,
    neighbours: Neighbours,
    least_voxels: int | None = None,
) -> dict[int, int]:
    """Keep the largest component of each group, or every one of at least `least_voxels`."""
    if any(not 1 <= value <= 255 for value in groups):
        raise ValueError(f"values must be 1 to 255, got {sorted(groups)}")
    groups_of = np.zeros(256, np.uint8)
    for value, group in groups.items():
        groups_of[value] = group
    table, options = kernels.table, (neighbours, least_voxels is None, least_voxels or 0, 0)
    removed, group_of = kernels.zeros((256,), np.uint64), kernels.placed(groups_of)
    needed = table.components_scratch(labels, int(math.prod(labels.shape) * _RUNS_PER_VOXEL))
    size = 0
    while needed > size:
        work, size = kernels.scratch(needed), needed
        needed = table.components(labels, group_of, *options, removed, work, kernels.threads)
    counts = kernels.to_host(removed)
    return {value: int(counts[value]) for value in groups}
