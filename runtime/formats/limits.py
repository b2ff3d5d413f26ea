"""How large an input may be before it is taken for damage or an attack."""

from __future__ import annotations

__all__ = ["MAXIMUM_ARCHIVE_BYTES", "MAXIMUM_ARCHIVE_FILES", "MAXIMUM_VOXELS", "plausible_spacing"]

MAXIMUM_VOXELS = 2**30
"""Voxels of one volume; 1024 x 1024 x 1024."""

MAXIMUM_ARCHIVE_FILES = 50_000
"""Members of one archive."""

MAXIMUM_ARCHIVE_BYTES = 8 * 2**30
"""Unpacked size of one archive, in bytes."""

_SPACING_RANGE_MM = (0.01, 50.0)


def plausible_spacing(spacing_mm: tuple[float, ...]) -> bool:
    """Whether every voxel size lies between 0.01 and 50 mm, which every head or body scan does."""
    low, high = _SPACING_RANGE_MM
    return all(low <= value <= high for value in spacing_mm)
