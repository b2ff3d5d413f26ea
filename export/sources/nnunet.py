"""An nnU-Net v2 results folder: plans.json, dataset.json and a checkpoint in each fold."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from torch import nn

from export.about import About, structures
from export.checkpoint import read_checkpoint
from export.model import Description, SourceModel
from export.sources.nnunet_network import build_network
from export.sources.nnunet_plans import Planned, planned
from export.sources.onnx_file import targets_for
from export.sources.torch_network import Mean, answer_of, write_network
from runtime.errors import BundleError
from training.networks.sam.tensor_files import read_json

__all__ = ["read_nnunet"]


def read_nnunet(
    folder: Path, about: About, folds: tuple[str, ...], checkpoint: str, mirror: bool, work: Path
) -> SourceModel:
    """Read a results folder.

    Args:
        folder: Of one trainer, plans and configuration.
        about: What a person says of it.
        folds: Which; all that are there if none is named. Their scores are averaged, as nnU-Net does.
        checkpoint: File in each fold.
        mirror: Whether tiles are mirrored as nnU-Net's predictor does.
        work: A folder to write in.

    Raises:
        BundleError: Something is missing, damaged, or cannot be reproduced; says what.
    """
    plans, dataset = _object(folder / "plans.json"), _object(folder / "dataset.json")
    names = folds or tuple(sorted(path.parent.name[5:] for path in folder.glob(f"fold_*/{checkpoint}")))
    if not names:
        raise BundleError(
            f"{folder} has no fold with a {checkpoint}; train it, or name one with --checkpoint"
        )
    states = [read_checkpoint(folder / f"fold_{name}" / checkpoint) for name in names]
    try:
        configured = str(_entry(states[0], "init_args", dict)["configuration"])
        plan = planned(plans, dataset, configured, about)
        networks = [_network(plan, state, f"fold_{n}") for state, n in zip(states, names, strict=True)]
        mirrored = _mirrored(states, plan) if mirror else ()
    except (KeyError, IndexError, TypeError, ValueError) as error:
        if isinstance(error, BundleError):
            raise BundleError(f"{folder}: {error}") from None
        raise BundleError(
            f"{folder}: plans, dataset or checkpoint lack something ({type(error).__name__}: {error}); "
            "copy the whole results folder"
        ) from None
    described = _described(folder, plans, plan, about, names, configured)
    described = dataclasses.replace(described, recipe=dataclasses.replace(plan.recipe, mirror=mirrored))
    described = dataclasses.replace(described, targets=targets_for(len(plan.labels) + 1, described))
    network = networks[0] if len(networks) == 1 else Mean(networks).eval()
    onnx = write_network(network, described, work / "source.onnx")
    return SourceModel(described, onnx, answer_of(network), "torch")


def _object(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise BundleError(f"{path} holds no object; copy the whole results folder")
    return found


def _entry(state: dict[str, object], name: str, kind: type[dict[str, Any]]) -> dict[str, Any]:
    found = state[name]
    if not isinstance(found, kind):
        raise TypeError(f"{name} is no {kind.__name__}")
    return found


def _network(plan: Planned, state: dict[str, object], fold: str) -> nn.Module:
    """A fold's network; every tensor must find its place."""
    network = build_network(plan.configuration, len(plan.channels), len(plan.labels) + 1)
    weights = _entry(state, "network_weights", dict)
    plain = {
        name.removeprefix("module.").removeprefix("_orig_mod."): value for name, value in weights.items()
    }
    try:
        network.load_state_dict(plain)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        trainer = state.get("trainer_name", "its trainer")
        raise BundleError(
            f"{fold}: the weights are not those of the planned network ({lines[-1][:160]}); "
            f"{trainer} may have changed it, which is not supported"
        ) from None
    return network


def _mirrored(states: list[dict[str, object]], plan: Planned) -> tuple[int, ...]:
    """Axes that are mirrored, as axes of a tile."""
    allowed = states[0].get("inference_allowed_mirroring_axes")
    axes = tuple(int(axis) for axis in allowed) if isinstance(allowed, (tuple, list)) else ()
    return tuple(axis + 1 for axis in axes) if plan.grid.tile_voxels[0] == 1 else axes


def _described(
    folder: Path, plans: dict[str, Any], plan: Planned, about: About, folds: tuple[str, ...], configured: str
) -> Description:
    data = str(plans.get("dataset_name", folder.name))
    return Description(
        name=about.name
        or "".join(c if c.isalnum() or c in "-_" else "_" for c in f"{data}_{configured}")[:64],
        version=about.version or "1",
        description=about.description or f"nnU-Net v2, {configured}, trained on {data}.",
        licence=about.licence or "unknown",
        provenance={
            "source": "nnU-Net v2 results folder",
            "dataset": data,
            "plans": str(plans.get("plans_name", "")),
            "configuration": configured,
            "folds": ", ".join(folds),
        },
        body_part=about.body_part or "unknown",
        channels=plan.channels,
        grid=plan.grid,
        recipe=plan.recipe,
        structures=structures(plan.labels, about.labels),
        targets=(),
    )
