"""The rules of a bundle whose network comes from elsewhere: what its recipe, channels and tensors may be."""

from __future__ import annotations

from runtime.manifest import Channel, Manifest
from runtime.schema import SchemaError

__all__ = ["NORMALISATIONS", "check_recipe"]

NORMALISATIONS = ("window", "z_score", "percentile", "mean_std", "body_z_score", "min_max")
"""What a channel may ask for where there is a recipe."""

_DIRECTIONS = ({"R", "L"}, {"A", "P"}, {"S", "I"})


def _require(true: bool, message: str) -> None:
    if not true:
        raise SchemaError(message)


def check_recipe(manifest: Manifest) -> None:
    """Refuse a recipe that contradicts itself or the bundle around it.

    Raises:
        SchemaError: A rule is broken; the message gives the path to it.
    """
    recipe = manifest.recipe
    if recipe is None:
        known = {channel.normalisation for channel in manifest.channels}
        news = sorted(known & {"mean_std", "body_z_score", "min_max"})
        _require(not news, f"$.channels: {''.join(news[:1])} needs a recipe")
        return
    _require(manifest.instructions is None, "$.recipe: a bundle with instructions has none")
    letters = tuple(recipe.axes)
    lettered = len(letters) == 3 and all(len(set(letters) & pair) == 1 for pair in _DIRECTIONS)
    _require(lettered or recipe.axes == "stored", '$.recipe.axes: three directions as in "RAS", or "stored"')
    _require(sorted(recipe.order) == [0, 1, 2], "$.recipe.order: no permutation of 0, 1, 2")
    _require(recipe.order == (0, 1, 2) or not lettered, "$.recipe.order: letters give the order already")
    axes = _network_axes(manifest)
    mirrored = len(set(recipe.mirror)) == len(recipe.mirror) and set(recipe.mirror) <= set(axes)
    _require(mirrored, "$.recipe.mirror: an axis appears twice or is none of the network's")
    for channel in manifest.channels:
        _check_channel(channel, manifest)
    _check_tensors(manifest, axes)


def _network_axes(manifest: Manifest) -> tuple[int, ...]:
    """Axes of the image that the network sees: all, or those of a slice."""
    shape = manifest.encoder.inputs[0].shape if manifest.encoder.inputs else ()
    return (1, 2) if len(shape) == 4 else (0, 1, 2)


def _check_channel(channel: Channel, manifest: Manifest) -> None:
    kind, where = channel.normalisation, f"$.channels: {channel.normalisation} of {channel.modality}"
    _require(kind in NORMALISATIONS, f"{where} does not go with a recipe")
    if kind in ("mean_std", "body_z_score"):
        _require((channel.low, channel.high) == (0, 1), f"{where} needs low 0 and high 1")
    if kind == "body_z_score":
        fits = manifest.recipe is not None and manifest.recipe.normalised == "scan"
        _require(fits, f"{where} is measured on the scan")


def _check_tensors(manifest: Manifest, axes: tuple[int, ...]) -> None:
    network, tile = manifest.encoder, manifest.grid.tile_voxels
    _require(axes == (0, 1, 2) or tile[0] == 1, "$.grid: a network of slices has tiles of one slice")
    features = len(manifest.targets[0].vector) or len(manifest.targets)
    for tensor, maps in ((network.inputs[0], len(manifest.channels)), (network.outputs[0], features)):
        fits = tensor.shape[:2] == (1, maps) and len(tensor.shape) == 2 + len(axes)
        sides = zip(tensor.shape[2:], (tile[axis] for axis in axes), strict=True) if fits else ()
        fits = fits and all(side in (0, voxels) for side, voxels in sides)
        _require(fits, f"$.encoder: {tensor.name} does not fit channels, targets and tile")
