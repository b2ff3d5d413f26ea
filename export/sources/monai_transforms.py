"""What a MONAI bundle does around its network, as a recipe; what cannot be reproduced is refused."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any, Literal

from export.sources.monai_config import arguments, target
from runtime.bundle import ModelGrid, Recipe
from runtime.errors import BundleError

__all__ = ["Intensity", "Seen", "read_inferer", "read_postprocessing", "read_preprocessing"]

_LARGEST = 3e38
_HARMLESS = {"LoadImage", "EnsureChannelFirst", "EnsureType", "CastToType", "ToTensor", "Identity"}
"""They change types and names, not values or places."""
_ALWAYS_IGNORED = {
    "keys",
    "allow_missing_keys",
    "meta_keys",
    "meta_key_postfix",
    "dtype",
    "lazy",
    "track_meta",
}
_STORED = (2, 1, 0)
"""MONAI's axes are those of the file, the fastest first; ours the slowest first."""


Activation = Literal["none", "softmax", "sigmoid"]


@dataclass(frozen=True)
class Intensity:
    """A normalisation in the words of a channel."""

    kind: str
    low: float
    high: float
    clamp: tuple[float, float]


@dataclass(frozen=True)
class Seen:
    """What a network is shown.

    Attributes:
        intensity: The same for every channel.
        spacing_mm: Along the network's axes; 0 keeps the scan's.
        recipe: Axes, resampling and order of normalisation; the rest is as by default.
    """

    intensity: Intensity
    spacing_mm: tuple[float, float, float]
    recipe: Recipe


def _transforms(config: dict[str, Any], where: str) -> list[tuple[str, dict[str, Any]]]:
    """Class and arguments of each transform of a chain, without the "d" of dictionary transforms."""
    chain: Any = config.get(where)
    if target(chain, where) != "Compose":
        raise BundleError(f"{where} is no Compose of transforms")
    listed = chain.get("transforms", [])
    if isinstance(listed, str):
        listed = config.get(listed.removeprefix("$").removeprefix("@"))
    if not isinstance(listed, list):
        raise BundleError(f"{where} has no list of transforms")
    found = []
    for number, entry in enumerate(listed):
        place = f"{where}::transforms::{number}"
        entry = _followed_entry(entry, config, place)
        if entry.get("_disabled_") in (True, "$true", "$True"):
            continue
        found.append((re.sub(r"(d|D|Dict)$", "", target(entry, place)), entry))
    return found


def _followed_entry(entry: Any, config: dict[str, Any], where: str) -> dict[str, Any]:
    """An entry, or what it refers to."""
    if isinstance(entry, str) and entry.startswith("@"):
        entry = config.get(entry[1:])
    if not isinstance(entry, dict):
        raise BundleError(f"{where} is no transform")
    return entry


def read_preprocessing(config: dict[str, Any], channels: int) -> Seen:
    """What happens to a scan before the network sees it.

    Args:
        config: The bundle's.
        channels: How many the network sees.

    Raises:
        BundleError: A transform, one of its arguments or their order is not supported.
    """
    intensity, spacing, axes, before = None, (0.0, 0.0, 0.0), "stored", False
    spaced = False
    for name, entry in _transforms(config, "preprocessing"):
        if name in _HARMLESS:
            continue
        given = arguments(entry, config, f"preprocessing, {name}", _ALWAYS_IGNORED)
        if name == "Orientation":
            axes = str(given.pop("axcodes", ""))
            given.pop("labels", None)
            if spaced and len(set(spacing)) > 1:
                raise BundleError("preprocessing: Orientation after a Spacing that differs between axes")
        elif name == "Spacing":
            spaced, spacing = True, _spacing(given)
        elif name in _INTENSITIES:
            if intensity is not None:
                raise BundleError(f"preprocessing: {name} is a second normalisation; one is supported")
            intensity, before = _INTENSITIES[name](given, channels), not spaced
        else:
            raise BundleError(f"preprocessing: {name} is not supported")
        if given:
            raise BundleError(f"preprocessing: {name} with {sorted(given)[0]!r} is not supported")
    if intensity is None:
        intensity = Intensity("window", 0.0, 1.0, (-_LARGEST, _LARGEST))
    recipe = Recipe(axes, _STORED if axes == "stored" else (0, 1, 2))
    if before and spaced:
        recipe = dataclasses.replace(recipe, normalised="scan")
    return Seen(intensity, spacing, recipe)


