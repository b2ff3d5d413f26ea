"""A MONAI bundle: configs/metadata.json, configs/inference.json and the weights in models/."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import torch
from torch import nn

from export.about import About, structures
from export.checkpoint import read_checkpoint
from export.model import Description, SourceModel
from export.sources.monai_config import arguments, target
from export.sources.monai_transforms import Intensity, read_inferer, read_postprocessing, read_preprocessing
from export.sources.onnx_file import targets_for
from export.sources.torch_network import answer_of, write_network
from runtime.bundle import Channel
from runtime.errors import BundleError
from runtime.study import modality_named
from training.networks.sam.tensor_files import read_json

__all__ = ["read_monai"]

_HOME = "monai.networks.nets"
_WRAPPERS = ("state_dict", "model", "net", "network")


def read_monai(folder: Path, about: About, work: Path) -> SourceModel:
    """Read a MONAI bundle.

    Args:
        folder: Of the bundle.
        about: What a person says of it.
        work: A folder to write in.

    Raises:
        BundleError: Something is missing, damaged, or cannot be reproduced; says what.
    """
    metadata, config = (_object(folder / "configs" / f"{name}.json") for name in ("metadata", "inference"))
    try:
        described = _described(folder, metadata, config, about)
        network = _network(config)
    except BundleError as error:
        raise BundleError(f"{folder}: {error}") from None
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise BundleError(
            f"{folder}: metadata or configuration lack something ({type(error).__name__}: {error}); "
            "complete it as MONAI's specification of bundles says"
        ) from None
    _fill(network, folder)
    answer = answer_of(network)
    try:
        maps = answer(torch.zeros(1, len(described.channels), *described.sides).numpy()).shape[1]
        described = dataclasses.replace(described, targets=targets_for(maps, described))
    except (AttributeError, RuntimeError, BundleError) as error:
        raise BundleError(f"{folder}: the network does not fit its metadata ({error})") from None
    return SourceModel(described, write_network(network, described, work / "source.onnx"), answer, "torch")


def _object(path: Path) -> dict[str, Any]:
    if not path.is_file() and path.with_suffix(".yaml").is_file():
        raise BundleError(f"{path.with_suffix('.yaml')} is YAML, which is not read; write it as JSON")
    found = read_json(path)
    if not isinstance(found, dict):
        raise BundleError(f"{path} holds no object; copy the whole bundle")
    return found


def _described(folder: Path, metadata: dict[str, Any], config: dict[str, Any], about: About) -> Description:
    shape = metadata["network_data_format"]
    image, (output, *others) = shape["inputs"]["image"], shape["outputs"].values()
    if others:
        raise BundleError("metadata.json: the network has more than one output")
    seen = read_preprocessing(config, int(image["num_channels"]))
    grid, recipe = read_inferer(config, seen)
    recipe = dataclasses.replace(recipe, activation=read_postprocessing(config, seen))
    if about.axes is not None:
        recipe = dataclasses.replace(recipe, axes=about.axes, order=(0, 1, 2))
    names = {int(value): str(name) for value, name in output["channel_def"].items()}
    if names.pop(0, "background").lower() not in ("background", "bg") or not names:
        raise BundleError("metadata.json: channel 0 of the output is not the background; not supported")
    return Description(
        name=about.name or folder.resolve().name.replace(".", "_").replace(" ", "_")[:64],
        version=about.version or str(metadata.get("version", "1")),
        description=about.description or str(metadata.get("description", "A MONAI bundle.")),
        licence=about.licence or "unknown",
        provenance={
            "source": "MONAI bundle",
            "task": str(metadata.get("task", "")),
            "monai": str(metadata.get("monai_version", "")),
        },
        body_part=about.body_part or "unknown",
        channels=_channels(image, seen.intensity, about),
        grid=grid,
        recipe=recipe,
        structures=structures(dict(sorted(names.items())), about.labels),
        targets=(),
    )


def _channels(image: dict[str, Any], intensity: Intensity, about: About) -> tuple[Channel, ...]:
    """Channels by the sidecar, else by the metadata's names for them, else by its modality."""
    count = int(image["num_channels"])
    named = image.get("channel_def") or {}
    words = about.modalities or [
        str(named[str(n)]) if modality_named(str(named.get(str(n), ""))) else str(image.get("modality", ""))
        for n in range(count)
    ]
    if len(words) != count:
        raise BundleError(f"the sidecar names {len(words)} modalities, the network sees {count}")
    channels = []
    for n, word in enumerate(words):
        modality = modality_named(word)
        if modality is None or modality == "other":
            raise BundleError(
                f"metadata.json calls channel {n} {word!r}, which says nothing that a scan is known by; "
                'give a sidecar with "modalities", each of T1, T1c, T2, FLAIR, CT'
            )
        kind: Any = intensity.kind
        channels.append(
            Channel(modality, kind, intensity.low, intensity.high, intensity.clamp, required=True)
        )
    return tuple(channels)


def _network(config: dict[str, Any]) -> nn.Module:
    """The network that `network_def` describes, with random weights."""
    entry = config["network_def"]
    name = target(entry, "network_def")
    place = str(entry["_target_"]).rpartition(".")[0]
    given = arguments(entry, config, "network_def", set())
    try:
        from monai.networks import nets
    except ImportError:
        raise BundleError("a MONAI bundle needs MONAI's networks; pip install monai") from None
    made: Any = getattr(nets, name, None)
    known = inspect.isclass(made) and issubclass(made, nn.Module) and made.__module__.startswith(_HOME)
    if not known or (place and not place.startswith(_HOME)):
        raise BundleError(f"network_def: {entry['_target_']} is no network of {_HOME}; not supported")
    network: nn.Module = made(**given)
    return network.eval()


def _fill(network: nn.Module, folder: Path) -> None:
    """Put the weights of `models/` into a network; every tensor must find its place."""
    path = folder / "models" / "model.pt"
    if path.is_file():
        weights: Any = read_checkpoint(path)
        weights = next((weights[name] for name in _WRAPPERS if isinstance(weights.get(name), dict)), weights)
    elif (scripted := folder / "models" / "model.ts").is_file():
        path = scripted
        weights = _scripted(scripted)
    else:
        raise BundleError(f"{folder}/models has no model.pt and no model.ts; download the whole bundle")
    try:
        network.load_state_dict(weights)
    except (RuntimeError, AttributeError, TypeError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise BundleError(f"{path}: its weights are not those of network_def ({lines[-1][:160]})") from None


def _scripted(path: Path) -> dict[str, torch.Tensor]:
    """Weights of a TorchScript file; its program is not run, the network is that of `network_def`."""
    try:
        return dict(torch.jit.load(path, map_location="cpu").state_dict())  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise BundleError(f"{path} is no TorchScript file ({str(error).splitlines()[0][:100]})") from None
