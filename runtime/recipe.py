"""How a network that was made elsewhere sees a scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Recipe"]


@dataclass(frozen=True)
class Recipe:
    """How a network of others is shown a scan and how its answer is read.

    Its image has the axes of the scan, in an order and with directions of its own: nothing is rotated. It
    is resampled as a whole and covered by tiles of one size; where it is smaller, 0 is put around it.

    Attributes:
        axes: Directions in which its axes grow, three letters such as "RAS" or "SRA": each axis of the scan
            is taken for the one it is nearest to. Or "stored": as files have them, slices first, then rows.
        order: Of the stored axes: axis n of the image is axis `order[n]` of the scan; (0, 1, 2) with letters.
        crop: `nonzero`: only the box of what is not 0 in any channel is seen, all else is background.
        resampling: `field`: old and new voxels fill the same box, cubic splines; where one axis is more than
            three times as coarse as the others, that one by nearest voxels, as scores are on the way back.
            `centres`: first voxels have the same centre, linear interpolation.
        normalised: On the voxels of the scan, before resampling, or on those of the grid.
        tiles: `even`: spread evenly. `steps`: all one step apart, the last one touches the border.
        weight: Trust in a tile's voxels: `gaussian`, highest at voxel size // 2; `gaussian_centred`, highest
            at (size - 1) / 2; or `constant`.
        mirror: Axes of a tile that are also shown mirrored, in every combination; the mean counts.
        activation: Of blended scores, before they are resampled.

    Source:
        `field`, `even` and `gaussian` are nnU-Net v2's rules, `centres`, `steps` and the others MONAI's
        (`Spacing`, `sliding_window_inference`).
    """

    axes: str = "RAS"
    order: tuple[int, int, int] = (0, 1, 2)
    crop: Literal["nonzero", "none"] = "none"
    resampling: Literal["field", "centres"] = "centres"
    normalised: Literal["scan", "grid"] = "grid"
    tiles: Literal["even", "steps"] = "steps"
    weight: Literal["gaussian", "gaussian_centred", "constant"] = "gaussian_centred"
    mirror: tuple[int, ...] = ()
    activation: Literal["none", "softmax", "sigmoid"] = "none"