def _spacing(given: dict[str, Any]) -> tuple[float, float, float]:
    """Voxel size of a Spacing; what is left in `given` is not supported."""
    sizes = given.pop("pixdim")
    sizes = [float(size) for size in (sizes if isinstance(sizes, list) else [sizes])]
    sizes += [sizes[-1]] * (3 - len(sizes))
    allowed = {
        "mode": ("bilinear", 1),
        "padding_mode": ("border", "nearest"),
        "align_corners": (True, False, None),
        "scale_extent": (False,),
        "diagonal": (False,),
        "recompute_affine": (False,),
    }
    for key, values in allowed.items():
        value = given.get(key, values[0])
        if all(item in values for item in (value if isinstance(value, list) else [value])):
            given.pop(key, None)
    return max(sizes[0], 0.0), max(sizes[1], 0.0), max(sizes[2], 0.0)


def _apart(given: dict[str, Any], channels: int, name: str) -> None:
    """Refuse to measure several channels together."""
    if not given.pop("channel_wise", False) and channels > 1:
        raise BundleError(f"preprocessing: {name} of all channels together is not supported")


def _range(given: dict[str, Any], channels: int) -> Intensity:
    """ScaleIntensityRange: a window onto b_min…b_max, clipped or not."""
    low, high = float(given.pop("a_min")), float(given.pop("a_max"))
    b_min, b_max = given.pop("b_min", None), given.pop("b_max", None)
    clip = bool(given.pop("clip", False))
    b_min, b_max = (0.0, 1.0) if b_min is None or b_max is None else (float(b_min), float(b_max))
    unit = (high - low) / (b_max - b_min)  # of the scan, for 1 of the network
    zero = low - b_min * unit
    return Intensity("window", zero, zero + unit, (b_min, b_max) if clip else (-_LARGEST, _LARGEST))


def _normalise(given: dict[str, Any], channels: int) -> Intensity:
    """NormalizeIntensity: by mean and deviation, or by given numbers."""
    nonzero = bool(given.pop("nonzero", False))
    shift, scale = given.pop("subtrahend", None), given.pop("divisor", None)
    free = (-_LARGEST, _LARGEST)
    if shift is not None and scale is not None and not nonzero:
        shifts, scales = (item if isinstance(item, list) else [item] for item in (shift, scale))
        if len(set(shifts)) == len(set(scales)) == 1:
            given.pop("channel_wise", None)
            return Intensity("window", float(shifts[0]), float(shifts[0]) + float(scales[0]), free)
    if shift is not None or scale is not None:
        raise BundleError("preprocessing: NormalizeIntensity by numbers that differ between channels")
    _apart(given, channels, "NormalizeIntensity")
    return Intensity("z_score" if nonzero else "mean_std", 0.0, 1.0, free)


def _scale(given: dict[str, Any], channels: int) -> Intensity:
    """ScaleIntensity: smallest and largest become minv and maxv."""
    low, high = float(given.pop("minv", 0.0)), float(given.pop("maxv", 1.0))
    _apart(given, channels, "ScaleIntensity")
    return Intensity("min_max", low, high, (-_LARGEST, _LARGEST))


def _percentiles(given: dict[str, Any], channels: int) -> Intensity:
    """ScaleIntensityRangePercentiles onto 0…1."""
    low, high = float(given.pop("lower")), float(given.pop("upper"))
    if (given.pop("b_min", 0.0), given.pop("b_max", 1.0)) != (0.0, 1.0) or given.pop("relative", False):
        raise BundleError("preprocessing: ScaleIntensityRangePercentiles onto anything but 0…1")
    clamp = (0.0, 1.0) if given.pop("clip", False) else (-_LARGEST, _LARGEST)
    _apart(given, channels, "ScaleIntensityRangePercentiles")
    return Intensity("percentile", low, high, clamp)


_INTENSITIES = {
    "ScaleIntensityRange": _range,
    "NormalizeIntensity": _normalise,
    "ScaleIntensity": _scale,
    "ScaleIntensityRangePercentiles": _percentiles,
}


