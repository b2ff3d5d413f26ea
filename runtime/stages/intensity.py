"""Normalise a channel as a recipe asks for, voxel by voxel in memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runtime.bundle import Channel
from runtime.errors import ImageError

__all__ = ["body", "normalise"]

_LEAST_SPAN = 1e-8
"""Of values that a scale may be measured from."""


def body(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """What is not 0 in any channel, holes filled.

    Args:
        image: (channels, I, J, K).

    Returns:
        (I, J, K).

    Source:
        nnU-Net's `create_nonzero_mask`: `scipy.ndimage.binary_fill_holes`, whose holes cannot be left
        across faces.
    """
    free = ~(image != 0).any(axis=0)
    outside = np.zeros_like(free)
    for axis in range(3):
        for end in (0, -1):
            border = tuple(end if n == axis else slice(None) for n in range(3))
            outside[border] |= free[border]
    reached = -1
    while (count := int(np.count_nonzero(outside))) != reached:
        reached = count
        for axis in range(3):
            planes, room = np.moveaxis(outside, axis, 0), np.moveaxis(free, axis, 0)
            for n in range(1, len(planes)):
                planes[n] |= planes[n - 1] & room[n]
            for n in range(len(planes) - 2, -1, -1):
                planes[n] |= planes[n + 1] & room[n]
    return np.asarray(~outside)


def normalise(image: NDArray[np.float32], channel: Channel, inside: NDArray[np.bool_] | None) -> float:
    """Normalise one channel in place.

    Args:
        image: (I, J, K), in rescaled units.
        channel: What the recipe's bundle asks for.
        inside: The body, for `body_z_score`.

    Returns:
        What values were multiplied by.

    Raises:
        ImageError: The scan is constant or empty; says which scan.
    """
    kind = channel.normalisation
    chosen: NDArray[np.bool_] | None = None
    if kind == "z_score":
        chosen = image != 0
    elif kind == "body_z_score":
        chosen = inside
    shift, gain, offset = _scale(image if chosen is None else image[chosen], channel)
    if chosen is None:
        image -= np.float32(shift)
        image *= np.float32(gain)
        image += np.float32(offset)
    else:
        image[chosen] = (image[chosen] - np.float32(shift)) * np.float32(gain)
    np.clip(image, np.float32(channel.clamp[0]), np.float32(channel.clamp[1]), out=image)
    return gain


def _scale(values: NDArray[np.float32], channel: Channel) -> tuple[float, float, float]:
    """What is subtracted, multiplied by and added."""
    kind, low, high = channel.normalisation, channel.low, channel.high
    if kind == "window":
        return low, 1.0 / (high - low), 0.0
    if values.size == 0:
        raise ImageError(f"the {channel.modality} scan has no voxel that is not 0; it is empty or damaged")
    if kind == "min_max":
        least, most = float(values.min()), float(values.max())
        shift, span, offset = least, (most - least) / (high - low), low
    elif kind == "percentile":
        least, most = (float(q) for q in np.percentile(values, (low, high)))
        shift, span, offset = least, most - least, 0.0
    else:
        shift, offset = float(values.mean(dtype=np.float64)), 0.0
        span = float(values.std(dtype=np.float64))
    if not span > _LEAST_SPAN:
        raise ImageError(f"the {channel.modality} scan is {shift:g} nearly everywhere; it shows nothing")
    return shift, 1.0 / span, offset
