"""The search behind `align`: maximise mutual information over rigid motions with SimpleITK.

Everything here is in LPS millimetres, SimpleITK's world; `align` converts at its border.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ImageError
from runtime.volume import Affine

__all__ = ["Found", "HeadImage", "block_mean", "coarser_affine", "middle_of", "search"]

_LEAST_INTERIOR_VOXELS = 1500
_FARTHEST_REFINEMENT_MM = 6.0


@dataclass(frozen=True)
class _Level:
    """One resolution: voxel size and the optimiser's first and last step, all in mm."""

    voxel_mm: float
    first_step_mm: float
    last_step_mm: float


_COARSE = _Level(8.0, 4.0, 0.05)
_MEDIUM = _Level(4.0, 1.0, 0.02)
_FINE = _Level(2.0, 0.5, 0.005)
_BINS = 24


def block_mean(voxels: NDArray[Any], factors: list[int]) -> NDArray[np.float32]:
    """Mean over blocks of voxels; an incomplete block at the end of an axis is left out."""
    result: NDArray[Any] = voxels
    for axis, factor in enumerate(factors):
        if factor > 1:
            moved = np.moveaxis(result, axis, 0)[: result.shape[axis] // factor * factor]
            total = moved[0::factor].astype(np.float32)
            for offset in range(1, factor):
                total += moved[offset::factor]
            result = np.moveaxis(total / np.float32(factor), 0, axis)
    return np.ascontiguousarray(result, np.float32)


def coarser_affine(affine: Affine, factors: list[int]) -> Affine:
    """The affine of blocks of voxels from that of the voxels."""
    coarser = np.array(affine, np.float64)
    coarser[:3, 3] += affine[:3, :3] @ ((np.array(factors) - 1) / 2)
    coarser[:3, :3] *= factors
    return coarser


@dataclass(frozen=True)
class HeadImage:
    """An image ready for registration: about 2 mm voxels, windowed, with its head.

    Attributes:
        voxels: (I, J, K) float32 in 0…1.
        affine: Voxel index to LPS mm.
        head: Voxels of the head and of the air close to it.
        interior: Voxels well inside the head, where brain is and scalp and face are not.
        centre: Centre of the head, LPS mm, (3,).
    """

    voxels: NDArray[np.float32]
    affine: Affine
    head: NDArray[np.bool_]
    interior: NDArray[np.bool_]
    centre: NDArray[np.float64]

    def image(self, voxels: NDArray[Any]) -> Any:
        """The SimpleITK image of an array on this grid."""
        import SimpleITK as sitk

        image = sitk.GetImageFromArray(np.ascontiguousarray(voxels.transpose(2, 1, 0)))
        spacing = np.linalg.norm(self.affine[:3, :3], axis=0)
        u, _, v = np.linalg.svd(self.affine[:3, :3] / spacing)
        image.SetSpacing(spacing.tolist())
        image.SetDirection((u @ v).ravel().tolist())
        image.SetOrigin(self.affine[:3, 3].tolist())
        return image

    def coarser(self, level: _Level) -> HeadImage:
        """The same head with voxels of about the level's size; axes that are coarser already stay."""
        size = np.linalg.norm(self.affine[:3, :3], axis=0)
        factors = [
            min(max(1, round(level.voxel_mm / s)), n) for s, n in zip(size, self.voxels.shape, strict=True)
        ]
        affine = coarser_affine(self.affine, factors)
        masks = [block_mean(mask, factors) >= 0.5 for mask in (self.head, self.interior)]
        return HeadImage(block_mean(self.voxels, factors), affine, masks[0], masks[1], self.centre)

    def points(self, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Centres of the voxels of a mask, (n, 4) LPS mm."""
        index = np.argwhere(mask)
        return np.asarray(np.c_[index, np.ones(len(index))] @ self.affine.T)


@dataclass(frozen=True)
class Found:
    """Where a search ended.

    Attributes:
        matrix: LPS mm of the fixed image to LPS mm of the moving one, (4, 4) rigid.
        similarity: Mutual information over the head, nats.
        start: The start that won.
        refined: Whether the interior of the head refined the answer.
    """

    matrix: Affine
    similarity: float
    start: str
    refined: bool


def search(fixed: HeadImage, moving: HeadImage) -> Found:
    """Register one way.

    Two starts are tried at the coarse level over the whole head; the better goes on. The last
    level looks only at the interior shared by both heads: the scalp's fat is shifted by the
    scanner (chemical shift) and the jaw moves.

    Raises:
        ImageError: No start makes the images overlap.
    """
    import SimpleITK as sitk

    coarse, medium = ((fixed.coarser(level), moving.coarser(level)) for level in (_COARSE, _MEDIUM))
    starts = {"scanner coordinates": np.zeros(3), "centres of the head": moving.centre - fixed.centre}
    found: list[tuple[float, str, Any]] = []
    for name, shift in starts.items():
        transform = sitk.Euler3DTransform()
        transform.SetCenter(fixed.centre.tolist())
        transform.SetTranslation(shift.tolist())
        better = _improve(coarse, coarse[0].head, transform, _COARSE)
        if better is not None:
            found.append((better[1], name, better[0]))
    if not found:
        raise ImageError("the two images do not overlap from any start; check that both show one head")
    value, name, transform = min(found, key=lambda item: item[0])
    better = _improve(medium, medium[0].head, transform, _MEDIUM)
    if better is not None:
        transform, value = better
    shared = _shared_interior(fixed, moving, _matrix(transform))
    refined = None
    if shared.sum() >= _LEAST_INTERIOR_VOXELS:
        refined = _improve((fixed, moving), shared, transform, _FINE)
    if refined is not None:
        points = fixed.points(shared)[::53]
        gap = (points @ (_matrix(refined[0]) - _matrix(transform)).T)[:, :3]
        if np.linalg.norm(gap, axis=1).mean() > _FARTHEST_REFINEMENT_MM:
            refined = None
    matrix = _matrix(transform if refined is None else refined[0])
    return Found(matrix, -value, name, refined is not None)


def _improve(
    images: tuple[HeadImage, HeadImage], mask: NDArray[np.bool_], transform: Any, level: _Level
) -> tuple[Any, float] | None:
    """Climb from a transform; returns the better one and the metric, None if the overlap is lost."""
    import SimpleITK as sitk

    fixed, moving = images
    method = sitk.ImageRegistrationMethod()
    # One work unit: with more, ITK adds up partial sums in whatever order its threads finish.
    method.SetNumberOfThreads(1)
    method.SetNumberOfWorkUnits(1)
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricFixedMask(fixed.image(mask.astype(np.uint8)))
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=level.first_step_mm,
        minStep=level.last_step_mm,
        numberOfIterations=200,
        relaxationFactor=0.8,
        gradientMagnitudeTolerance=1e-6,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(sitk.Euler3DTransform(transform), inPlace=False)
    try:
        result = method.Execute(fixed.image(fixed.voxels), moving.image(moving.voxels))
    except RuntimeError:  # ITK: all samples map outside the moving image
        return None
    best = sitk.Euler3DTransform(sitk.CompositeTransform(result).GetBackTransform())
    return best, float(method.GetMetricValue())


def _matrix(transform: Any) -> Affine:
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(transform.GetMatrix()).reshape(3, 3)
    centre = np.array(transform.GetCenter())
    matrix[:3, 3] = np.array(transform.GetTranslation()) + centre - matrix[:3, :3] @ centre
    return matrix


def _shared_interior(fixed: HeadImage, moving: HeadImage, matrix: Affine) -> NDArray[np.bool_]:
    """Voxels of the fixed image that lie in the interior of both heads."""
    index = np.argwhere(fixed.interior)
    to_moving = np.linalg.inv(moving.affine) @ matrix @ fixed.affine
    place = np.rint(np.c_[index, np.ones(len(index))] @ to_moving.T)[:, :3].astype(np.int64)
    inside = ((place >= 0) & (place < np.array(moving.interior.shape))).all(axis=1)
    inside[inside] = moving.interior[tuple(place[inside].T)]
    shared = np.zeros_like(fixed.interior)
    shared[tuple(index[inside].T)] = True
    return shared


def middle_of(first: Affine, second: Affine, points: NDArray[np.float64]) -> Affine:
    """The rigid motion half-way between two close ones, exact in the mean over `points` (n, 4)."""
    mean = (first + second) / 2
    u, _, v = np.linalg.svd(mean[:3, :3])
    middle = np.eye(4)
    middle[:3, :3] = u @ np.diag([1.0, 1.0, np.linalg.det(u @ v)]) @ v
    centre = points.mean(axis=0)
    middle[:3, 3] = (mean @ centre)[:3] - middle[:3, :3] @ centre[:3]
    return middle
