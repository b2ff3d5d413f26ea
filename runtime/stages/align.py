"""Where one scan lies relative to another: rigid registration and how far to believe it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ImageError
from runtime.stages.rigid_search import HeadImage, block_mean, coarser_affine, middle_of, search
from runtime.volume import Affine, Volume

__all__ = ["Alignment", "align"]

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_WORKING_MM = 2.0
_HOUNSFIELD_WINDOW = (-200.0, 400.0)
_AIR_MM = 8.0
"""Air around the head that takes part: it anchors the outline."""
_INTERIOR_MM = 24.0
_INTERIOR_CT_MM = 28.0
"""Depth below the skin that counts as interior; in CT the bright bone must be kept farther away."""
_BRAIN_HEIGHT_MM = 110.0
"""How far below the vertex the interior reaches."""
_LEAST_SIMILARITY = 0.15
_LEAST_OVERLAP = 0.4


@dataclass(frozen=True)
class Alignment:
    """A rigid registration and how far to believe it.

    Attributes:
        world: RAS+ mm of the fixed image to RAS+ mm of the moving one, (4, 4) rigid.
        residual_mm: Estimated error over the head. The search runs both ways, each from starts
            of its own; the answer is the middle of the two, and this is the mean distance from
            it to either. It sees noise, sampling and local optima, not an error that both ways
            share (a distorted image, for example).
        similarity: Mutual information over the head, nats: below 0.1 for unrelated images,
            0.5 and more for two scans of one head.
        overlap: Share of the smaller head that falls inside the other image, 0…1.
        method: How it was found, for the report.
        seconds: Wall time.
    """

    world: Affine
    residual_mm: float
    similarity: float
    overlap: float
    method: str
    seconds: float

    def trustworthy(self, limit_mm: float) -> bool:
        """Whether the estimated error is within `limit_mm` and the images show the same thing."""
        return (
            self.residual_mm <= limit_mm
            and self.similarity >= _LEAST_SIMILARITY
            and self.overlap >= _LEAST_OVERLAP
        )


def align(moving: Volume, fixed: Volume) -> Alignment:
    """Find the rigid motion between two scans of one head, of any contrast.

    Euler angles and shifts maximise Mattes' mutual information over three resolutions, from
    equal scanner coordinates and from equal centres of the head, and with the roles of the images
    swapped. Every voxel of a level is a sample and every sum runs on one thread (ITK's sums
    depend on the order in which threads finish), so equal input gives the same bits.

    Args:
        moving: The scan to bring over.
        fixed: The scan that stays.

    Raises:
        ImageError: An image is constant, its axes are not at right angles, or the images do not
            overlap.
    """
    begin = time.perf_counter()
    still, other = _prepare(fixed, "fixed"), _prepare(moving, "moving")
    forward = search(still, other)
    backward = search(other, still)
    inverse = np.asarray(np.linalg.inv(backward.matrix), np.float64)
    points = still.points(still.interior if still.interior.any() else still.head)[::29]
    middle = middle_of(forward.matrix, inverse, points)
    there = points @ middle.T
    gaps = [np.linalg.norm((points @ one.T - there)[:, :3], axis=1) for one in (forward.matrix, inverse)]
    overlap = max(
        _overlap(still, other, middle), _overlap(other, still, np.asarray(np.linalg.inv(middle), np.float64))
    )
    region = "interior of the head" if forward.refined and backward.refined else "whole head"
    return Alignment(
        world=np.asarray(_LPS @ middle @ _LPS),
        residual_mm=float(np.mean(gaps)),
        similarity=min(forward.similarity, backward.similarity),
        overlap=overlap,
        method=f"rigid, Mattes mutual information both ways, {region}, from {forward.start}",
        seconds=time.perf_counter() - begin,
    )


def _overlap(one: HeadImage, other: HeadImage, matrix: Affine) -> float:
    """Share of the points of one head that fall inside the other image."""
    index = one.points(one.head)[::97] @ (np.linalg.inv(other.affine) @ matrix).T
    inside = (index[:, :3] >= -0.5) & (index[:, :3] <= np.array(other.voxels.shape) - 0.5)
    return float(inside.all(axis=1).mean())


def _prepare(volume: Volume, name: str) -> HeadImage:
    axes = volume.affine[:3, :3] / volume.spacing_mm
    if np.abs(axes.T @ axes - np.eye(3)).max() > 1e-3:
        raise ImageError(f"the {name} image's axes are not at right angles; resample it before aligning")
    factors = [
        min(max(1, round(_WORKING_MM / spacing)), size)
        for spacing, size in zip(volume.spacing_mm, volume.voxels.shape, strict=True)
    ]
    voxels = block_mean(volume.voxels, factors) * np.float32(volume.slope) + np.float32(volume.intercept)
    if not np.isfinite(voxels).all():
        raise ImageError(f"the {name} image has voxels that are not finite; replace them before aligning")
    affine = coarser_affine(_LPS @ volume.affine, factors)
    depth_mm = _INTERIOR_MM
    if voxels.min() < -500:  # only Hounsfield units go that low
        (low, high), depth_mm = _HOUNSFIELD_WINDOW, _INTERIOR_CT_MM
    else:
        low, high = (float(value) for value in np.percentile(voxels, (1.0, 99.5)))
    scaled = np.clip((voxels - np.float32(low)) / np.float32(max(high - low, 1e-20)), 0.0, 1.0)
    if scaled.min() == scaled.max():
        raise ImageError(f"the {name} image is constant; there is nothing to align")
    threshold = _otsu(scaled)
    interior = _interior(scaled > threshold, affine, depth_mm)
    tissue = scaled > 0.7 * threshold
    near = _grown(tissue, _reach(affine, _AIR_MM))
    profiles = [tissue.sum(axis=tuple({0, 1, 2} - {axis})) for axis in range(3)]
    middle = np.array([np.average(np.arange(len(p)), weights=p) for p in profiles])
    return HeadImage(scaled, affine, near, interior, affine[:3, :3] @ middle + affine[:3, 3])


def _otsu(scaled: NDArray[np.float32]) -> float:
    """The threshold that splits values in 0…1 into two classes.

    Source: N. Otsu, "A threshold selection method from gray-level histograms", 1979.
    """
    counts = np.histogram(scaled, bins=128, range=(0.0, 1.0))[0].astype(np.float64)
    middles = (np.arange(128) + 0.5) / 128
    below, mass = np.cumsum(counts), np.cumsum(counts * middles)
    above = below[-1] - below
    spread = (mass[-1] * below / below[-1] - mass) ** 2 / np.maximum(below * above, 1.0)
    return float(middles[np.argmax(spread)])


def _reach(affine: Affine, distance_mm: float) -> list[int]:
    return [max(1, round(distance_mm / size)) for size in np.linalg.norm(affine[:3, :3], axis=0)]


def _grown(mask: NDArray[np.bool_], reach: list[int]) -> NDArray[np.bool_]:
    """Voxels within a box of `reach` voxels around the mask."""
    near = np.array(mask)
    for axis, count in enumerate(reach):
        target = np.moveaxis(near, axis, 0)
        source = target.copy()
        for step in range(1, min(count, len(source) - 1) + 1):
            target[step:] |= source[:-step]
            target[:-step] |= source[step:]
    return near


def _interior(tissue: NDArray[np.bool_], affine: Affine, depth_mm: float) -> NDArray[np.bool_]:
    """The part of the head deep below the skin and not far below the vertex.

    A voxel is in the head if there is tissue on both sides of it, left and right, front and back.
    """
    nearest = [int(axis) for axis in np.abs(affine[:3, :3]).argmax(axis=1)]
    filled = np.ones_like(tissue)
    for axis in nearest[:2]:
        ahead = np.maximum.accumulate(tissue, axis=axis)
        behind = np.flip(np.maximum.accumulate(np.flip(tissue, axis), axis=axis), axis)
        filled &= ahead & behind
    deep = ~_grown(~filled, _reach(affine, depth_mm))
    up = nearest[2]
    area = filled.sum(axis=tuple({0, 1, 2} - {up}))
    height = np.arange(len(area)) * affine[2, up]
    vertex = height[area > 0.02 * area.max()].max() if area.any() else 0.0
    form = [1, 1, 1]
    form[up] = -1
    return np.asarray(deep & (height > vertex - _BRAIN_HEIGHT_MM).reshape(form))
