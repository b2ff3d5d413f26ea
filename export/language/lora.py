"""A LoRA folder as peft writes it: merged into the matrices that it names, every tensor of it used.

Source: peft's `save_pretrained`: adapter_config.json, and tensors `base_model.model.MODULE.lora_A.weight`
(rank, in) and `.lora_B.weight` (out, rank), in older files with the adapter's name before `weight`.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from export.language.config import read_object
from export.language.weights import Update, Weights
from runtime.errors import BundleError
from runtime.schema import SchemaError, build
from training.networks.sam.tensor_files import read_tensors

__all__ = ["merged"]

_TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])(?:\.default)?\.weight")
_FILES = ("adapter_model.safetensors", "adapter_model.bin")


@dataclass(frozen=True)
class _Settings:
    """What shapes an adapter; where a setting has a single value, that is the only one we can do."""

    r: int
    lora_alpha: float
    peft_type: Literal["LORA"] = "LORA"
    use_rslora: bool = False
    use_dora: Literal[False] = False
    fan_in_fan_out: Literal[False] = False
    bias: Literal["none"] = "none"


def merged(weights: Weights, folder: Path) -> Weights:
    """The weights with an adapter in them.

    Args:
        weights: Of the model that it was trained on.
        folder: With adapter_config.json and adapter_model.safetensors or .bin.

    Raises:
        BundleError: A tensor has no place or no counterpart, a target has none, or a setting is not known.
    """
    path = folder / "adapter_config.json"
    document = read_object(path)
    for name in (
        "modules_to_save",
        "rank_pattern",
        "alpha_pattern",
        "layers_to_transform",
        "megatron_config",
    ):
        if document.get(name):
            raise BundleError(f"{path}: {name} is not supported; merge the adapter with peft first")
    known = {field.name for field in dataclasses.fields(_Settings)}
    try:
        settings = build(_Settings, {name: item for name, item in document.items() if name in known})
    except SchemaError as error:
        raise BundleError(f"{path}: {error}; merge the adapter with peft first") from error
    if settings.r < 1:
        raise BundleError(f"{path}: r is {settings.r}; copy the adapter again")
    modules = {ours: theirs.removesuffix(".weight") for ours, theirs in weights.names.items()}
    targets = _targets(document.get("target_modules"), modules, path)
    pairs = _pairs(folder, {module: ours for ours, module in modules.items()}, targets)
    if missing := sorted(modules[name] for name in targets if name not in pairs):
        raise BundleError(f"{folder}: the target {missing[0]!r} has no tensors; copy the adapter again")
    scale = settings.lora_alpha / (math.sqrt(settings.r) if settings.use_rslora else settings.r)
    updates = {}
    for name, pair in pairs.items():
        rows, columns = weights.tensors[weights.names[name]].shape
        shapes = {"A": (settings.r, columns), "B": (rows, settings.r)}
        for side, shape in shapes.items():
            if side not in pair:
                raise BundleError(f"{folder}: {modules[name]!r} lacks lora_{side}; copy the adapter again")
            if tuple(pair[side].shape) != shape:
                raise BundleError(
                    f"{folder}: lora_{side} of {modules[name]!r} has shape {tuple(pair[side].shape)}, "
                    f"expected {shape}; it is an adapter of another model"
                )
        updates[name] = Update(pair["A"], pair["B"], scale)
    return dataclasses.replace(weights, updates=updates)


def _targets(described: object, modules: dict[str, str], path: Path) -> set[str]:
    """Matrices that `target_modules` means, by llama.cpp's names: last names, or an expression for all."""
    matrices = {
        ours: module
        for ours, module in modules.items()
        if module.endswith("_proj") and ours.endswith(".weight")
    }
    if described == "all-linear":
        return set(matrices)
    if modules.get("output.weight"):
        matrices["output.weight"] = modules["output.weight"]
    if isinstance(described, str):
        try:
            pattern = re.compile(described)
        except re.error as error:
            raise BundleError(f"{path}: target_modules is no expression ({error})") from error
        found = {ours for ours, module in matrices.items() if pattern.fullmatch(module)}
    elif isinstance(described, list) and all(isinstance(item, str) for item in described):
        found = {
            ours
            for ours, module in matrices.items()
            if any(module == item or module.endswith(f".{item}") for item in described)
        }
    else:
        raise BundleError(f"{path}: target_modules is neither a list of names nor an expression")
    if not found:
        raise BundleError(f"{path}: target_modules names no matrix of this model; it is of another one")
    return found


def _pairs(folder: Path, places: dict[str, str], targets: set[str]) -> dict[str, dict[str, Tensor]]:
    """The two tensors of every target, by its name; no other tensor may be there."""
    file = next((folder / name for name in _FILES if (folder / name).is_file()), None)
    if file is None:
        raise BundleError(f"{folder} holds none of {', '.join(_FILES)}; copy the whole adapter")
    pairs: dict[str, dict[str, Tensor]] = {}
    for name, tensor in read_tensors(file).items():
        parts = _TENSOR.fullmatch(name)
        place = places.get(parts["module"]) if parts else None
        if parts is None or place is None or place not in targets or not tensor.is_floating_point():
            raise BundleError(
                f"{file}: {name[:120]!r} is used by no target of the adapter; it is of another model, "
                "or adapter_config.json is of another adapter"
            )
        if parts["side"] in pairs.setdefault(place, {}):
            raise BundleError(f"{file}: {name[:120]!r} is there under two names; remove one of them")
        pairs[place][parts["side"]] = tensor
    return pairs