def read_inferer(config: dict[str, Any], seen: Seen) -> tuple[ModelGrid, Recipe]:
    """How tiles cover the image.

    Raises:
        BundleError: It is no sliding window with a fixed size, or has an argument that is not supported.
    """
    name = target(config.get("inferer"), "inferer")
    if name not in ("SlidingWindowInferer", "SlidingWindowInfererAdapt", "SliceInferer"):
        raise BundleError(f"inferer: {name} is not supported; SlidingWindowInferer and SliceInferer are")
    ignored = {"sw_batch_size", "sw_device", "device", "progress", "cache_roi_weight_map", "cpu_thresh"}
    given = arguments(config["inferer"], config, "inferer", ignored | {"buffer_steps", "buffer_dim"})
    roi = given.pop("roi_size")
    recipe, spacing = seen.recipe, seen.spacing_mm
    sides = 2 if name == "SliceInferer" else 3
    roi = [int(side) for side in (roi if isinstance(roi, list) else [roi] * sides)]
    if len(roi) != sides or min(roi) < 1:
        raise BundleError(f"inferer: roi_size {roi} is no fixed size of {sides} sides")
    if sides == 2:
        across = int(given.pop("spatial_dim", 0))
        recipe, spacing = _across(recipe, spacing, across)
        roi = [1, *roi]
    overlap = float(given.pop("overlap", 0.25))
    mode = str(given.pop("mode", "constant")).rpartition(".")[2].lower()
    plain = {"sigma_scale": 0.125, "padding_mode": "constant", "cval": 0, "roi_weight_map": None}
    given = {key: value for key, value in given.items() if key not in plain or value != plain[key]}
    if given or mode not in ("constant", "gaussian"):
        raise BundleError(f"inferer: {sorted(given)[0] if given else 'mode ' + mode} is not supported")
    recipe = dataclasses.replace(recipe, weight="gaussian_centred" if mode == "gaussian" else "constant")
    return ModelGrid(spacing, (roi[0], roi[1], roi[2]), overlap), recipe


def _across(
    recipe: Recipe, spacing: tuple[float, float, float], axis: int
) -> tuple[Recipe, tuple[float, float, float]]:
    """Recipe and spacing with the axis across slices put first."""
    order = [axis, *(n for n in range(3) if n != axis)]
    i, j, k = order
    if recipe.axes == "stored":
        recipe = dataclasses.replace(recipe, order=(recipe.order[i], recipe.order[j], recipe.order[k]))
    else:
        recipe = dataclasses.replace(recipe, axes="".join(recipe.axes[n] for n in order))
    return recipe, (spacing[i], spacing[j], spacing[k])


def read_postprocessing(config: dict[str, Any], seen: Seen) -> Activation:
    """What makes labels of scores: the recipe's activation.

    Raises:
        BundleError: A transform is not supported, or they come in an order that is not.
    """
    order: list[str] = []
    activation: Activation = "none"
    for name, entry in _transforms(config, "postprocessing"):
        if name in {*_HARMLESS, "SaveImage"}:
            continue
        where = f"postprocessing, {name}"
        if name == "Activations":
            given = arguments(entry, config, where, _ALWAYS_IGNORED)
            if bool(given.get("softmax")) == bool(given.get("sigmoid")) or given.get("other") is not None:
                raise BundleError(f"{where} is neither softmax nor sigmoid")
            activation = "softmax" if given.get("softmax") else "sigmoid"
        elif name == "Invert":
            given = arguments(entry, config, where, {*_ALWAYS_IGNORED, "transform", "device", "orig_keys"})
            if given.get("nearest_interp", True):
                raise BundleError(f"{where} with nearest_interp is not supported: scores are interpolated")
        elif name == "AsDiscrete":
            given = arguments(entry, config, where, _ALWAYS_IGNORED)
            cut = given.get("threshold")
            if not (given.get("argmax") or (activation == "sigmoid" and cut == 0.5)):
                raise BundleError(f"{where} is neither argmax nor threshold 0.5 after a sigmoid")
        else:
            raise BundleError(f"{where} is not supported")
        order.append(name)
    moved = seen.spacing_mm != (0.0, 0.0, 0.0) or seen.recipe.axes != "stored"
    wanted = [
        *(["Activations"] if activation != "none" else []),
        *(["Invert"] if moved else []),
        "AsDiscrete",
    ]
    if order != wanted:
        raise BundleError(
            f"postprocessing is {', '.join(order) or 'empty'}; only {', '.join(wanted)} is supported"
        )
    return activation
