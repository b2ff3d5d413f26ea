"""Tissues and a look become the pictures that the vision network is given."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from runtime.language.views import CT_WINDOW_HU, MR_FOREGROUND
from training.writer.looks import Look
from training.writer.scan import Scan
from training.writer.slices import NOTHING, Slices, enlarge, mean_of_fine

__all__ = ["Painted", "paint"]

_KNOTS = 5
"""Of smooth brightening, along each side of a picture; texture has more."""
_TEXTURE_KNOTS = 25

_LEAST_POINTS = 200
"""Of a scan, to tell how bright it is; with fewer, its pictures do."""

Pictures = NDArray[np.float32]
"""(V, size, size), 0 to 1."""


class Painted:
    """Pictures, and the same without noise, to see what of a lesion shows.

    Attributes:
        shown: Pictures as the network gets them.
        clean: Without noise, brightening and texture.
        white: Brightness of white matter in `clean`.
        noise: Standard deviation of a pixel's noise.
    """

    def __init__(self, shown: Pictures, clean: Pictures, white: float, noise: float) -> None:
        self.shown, self.clean, self.white, self.noise = shown, clean, white, noise


def _smooth(random: Generator, count: int, size: int, knots: int) -> Pictures:
    """Smooth noise, one field for each picture."""
    to_pixels = enlarge(size, knots)
    return np.asarray(to_pixels @ random.standard_normal((count, knots, knots), np.float32) @ to_pixels.T)


def _blurred(pictures: Pictures, share: float) -> Pictures:
    if not share:
        return pictures
    rows = pictures.copy()
    rows[:, 1:] += pictures[:, :-1]
    rows[:, :-1] += pictures[:, 1:]
    both = rows.copy()
    both[:, :, 1:] += rows[:, :, :-1]
    both[:, :, :-1] += rows[:, :, 1:]
    return np.asarray(pictures * np.float32(1 - share) + both * np.float32(share / 9))


def _deviation(scan: Scan, slices: Slices, noise: float) -> NDArray[np.float32]:
    """Of a pixel's noise, (V, 1, 1): it is the mean of the voxels that it covers."""
    voxels = [
        np.prod([max(1.0, slices.pixel_mm / scan.spacing_mm[n]) for n in range(3) if n != axis])
        for axis, _ in scan.places
    ]
    return np.asarray((noise / np.sqrt(np.array(voxels)))[:, None, None], np.float32)


def _bright(scan: Scan, look: Look, voxels: NDArray[np.float32], random: Generator) -> float:
    """What is shown as white, as `runtime.language.views` finds it in the whole scan."""
    some = look.means[scan.kinds] if len(scan.kinds) >= _LEAST_POINTS else voxels[:, ::5, ::5].ravel()
    some = np.abs(some + look.noise * random.standard_normal(some.shape, np.float32))
    some.sort()
    threshold = MR_FOREGROUND * some[int(0.99 * (len(some) - 1))]
    first = int(np.searchsorted(some, threshold, side="right"))
    return float(max(some[min(first + int(0.995 * (len(some) - first)), len(some) - 1)], 1e-6))


def paint(slices: Slices, scan: Scan, look: Look, random: Generator) -> Painted:
    """Paint every picture of a scan.

    Args:
        slices: The tissues that it shows.
        scan: Where they come from.
        look: How it shows them.
        random: Where chance comes from.
    """
    table = np.append(look.means, np.float32(-1000 if look.modality == "CT" else 0)).astype(np.float32)
    voxels = table[slices.tissues[0]]
    voxels += table[slices.tissues[1]]
    voxels *= np.float32(0.5)
    deviation = _deviation(scan, slices, look.noise)
    count, size = len(voxels), slices.size
    noise = deviation * random.standard_normal((count, size, size), np.float32)
    if look.modality == "CT":
        return _paint_ct(voxels, look, noise, random)
    bright = _bright(scan, look, voxels, random) / look.gain
    seen = mean_of_fine((slices.tissues[0] != NOTHING).astype(np.float32))
    clean = mean_of_fine(voxels)
    image = np.sqrt(clean**2 + np.float32((1.25 * look.floor * look.noise) ** 2)) + noise
    image *= np.exp(np.float32(look.bias) * _smooth(random, count, size, _KNOTS))
    image *= 1 + np.float32(look.texture) * _smooth(random, count, size, _TEXTURE_KNOTS)
    image = _blurred(np.abs(image) * seen, look.blur) * np.float32(1 / bright)
    power = np.float32(look.power)
    shown = np.minimum(image, 1) ** power
    white = min(float(look.means[1]) / bright, 1.0) ** look.power
    pixel_noise = float(deviation.min()) / bright
    return Painted(shown, np.minimum(clean / np.float32(bright), 1) ** power, white, pixel_noise)


def _paint_ct(voxels: NDArray[np.float32], look: Look, noise: Pictures, random: Generator) -> Painted:
    low, high = (np.float32(value) for value in CT_WINDOW_HU)
    reach = high - low
    clean = mean_of_fine(np.clip((voxels - low) / reach, 0, 1))
    uneven = np.float32(look.texture) * _smooth(random, len(noise), noise.shape[1], _KNOTS)
    inside = (clean > 0.02) & (clean < 0.98)  # what the window cuts off shows no noise
    image = _blurred(clean + (noise + uneven) * inside / reach, look.blur)
    white = float((look.means[1] - low) / reach)
    return Painted(np.clip(image, 0, 1), clean, white, float(np.std(noise) / reach))
