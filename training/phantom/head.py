"""The whole head: which label lies at a point of the world, on any grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.volume import Affine, Grid
from training.phantom.brain import Brain
from training.phantom.parameters import HeadParameters, Lesion
from training.phantom.protocol import rotation
from training.phantom.shapes import Points
from training.phantom.skull import Skull

__all__ = ["Head", "head_to_world", "labels_at", "sample_labels"]

_BLOCK = (24, 32, 32)
_DOMAIN = (np.array([-92.0, -108.0, -200.0]), np.array([92.0, 128.0, 96.0]))
"""A box around every head, average frame, mm."""


def head_to_world(parameters: HeadParameters) -> Affine:
    """Where the head lies: its own frame (lesions' frame) to RAS+ of the world, (4, 4) rigid."""
    world = np.eye(4)
    world[:3, :3] = rotation(parameters.tilt_deg)
    world[:3, 3] = parameters.offset_mm
    return world


def labels_at(parameters: HeadParameters, points_mm: NDArray[np.float64]) -> NDArray[np.int16]:
    """Label single points.

    Args:
        parameters: The head.
        points_mm: RAS+ world coordinates, (N, 3).

    Returns:
        FreeSurfer-style ids, (N,); 0 is air.
    """
    head = Head.of(parameters)
    labels = np.zeros(len(points_mm), np.int16)
    for start in range(0, len(points_mm), 32768):
        part = points_mm[start : start + 32768]
        labels[start : start + 32768] = head.labels(part[:, 0], part[:, 1], part[:, 2])
    return labels


def sample_labels(parameters: HeadParameters, grid: Grid) -> NDArray[np.int16]:
    """Label every voxel centre of a grid.

    Args:
        parameters: The head.
        grid: Where to sample; any spacing and orientation.

    Returns:
        FreeSurfer-style ids, grid.shape; 0 is air.
    """
    head = Head.of(parameters)
    labels = np.zeros(grid.shape, np.int16)
    affine = grid.affine
    for low in np.ndindex(*[-(-n // b) for n, b in zip(grid.shape, _BLOCK, strict=True)]):
        first = [start * size for start, size in zip(low, _BLOCK, strict=True)]
        last = [min(f + b, n) for f, b, n in zip(first, _BLOCK, grid.shape, strict=True)]
        corners = np.array([[f, end - 1] for f, end in zip(first, last, strict=True)], np.float64)
        if not head.may_touch(corners, affine):
            continue
        i, j, k = (np.arange(f, end, dtype=np.float64) for f, end in zip(first, last, strict=True))
        x, y, z = (
            (
                row[0] * i[:, None, None] + row[1] * j[None, :, None] + row[2] * k[None, None, :] + row[3]
            ).ravel()
            for row in affine[:3]
        )
        block = head.labels(x, y, z).reshape(len(i), len(j), len(k))
        labels[first[0] : last[0], first[1] : last[1], first[2] : last[2]] = block
    return labels


@dataclass(frozen=True)
class Head:
    """A head with its shapes built once."""

    parameters: HeadParameters
    world_to_head: Affine
    phases: NDArray[np.float64]
    brain: Brain
    skull: Skull

    @staticmethod
    def of(parameters: HeadParameters) -> Head:
        """Build every shape of one head."""
        phases = np.random.default_rng([parameters.seed, 3]).uniform(0, 2 * np.pi, 6)
        world_to_head = np.asarray(np.linalg.inv(head_to_world(parameters)), np.float64)
        return Head(parameters, world_to_head, phases, Brain.of(parameters), Skull.of(parameters))

    def may_touch(self, corners: NDArray[np.float64], affine: Affine) -> bool:
        """Whether a block of voxels can meet the head.

        Args:
            corners: First and last index along each axis, (3, 2).
            affine: Voxel index to RAS+ mm.
        """
        index = np.array([[*p, 1.0] for p in np.array(np.meshgrid(*corners)).reshape(3, -1).T])
        points = (self.world_to_head @ affine @ index.T)[:3].T / np.array(self.parameters.scale)
        low, high = points.min(axis=0), points.max(axis=0)
        return bool((low < _DOMAIN[1]).all() and (high > _DOMAIN[0]).all())

    def labels(
        self, x: NDArray[np.float64], y: NDArray[np.float64], z: NDArray[np.float64]
    ) -> NDArray[np.int16]:
        """Label points of the world, each coordinate (N,) mm."""
        rigid: Points = tuple(  # type: ignore[assignment]
            np.asarray(row[0] * x + row[1] * y + row[2] * z + row[3], np.float32)
            for row in self.world_to_head[:3]
        )
        points = self._to_average(rigid)
        labels = np.zeros(x.shape, np.int16)
        surface = self.skull.surface(points)
        head = np.flatnonzero(surface < 0)
        if head.size == 0:
            return labels
        points, surface = _take(points, head), surface[head]
        cavity = self.skull.cavity(points)
        found = np.empty(head.size, np.int16)
        within = np.flatnonzero((cavity < 0) & (surface < -8.0))
        outside = np.flatnonzero((cavity >= 0) | (surface >= -8.0))
        if outside.size:
            shell = np.maximum(cavity[outside], 0.0)
            found[outside] = self.skull.paint(_take(points, outside), shell, surface[outside])
        if within.size:
            local = _take(points, within)
            inner = self.brain.paint(local)
            self.skull.paint_vessels(local, cavity[within], inner)
            found[within] = inner
        for lesion in self.parameters.lesions:
            _paint_lesion(lesion, _take(rigid, head), found)
        labels[head] = found
        return labels

    def _to_average(self, rigid: Points) -> Points:
        """Undo size and deformation: the head's own frame to the average head's frame."""
        x, y, z = (values / np.float32(s) for values, s in zip(rigid, self.parameters.scale, strict=True))
        amplitude, asymmetry = np.float32(self.parameters.warp_mm), np.float32(self.parameters.asymmetry)
        p = self.phases.astype(np.float32)
        side = np.abs(x)
        bent_y = y + amplitude * (np.sin(z / 31 + p[0]) + np.float32(0.6) * np.sin(side / 23 + p[1]))
        bent_z = z + amplitude * (np.sin(y / 37 + p[2]) + np.float32(0.6) * np.sin(side / 27 + p[3]))
        wobble = np.sin(y / 40 + p[4]) + np.float32(0.6) * np.sin(z / 33 + p[5])
        bent_x = x + np.float32(0.5) * amplitude * asymmetry * wobble
        return bent_x, bent_y, bent_z


def _paint_lesion(lesion: Lesion, points: Points, labels: NDArray[np.int16]) -> None:
    near = np.ones(labels.shape, bool)
    for values, middle, semi in zip(points, lesion.centre_mm, lesion.semi_axes_mm, strict=True):
        near &= np.abs(values - np.float32(middle)) < np.float32(semi * 1.3)
    chosen = np.flatnonzero(near)
    if chosen.size == 0:
        return
    offsets = [
        (values[chosen] - np.float32(middle)) / np.float32(semi)
        for values, middle, semi in zip(points, lesion.centre_mm, lesion.semi_axes_mm, strict=True)
    ]
    level = np.sqrt(sum(offset * offset for offset in offsets))
    u, v, w = (offset / np.maximum(level, np.float32(1e-3)) for offset in offsets)
    lobes = np.sin(3 * u + 2 * v) + np.sin(4 * v - 2 * w + 1) + np.sin(3 * w + 3 * u + 2)
    level = level * (1 + np.float32(lesion.irregularity / 2) * lobes)
    old = labels[chosen]
    white = (old == 2) | (old == 41)
    if lesion.kind == "plaque":
        labels[chosen[white & (level < 1)]] = 77
        return
    tissue = white | np.isin(old, (3, 42, 24))
    labels[chosen[white & (level < 1)]] = 9003
    labels[chosen[tissue & (level < 0.62)]] = 9002
    labels[chosen[tissue & (level < 0.45)]] = 9001


def _take(points: Points, chosen: NDArray[np.intp]) -> Points:
    return points[0][chosen], points[1][chosen], points[2][chosen]
