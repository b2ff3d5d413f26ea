"""A 3-D image or label map and where it lies in the patient.

The axis rule, stated once: axis n of the array = column n of the affine = element n of
`spacing_mm`. Nobody reverses. World coordinates are RAS+ millimetres.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ImageError

__all__ = ["Affine", "Grid", "Labels", "Spacing", "Volume"]

Affine = NDArray[np.float64]
"""(4, 4), voxel index to RAS+ millimetres."""

Spacing = NDArray[np.float64]
"""(3,), millimetres between voxel centres, in the axis order of the array."""

_STORED_TYPES = ("int8", "uint8", "int16", "uint16", "int32", "float32")


@dataclass(frozen=True)
class Grid:
    """Where voxels lie: a shape and an affine, without any voxel.

    Attributes:
        shape: (I, J, K), voxels along each axis.
        affine: Voxel index to RAS+ millimetres, (4, 4).

    Raises:
        ImageError: The shape is not 3-D and positive, or the affine is singular or not finite.
    """

    shape: tuple[int, int, int]
    affine: Affine

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:  # type: ignore[redundant-expr]  # any array's shape
            raise ImageError(f"expected a 3-D image, got shape {self.shape}; split 4-D series first")
        if self.affine.shape != (4, 4) or not np.isfinite(self.affine).all():
            raise ImageError("the image affine is not a finite 4 x 4 matrix; the file's geometry is damaged")
        if abs(np.linalg.det(self.affine[:3, :3])) < 1e-9:
            raise ImageError("the image affine is singular; the file gives no usable voxel size")

    @property
    def spacing_mm(self) -> Spacing:
        """Distance between neighbouring voxel centres along each axis, (3,)."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3])) / 1000.0)

    def index_to(self, other: Grid, world: Affine | None = None) -> Affine:
        """Map voxel indices of this grid to voxel indices of another.

        Args:
            other: The grid to land on.
            world: RAS+ of this grid to RAS+ of `other`, (4, 4); identity when absent.

        Returns:
            (4, 4), index here to (fractional) index in `other`.
        """
        moved = self.affine if world is None else world @ self.affine
        return np.asarray(np.linalg.inv(other.affine) @ moved)

    def same_place_as(self, other: Grid, tolerance_mm: float = 1e-3) -> bool:
        """Whether every corner voxel of both grids lies within `tolerance_mm`."""
        if self.shape != other.shape:
            return False
        corner = np.array([[i, j, k, 1.0] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
        corner[:, :3] *= np.array(self.shape) - 1
        gap = (corner @ (self.affine - other.affine).T)[:, :3]
        return bool(np.abs(gap).max() <= tolerance_mm)


@dataclass(frozen=True)
class Volume:
    """Stored voxels, how to rescale them, and where they lie.

    The stored integers are kept: `value = slope * stored + intercept` is applied once, inside
    the fused *prepare* pass, so no rescaled copy of a scan ever exists.

    Attributes:
        voxels: (I, J, K), C-contiguous; int8, uint8, int16, uint16, int32 or float32.
        affine: (4, 4), voxel index to RAS+ millimetres.
        slope: Rescale slope (HU per stored unit for CT).
        intercept: Rescale intercept (HU for CT).
    """

    voxels: NDArray[Any]
    affine: Affine
    slope: float = 1.0
    intercept: float = 0.0

    def __post_init__(self) -> None:
        if self.voxels.ndim != 3:
            raise ImageError(f"expected a 3-D image, got shape {self.voxels.shape}; split 4-D series first")
        if self.voxels.dtype.name not in _STORED_TYPES or not self.voxels.dtype.isnative:
            raise ImageError(f"voxel type {self.voxels.dtype} is not supported; use one of {_STORED_TYPES}")
        if not self.voxels.flags.c_contiguous:
            raise ImageError("voxels must be C-contiguous; permute axes and affine columns together")
        if not (np.isfinite(self.slope) and np.isfinite(self.intercept)) or self.slope == 0:
            raise ImageError(f"rescale slope {self.slope} and intercept {self.intercept} are not usable")
        _ = self.grid

    @property
    def grid(self) -> Grid:
        """Shape and affine."""
        i, j, k = self.voxels.shape
        return Grid((i, j, k), self.affine)

    @property
    def spacing_mm(self) -> Spacing:
        """Distance between neighbouring voxel centres along each axis, (3,)."""
        return self.grid.spacing_mm


@dataclass(frozen=True)
class Labels:
    """One label value per voxel on a grid of the input.

    Attributes:
        voxels: (I, J, K), C-contiguous uint8; 0 is background.
        affine: (4, 4), voxel index to RAS+ millimetres.
        names: Label value to structure name, background left out.
    """

    voxels: NDArray[np.uint8]
    affine: Affine
    names: dict[int, str]

    def __post_init__(self) -> None:
        if self.voxels.ndim != 3 or self.voxels.dtype != np.uint8:
            raise ImageError(f"labels must be 3-D uint8, got {self.voxels.dtype} {self.voxels.shape}")
        _ = self.grid

    @property
    def grid(self) -> Grid:
        """Shape and affine."""
        i, j, k = self.voxels.shape
        return Grid((i, j, k), self.affine)
