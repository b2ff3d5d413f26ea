"""What an nnU-Net v2's plans and dataset say, as a recipe; what cannot be reproduced is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from export.about import About
from runtime.bundle import Channel, ModelGrid, Recipe
from runtime.errors import BundleError
from runtime.study import modality_named

__all__ = ["Planned", "planned"]

_STEP = 0.5
"""Of tiles: what nnU-Net's predictor does if not told otherwise."""
_LARGEST = 3e38
_STORED = ("SimpleITKIO", "NibabelIO")
_REORIENTED = "NibabelIOWithReorient"
_RESAMPLING = "resample_data_or_seg_to_shape"
_LEAST_SPREAD = 1e-8


@dataclass(frozen=True)
class Planned:
    """What plans decide.

    Attributes:
        configuration: With what it inherits, e.g. of "3d_fullres".
        channels: In order.
        grid: Voxel size and patch, in the order of the network's axes.
        recipe: Without mirroring.
        labels: Value to name, the background and what is ignored left out.
    """

    configuration: dict[str, Any]
    channels: tuple[Channel, ...]
    grid: ModelGrid
    recipe: Recipe
    labels: dict[int, str]


def planned(plans: dict[str, Any], dataset: dict[str, Any], name: str, about: About) -> Planned:
    """Read plans.

    Args:
        plans: `plans.json`.
        dataset: `dataset.json`.
        name: Of the configuration that was trained.
        about: What a person says of it.

    Raises:
        BundleError: Something in them cannot be reproduced; says what.
        KeyError: An entry is missing.
    """
    configuration = _inherited(plans, name)
    _refuse(configuration)
    patch, spacing = list(configuration["patch_size"]), list(configuration["spacing"])
    if len(patch) == 2:
        patch, spacing = [1, *patch], [0.0, *spacing]
    grid = ModelGrid(
        (float(spacing[0]), float(spacing[1]), float(spacing[2])),
        (int(patch[0]), int(patch[1]), int(patch[2])),
        1 - _STEP,
    )
    axes, order = _axes(plans, about)
    recipe = Recipe(axes, order, "nonzero", "field", "scan", "even", "gaussian", (), "none")
    channels = _channels(plans, dataset, configuration, about)
    return Planned(configuration, channels, grid, recipe, _labels(dataset))


def _inherited(plans: dict[str, Any], name: str) -> dict[str, Any]:
    """A configuration with what it inherits."""
    chain, known = [name], plans["configurations"]
    while parent := known[chain[-1]].get("inherits_from"):
        if parent in chain or parent not in known:
            raise BundleError(f"plans.json: configuration {name} inherits from {parent}, which cannot be")
        chain.append(parent)
    merged: dict[str, Any] = {}
    for entry in reversed(chain):
        merged |= known[entry]
    return merged


def _refuse(configuration: dict[str, Any]) -> None:
    """Refuse what our preprocessing does not do."""
    if configuration.get("previous_stage"):
        raise BundleError("plans.json: a cascade's second stage needs the first one's labels; not supported")
    preprocessor = configuration.get("preprocessor_name", "DefaultPreprocessor")
    if preprocessor != "DefaultPreprocessor":
        raise BundleError(f"plans.json: preprocessor {preprocessor} is not nnU-Net's own; not supported")
    for what, order in (("data", 3), ("probabilities", 1)):
        function = configuration[f"resampling_fn_{what}"]
        given = configuration[f"resampling_fn_{what}_kwargs"]
        wanted = {"is_seg": False, "order": order, "order_z": 0, "force_separate_z": None}
        if function != _RESAMPLING or given != wanted:
            raise BundleError(
                f"plans.json: {what} are resampled by {function} with {given}; only {_RESAMPLING} with "
                f"{wanted} is supported"
            )


def _axes(plans: dict[str, Any], about: About) -> tuple[str, tuple[int, int, int]]:
    """Axes and order of a recipe."""
    i, j, k = (int(axis) for axis in plans["transpose_forward"])
    reader = plans["image_reader_writer"]
    if about.axes is not None:
        return about.axes, (0, 1, 2)
    if reader in _STORED:
        return "stored", (i, j, k)
    if reader == _REORIENTED:
        letters = "SAR"  # nibabel's RAS, read backwards
        return letters[i] + letters[j] + letters[k], (0, 1, 2)
    raise BundleError(
        f"plans.json: images were read by {reader}; only {', '.join((*_STORED, _REORIENTED))} are"
    )


def _channels(
    plans: dict[str, Any], dataset: dict[str, Any], configuration: dict[str, Any], about: About
) -> tuple[Channel, ...]:
    names = dataset.get("channel_names") or dataset["modality"]
    said = [names[key] for key in sorted(names, key=int)]
    if about.modalities and len(about.modalities) != len(said):
        raise BundleError(
            f"the sidecar names {len(about.modalities)} modalities, the network sees {len(said)}"
        )
    properties = plans.get("foreground_intensity_properties_per_channel", {})
    masks = configuration["use_mask_for_norm"]
    channels = []
    for index, name in enumerate(said):
        word = about.modalities[index] if about.modalities else str(name)
        modality = modality_named(word)
        if modality is None or modality == "other":
            raise BundleError(
                f"dataset.json calls channel {index} {word!r}, which says nothing that a scan is known by; "
                'give a sidecar with "modalities", each of T1, T1c, T2, FLAIR, CT'
            )
        scheme = configuration["normalization_schemes"][index]
        kind, low, high, clamp = _scheme(scheme, bool(masks[index]), properties.get(str(index), {}))
        channels.append(Channel(modality, kind, low, high, clamp, required=True))
    return tuple(channels)


def _scheme(
    scheme: str, masked: bool, seen: dict[str, float]
) -> tuple[Any, float, float, tuple[float, float]]:
    """A normalisation scheme in the words of a channel.

    Source:
        nnU-Net's `default_normalization_schemes`.
    """
    free = (-_LARGEST, _LARGEST)
    if scheme == "ZScoreNormalization":
        return "body_z_score" if masked else "mean_std", 0.0, 1.0, free
    if scheme == "NoNormalization":
        return "window", 0.0, 1.0, free
    if scheme == "RescaleTo01Normalization":
        return "min_max", 0.0, 1.0, free
    if scheme == "CTNormalization":
        mean, spread = float(seen["mean"]), max(float(seen["std"]), _LEAST_SPREAD)
        low, high = ((float(seen[f"percentile_{n}"]) - mean) / spread for n in ("00_5", "99_5"))
        return "window", mean, mean + spread, (low, high)
    raise BundleError(f"plans.json: normalisation {scheme} is not supported")


def _labels(dataset: dict[str, Any]) -> dict[int, str]:
    """Value to name."""
    labels = dict(dataset["labels"])
    labels.pop("ignore", None)
    if any(isinstance(value, list) and len(value) > 1 for value in labels.values()):
        raise BundleError(
            "dataset.json: its labels are regions that overlap (trained with regions_class_order); "
            "not supported, since a label map has one value a voxel by argmax"
        )
    values = {int(value[0] if isinstance(value, list) else value): name for name, value in labels.items()}
    if sorted(values) != list(range(len(labels))):
        raise BundleError(f"dataset.json: label values are {sorted(values)}, not 0 to {len(labels) - 1}")
    return {value: values[value] for value in sorted(values) if value}
