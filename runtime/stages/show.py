"""Show a study to a network of others: crop, normalise and resample as its recipe says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.bundle import Manifest, Recipe
from runtime.errors import ImageError
from runtime.kernels import Kernels
from runtime.stages.frame import cut, held_axis, oriented, resampled
from runtime.stages.intensity import body, normalise
from runtime.stages.label import Window
from runtime.stages.place import Placed
from runtime.stages.prepare import Normalisation, prepare
from runtime.stages.regrid import regrid
from runtime.study import Series
from runtime.volume import Grid

__all__ = ["Shown", "show"]

_AS_IT_IS = Normalisation(0.0, 1.0)


@dataclass(frozen=True)
class Shown:
    """What a network of others is given.

    Attributes:
        image: (channels, I, J, K), missing channels 0.
        grid: Where it lies.
        gains: What each channel was multiplied by, by modality.
    """

    image: NDArray[np.float32]
    grid: Grid
    gains: dict[str, float]


def show(
    placed: tuple[Placed, ...], reference: Series, manifest: Manifest, recipe: Recipe, kernels: Kernels
) -> Shown:
    """Make the image of a network of others.

    Unlike `prepare`, this holds a scan as float32: such networks clip and measure before they resample.

    Args:
        placed: The study's channels.
        reference: The series whose axes the image has.
        manifest: Channels and voxel size.
        recipe: Of that manifest.
        kernels: Where to read the scans.

    Raises:
        ImageError: A scan is empty or constant, or the grid would be absurdly large.
    """
    whole = oriented(reference.volume.grid, recipe)
    used: dict[str, Placed] = {item.series.modality: item for item in placed if item.used}
    image = np.zeros((len(manifest.channels), *whole.shape), np.float32)
    for index, channel in enumerate(manifest.channels):
        if item := used.get(channel.modality):
            given = kernels.empty(whole.shape, np.float32)
            prepare(item.series.volume, whole, given, _AS_IT_IS, kernels, item.world)
            image[index] = kernels.to_host(given)
    box = whole
    if recipe.crop == "nonzero":
        window = _window(image)
        box = cut(whole, window)
        inner = (slice(None), *(slice(*side) for side in window))
        image = np.ascontiguousarray(image[inner])
    gains: dict[str, float] = {}
    if recipe.normalised == "scan":
        gains = _normalise(image, used, manifest)
    grid = resampled(box, recipe, manifest.grid.spacing_mm)
    image = _resample(image, box, grid, manifest, recipe)
    if recipe.normalised == "grid":
        gains = _normalise(image, used, manifest)
    return Shown(image, grid, gains)


def _normalise(image: NDArray[np.float32], used: dict[str, Placed], manifest: Manifest) -> dict[str, float]:
    """Every channel that is there, in place; returns their gains."""
    channels = manifest.channels
    masked = any(channel.normalisation == "body_z_score" for channel in channels)
    inside = body(image) if masked else None
    return {
        str(channel.modality): normalise(image[index], channel, inside)
        for index, channel in enumerate(channels)
        if channel.modality in used
    }


def _resample(
    image: NDArray[np.float32], box: Grid, grid: Grid, manifest: Manifest, recipe: Recipe
) -> NDArray[np.float32]:
    if recipe.resampling == "centres":
        return np.stack([regrid(values, box, grid, "linear") for values in image])
    wanted = np.array(manifest.grid.spacing_mm)
    held = held_axis(box.spacing_mm, np.where(wanted > 0, wanted, box.spacing_mm))
    if box.shape == grid.shape:
        return image
    return np.stack([regrid(values, box, grid, "spline", held) for values in image])


def _window(image: NDArray[np.float32]) -> Window:
    """The box of what is not 0 in any channel."""
    seen = (image != 0).any(axis=0)
    sides = []
    for axis in range(3):
        planes = np.flatnonzero(seen.any(axis=tuple(n for n in range(3) if n != axis)))
        if len(planes) == 0:
            raise ImageError("every voxel of this study is 0; it is empty or damaged")
        sides.append((int(planes[0]), int(planes[-1]) + 1))
    return sides[0], sides[1], sides[2]
