"""Find the head in a scan, so that the network looks at it and not at air."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from runtime.bundle import ModelGrid
from runtime.errors import ImageError
from runtime.kernels import Kernels
from runtime.stages.prepare import Normalisation, prepare
from runtime.stages.statistics import statistics
from runtime.volume import Grid, Volume

__all__ = ["bounding_grid", "model_grid"]

_COARSE_MM = 4.0
_COARSE_SAMPLES = 4
"""Along each axis of a coarse voxel: the box of a head needs no more, and a turned scan costs them all."""
_MARGIN_MM = 8.0
_LEAST_MM2 = 400.0
"""A plane through the head shows at least this area; less is noise or a cable."""

_LARGEST_MM = 400.0
_LARGEST_SCAN_MM = 5000.0
_MOST_COARSE_VOXELS = 1 << 26
_CT_FOREGROUND_HU = -300.0


def bounding_grid(grid: Grid, spacing_mm: float) -> Grid:
    """The smallest RAS-aligned grid of a spacing that holds every voxel of another."""
    corners = np.array([[i, j, k, 1.0] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    corners[:, :3] = corners[:, :3] * np.array(grid.shape) - 0.5
    world = (corners @ grid.affine.T)[:, :3]
    low, high = world.min(axis=0), world.max(axis=0)
    i, j, k = (int(n) for n in np.maximum(1, np.ceil((high - low) / spacing_mm)))
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = low + spacing_mm / 2
    return Grid((i, j, k), affine)


def _without_sheets(foreground: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Foreground without what is at most two voxels thick (couch, head rest); heads keep their extent.

    An opening with a 3 x 3 x 3 box, in which everything outside the image counts as foreground.
    """
    eroded: NDArray[np.bool_] = foreground.copy()
    for axis in range(3):
        target, source = np.moveaxis(eroded, axis, 0), np.moveaxis(eroded.copy(), axis, 0)
        target[1:] &= source[:-1]
        target[:-1] &= source[1:]
    for axis in range(3):
        target, source = np.moveaxis(eroded, axis, 0), np.moveaxis(eroded.copy(), axis, 0)
        target[1:] |= source[:-1]
        target[:-1] |= source[1:]
    return eroded


def model_grid(reference: Volume, is_ct: bool, model: ModelGrid, multiple: int, kernels: Kernels) -> Grid:
    """The RAS-aligned grid of the network around the foreground of the reference scan.

    The scan is looked at on 4 mm voxels; foreground is above Otsu's threshold (MR) or above
    -300 HU (CT; sheets thinner than 12 mm, such as the couch, are left out). Planes that show less
    than 4 cm² of it are left out at the ends of each axis.

    Args:
        reference: The scan whose grid the labels are written on.
        is_ct: Whether its values are Hounsfield units.
        model: Voxel size of the network.
        multiple: Every side becomes divisible by this.
        kernels: Where to run.

    Raises:
        ImageError: Nothing stands out from the background, or it is larger than any head.
    """
    coarse = bounding_grid(reference.grid, _COARSE_MM)
    if max(coarse.shape) * _COARSE_MM > _LARGEST_SCAN_MM or math.prod(coarse.shape) > _MOST_COARSE_VOXELS:
        spans = " x ".join(f"{n * _COARSE_MM:.0f}" for n in coarse.shape)
        raise ImageError(f"the scan spans {spans} mm, which is not credible; check its voxel size")
    image = kernels.empty(coarse.shape, np.float32)
    threshold = _CT_FOREGROUND_HU if is_ct else statistics(reference, kernels).otsu()
    raw = Normalisation(0.0, 1.0, outside=-1e9)
    prepare(reference, coarse, image, raw, kernels, most_samples=_COARSE_SAMPLES)
    image = kernels.to_host(image)
    foreground = image > threshold
    if is_ct:
        foreground = _without_sheets(foreground)
    low, high = np.zeros(3), np.zeros(3)
    for axis in range(3):
        area = foreground.sum(axis=tuple(n for n in range(3) if n != axis)) * _COARSE_MM**2
        planes = np.flatnonzero(area >= _LEAST_MM2)
        if len(planes) == 0:
            raise ImageError("nothing stands out from the background of this scan; give a scan of a head")
        low[axis], high[axis] = planes[0] - 0.5, planes[-1] + 0.5
    origin = coarse.affine[:3, 3]
    low = origin + low * _COARSE_MM - _MARGIN_MM
    high = origin + high * _COARSE_MM + _MARGIN_MM
    inside_low = origin - _COARSE_MM / 2
    inside_high = origin + (np.array(coarse.shape) - 0.5) * _COARSE_MM
    low, high = np.maximum(low, inside_low), np.minimum(high, inside_high)
    if (high - low).max() > _LARGEST_MM:
        raise ImageError(
            f"the body in this scan spans {(high - low).max():.0f} mm; that is not a head, give a head scan"
        )
    spacing = np.array(model.spacing_mm)
    sides = np.maximum(1, np.ceil((high - low) / spacing / multiple)).astype(int) * multiple
    first = (low + high) / 2 - (sides - 1) / 2 * spacing
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = first
    i, j, k = (int(n) for n in sides)
    return Grid((i, j, k), affine)
