"""Where one scan lies relative to another: rigid registration by mutual information."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ImageError
from runtime.volume import Affine, Volume

__all__ = ["Alignment", "align"]

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_WORKING_MM = 2.0
_BINS = 32
_WORK_UNITS = 4
"""Fixed, so that sums are split the same way whatever the number of threads."""
_HOUNSFIELD_WINDOW = (-200.0, 400.0)
_LEAST_SIMILARITY = 0.12
_LEAST_OVERLAP = 0.4


@dataclass(frozen=True)
class Alignment:
    """A rigid registration and how far to believe it.

    Attributes:
        world: RAS+ mm of the fixed image to RAS+ mm of the moving one, (4, 4) rigid.
        residual_mm: Estimated error. The registration is run once more with the images swapped,
            from a start of its own; this is the mean distance over the head between the two
            answers. It sees what noise, sampling and local optima do to the answer, not an error
            that both directions share (a distorted image, for example).
        similarity: Mutual information at the answer, nats; about 0.02 for unrelated images and
            0.3 to 1 for two scans of one head.
        overlap: Share of the fixed image's head that falls inside the moving image, 0…1.
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


@dataclass(frozen=True)
class _Prepared:
    """An image ready for registration: about 2 mm voxels, windowed, with its head.

    Attributes:
        voxels: (I, J, K) float32 in 0…1.
        affine: Voxel index to LPS mm.
        head: Voxels of the head and the air close to it.
        centre: Centre of the head, LPS mm, (3,).
    """

    voxels: NDArray[np.float32]
    affine: Affine
    head: NDArray[np.bool_]
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

    def points(self) -> NDArray[np.float64]:
        """Some points of the head, (n, 4) LPS mm."""
        index = np.argwhere(self.head)[::97]
        return np.asarray(np.c_[index, np.ones(len(index))] @ self.affine.T)


def align(moving: Volume, fixed: Volume, threads: int, seed: int = 0) -> Alignment:
    """Find the rigid motion between two scans of one head, of any contrast.

    Euler angles and shifts maximise Mattes' mutual information over three resolutions. The
    search starts from equal scanner coordinates and from equal centres of the head, and goes on
    from the better. Samples are taken on a regular lattice, so equal input gives an equal answer.

    Args:
        moving: The scan to bring over.
        fixed: The scan that stays.
        threads: Threads to use.
        seed: Seed of the optimiser's scale estimation and sampling.

    Raises:
        ImageError: An image is constant, or its axes are not at right angles.
    """
    begin = time.perf_counter()
    still, other = _prepare(fixed, "fixed"), _prepare(moving, "moving")
    settings = (threads, seed)
    forward, similarity, start = _register(still, other, settings)
    backward, _, _ = _register(other, still, settings)
    points = still.points()
    there = points @ forward.T
    back = points @ np.linalg.inv(backward).T
    residual = float(np.linalg.norm((there - back)[:, :3], axis=1).mean())
    index = there @ np.linalg.inv(other.affine).T
    inside = ((index[:, :3] >= -0.5) & (index[:, :3] <= np.array(other.voxels.shape) - 0.5)).all(axis=1)
    return Alignment(
        world=np.asarray(_LPS @ forward @ _LPS),
        residual_mm=residual,
        similarity=similarity,
        overlap=float(inside.mean()),
        method=f"rigid, Mattes mutual information, started from {start}",
        seconds=time.perf_counter() - begin,
    )


def _prepare(volume: Volume, name: str) -> _Prepared:
    axes = volume.affine[:3, :3] / volume.spacing_mm
    if np.abs(axes.T @ axes - np.eye(3)).max() > 1e-3:
        raise ImageError(f"the {name} image's axes are not at right angles; resample it before aligning")
    factors = [max(1, round(_WORKING_MM / spacing)) for spacing in volume.spacing_mm]
    factors = [min(factor, size) for factor, size in zip(factors, volume.voxels.shape, strict=True)]
    voxels = _block_mean(volume.voxels, factors) * np.float32(volume.slope) + np.float32(volume.intercept)
    affine = _LPS @ volume.affine
    affine[:3, 3] += affine[:3, :3] @ ((np.array(factors) - 1) / 2)
    affine[:3, :3] *= factors
    if voxels.min() < -500:  # only Hounsfield units go that low
        low, high = _HOUNSFIELD_WINDOW
    else:
        low, high = (float(value) for value in np.percentile(voxels[::2, ::2, ::2], (1.0, 99.5)))
    if not high > low:
        raise ImageError(f"the {name} image is constant; there is nothing to align")
    scaled = np.clip((voxels - np.float32(low)) / np.float32(high - low), 0.0, 1.0)
    tissue = scaled > _otsu(scaled)
    head = _near(tissue, [max(1, round(8.0 / size)) for size in np.linalg.norm(affine[:3, :3], axis=0)])
    middle = np.array(
        [np.average(np.arange(n), weights=_profile(tissue, a)) for a, n in enumerate(tissue.shape)]
    )
    return _Prepared(scaled, affine, head, affine[:3, :3] @ middle + affine[:3, 3])


