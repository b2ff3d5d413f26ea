"""Checkpoints on disk become named tensors, and nothing in them is ever run."""

from __future__ import annotations

import json
import pickle
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from runtime.errors import BundleError, first_line
from runtime.schema import SchemaError, build

__all__ = ["read_json", "read_tensors"]

_WHOLE = ("model.safetensors", "pytorch_model.bin")
_PARTS = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_WRAPPERS = ("state_dict", "model")
"""Under which a training run keeps its weights beside its own things (EfficientViT; MedSAM's fine-tuning)."""


@dataclass(frozen=True)
class _Index:
    """Which file of a folder holds which tensor."""

    weight_map: dict[str, str]


def read_json(path: Path) -> object:
    """Decode a JSON file.

    Raises:
        BundleError: It is missing or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(
            f"{path} is missing; copy the whole checkpoint folder, config.json included"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not readable JSON ({error}); copy it again") from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a checkpoint, on the CPU.

    Args:
        path: A folder in the format of Hugging Face (one file, or parts and their index), or one file:
            `.safetensors`, or a pickle of tensors and plain containers.

    Raises:
        BundleError: It is missing, damaged, or a pickle that wants to run something.
    """
    if not path.is_dir():
        return _file(path)
    for name in (_WHOLE[0], _PARTS[0], _WHOLE[1], _PARTS[1]):
        if (path / name).exists():
            return _file(path / name) if name in _WHOLE else _parts(path / name)
    raise BundleError(f"{path} holds no weights; expected one of {', '.join(_WHOLE + _PARTS)}")


def _parts(index: Path) -> dict[str, Tensor]:
    document = read_json(index)
    known = {"weight_map": document.get("weight_map")} if isinstance(document, dict) else document
    try:
        places = build(_Index, known, "$").weight_map
    except SchemaError as error:
        raise BundleError(f"{index}: {error}; copy the checkpoint again") from error
    files = sorted(set(places.values()))
    for name in files:
        if not name or Path(name).name != name:
            raise BundleError(
                f"{index} names {name!r}, which is not a file beside it; copy the checkpoint again"
            )
    tensors: dict[str, Tensor] = {}
    for name in files:
        found = _file(index.parent / name)
        listed = {tensor for tensor, place in places.items() if place == name}
        if wrong := sorted(listed ^ set(found)):
            raise BundleError(
                f"{index.parent / name} and {index.name} disagree about {wrong[0]!r}; "
                "the parts are of different checkpoints, copy all of them again"
            )
        tensors |= found
    return tensors


def _file(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise BundleError(f"{path} is missing; copy the checkpoint again")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise BundleError(f"{path} is damaged or cut short ({error}); copy it again") from error
    return _tensors_only(_unpickle(path), path)


def _unpickle(path: Path) -> object:
    try:
        with warnings.catch_warnings():  # a strange protocol warns before it fails
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # torch's own text advises to let it run; that advice ends here
        called = re.search(r"GLOBAL (\S+)", str(error))
        reason = (
            f"it wants to use {called[1]}" if called else "it is damaged or more than a pickle of weights"
        )
        raise BundleError(
            f"{path} is refused: {reason}, and weights need only tensors; "
            "copy it again, or, where you trust it, save its state_dict as .safetensors"
        ) from error
    except Exception as error:  # whatever else a damaged pickle or archive leads to
        reason = first_line(error, 200)
        raise BundleError(f"{path} is damaged or no checkpoint ({reason}); copy it again") from error


def _tensors_only(document: object, path: Path) -> dict[str, Tensor]:
    if isinstance(document, dict):
        wrapped = [document[name] for name in _WRAPPERS if isinstance(document.get(name), dict)]
        document = wrapped[0] if wrapped else document
    if not isinstance(document, dict) or not document:
        raise BundleError(f"{path} holds no named tensors; expected a state_dict")
    for name, value in document.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise BundleError(
                f"{path}: {str(name)[:80]!r} is a {type(value).__name__}, not a tensor; "
                "save the network's state_dict alone"
            )
    return cast("dict[str, Tensor]", document)