def _profile(mask: NDArray[np.bool_], axis: int) -> NDArray[np.float64]:
    others = tuple(other for other in range(3) if other != axis)
    return np.asarray(mask.sum(axis=others, dtype=np.float64)) + 1e-9


def _block_mean(voxels: NDArray[Any], factors: list[int]) -> NDArray[np.float32]:
    result: NDArray[Any] = voxels
    for axis, factor in enumerate(factors):
        if factor > 1:
            kept = result.shape[axis] // factor * factor
            moved = np.moveaxis(result, axis, 0)[:kept]
            total = moved[0::factor].astype(np.float32)
            for offset in range(1, factor):
                total += moved[offset::factor]
            result = np.moveaxis(total / np.float32(factor), 0, axis)
    return np.ascontiguousarray(result, np.float32)


def _otsu(scaled: NDArray[np.float32]) -> float:
    """The threshold that splits 0…1 into two classes.

    Source: N. Otsu, "A threshold selection method from gray-level histograms", 1979.
    """
    counts = np.histogram(scaled, bins=128, range=(0.0, 1.0))[0].astype(np.float64)
    middles = (np.arange(128) + 0.5) / 128
    below, mass = np.cumsum(counts), np.cumsum(counts * middles)
    above = below[-1] - below
    spread = (mass[-1] * below / below[-1] - mass) ** 2 / np.maximum(below * above, 1.0)
    return float(middles[np.argmax(spread)]) * 0.7


def _near(mask: NDArray[np.bool_], reach: list[int]) -> NDArray[np.bool_]:
    """Voxels within a box of `reach` voxels around the mask."""
    near = mask.copy()
    for axis, count in enumerate(reach):
        grown = np.moveaxis(near, axis, 0)
        source = grown.copy()
        for step in range(1, min(count, len(source) - 1) + 1):
            grown[step:] |= source[:-step]
            grown[:-step] |= source[step:]
    return near


def _register(fixed: _Prepared, moving: _Prepared, settings: tuple[int, int]) -> tuple[Affine, float, str]:
    """Register one way; returns LPS fixed → LPS moving, mutual information, and the start taken."""
    import SimpleITK as sitk

    images = (
        fixed.image(fixed.voxels),
        moving.image(moving.voxels),
        fixed.image(fixed.head.astype(np.uint8)),
    )
    starts = {"scanner coordinates": np.zeros(3), "centres of the head": moving.centre - fixed.centre}
    found = []
    for name, shift in starts.items():
        transform = sitk.Euler3DTransform()
        transform.SetCenter(fixed.centre.tolist())
        transform.SetTranslation(shift.tolist())
        found.append((*_optimise(images, transform, settings, (4,), 0.30), name))
    transform, _, name = min(found, key=lambda item: item[1])
    transform, value = _optimise(images, transform, settings, (2, 1), 0.10)
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(transform.GetMatrix()).reshape(3, 3)
    centre = np.array(transform.GetCenter())
    matrix[:3, 3] = np.array(transform.GetTranslation()) + centre - matrix[:3, :3] @ centre
    return matrix, -value, name


def _optimise(
    images: tuple[Any, Any, Any],
    transform: Any,
    settings: tuple[int, int],
    shrink: tuple[int, ...],
    share: float,
) -> tuple[Any, float]:
    """Improve a transform; returns it and the metric (negative mutual information)."""
    import SimpleITK as sitk

    threads, seed = settings
    fixed, moving, head = images
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(threads)
    method.SetNumberOfWorkUnits(_WORK_UNITS)
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricFixedMask(head)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(share, seed + 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel(shrink)
    method.SetSmoothingSigmasPerLevel([float(factor) if factor > 1 else 0.0 for factor in shrink])
    method.SetSmoothingSigmasAreSpecifiedInPhysicalUnits(True)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=4.0 if shrink[0] > 2 else 1.0,
        minStep=0.02,
        numberOfIterations=100,
        relaxationFactor=0.5,
        gradientMagnitudeTolerance=1e-5,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(sitk.Euler3DTransform(transform), inPlace=False)
    result = sitk.Euler3DTransform(sitk.CompositeTransform(method.Execute(fixed, moving)).GetBackTransform())
    return result, float(method.GetMetricValue())
