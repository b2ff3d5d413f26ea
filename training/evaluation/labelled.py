"""Cases of the held-out fold: overlap, distance, latency, and what wordings change."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from runtime.errors import UsageError
from runtime.kernels import Kernels, open_kernels
from training.answers import Study, labels_of
from training.conditions import ConditionPool, TextModel
from training.instructions import NO_TARGET
from training.labelled.samples import Sample
from training.loop import load_average
from training.metrics import Score, compare
from training.metrics import dice as dice_of
from training.networks.conditioned import Conditioned
from training.networks.nano import PlainUNet
from training.tasks.labelled import LabelledTask, LabelledTraining

__all__ = ["evaluate_labelled"]

_WORDINGS = 50


def evaluate_labelled(config: LabelledTraining, root: Path, runs: Path, threads: int) -> list[dict[str, Any]]:
    """One row for the masks and, where there is a text encoder, rows for wordings and foreign requests.

    Args:
        config: The training.
        root: Of the project.
        runs: Folder of trainings.
        threads: CPU threads.

    Raises:
        UsageError: It was not trained yet.
        ImageError: The data set is damaged.
    """
    checkpoint = runs / config.name / "last.pt"
    if not checkpoint.is_file():
        raise UsageError(f"{checkpoint} is not there; run python -m training.train --config {config.name}")
    task = LabelledTask(config, root, runs)
    network = task.network()
    step = load_average(checkpoint, network)
    kernels = open_kernels("cpu", threads)
    samples = config.data.read(root, held_out=True)
    model = task.text_model()
    least = config.data.patch_voxels
    plain = _plain(network, config, model)
    scores: list[list[Score]] = []
    seconds: list[float] = []
    for sample in samples:
        started = time.perf_counter()
        found = labels_of(Study(network, sample, least).ask(plain)[0], sample, kernels)
        seconds.append(time.perf_counter() - started)
        pairs = _masks(found, sample, config.data.targets)
        scores.append([compare(*pair, sample.truth.grid) for pair in pairs])
    row = {
        "run": config.name,
        "steps": step,
        "cases": len(samples),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        **{f"DSC {name}": _mean([s[n].dice for s in scores]) for n, name in enumerate(config.data.targets)},
        "DSC": _mean([one.dice for case in scores for one in case]),
        "mIoU": _mean([one.iou for case in scores for one in case]),
        "HD95 mm": _mean([one.hd95_mm for case in scores for one in case]),
        "median s": statistics.median(seconds),
    }
    if model is None or not isinstance(network, Conditioned):
        return [row]
    return [row, *_wordings(network, config, model, samples, kernels)]


def _mean(values: list[float]) -> float:
    """Mean of what could be measured; a mask that is empty in both says nothing."""
    return float(np.nanmean(values))


def _plain(network: Conditioned | PlainUNet, config: LabelledTraining, model: TextModel | None) -> Tensor:
    """Condition vectors (M, T, condition) of the plainest instructions, or the learned ones."""
    if isinstance(network, PlainUNet):
        return torch.zeros(0)
    if model is None:
        return F.normalize(network.learned.detach(), dim=-1)
    texts = [model.plain(m, t) for m in config.text_modalities for t in config.data.targets]
    return model.embed(texts).reshape(len(config.text_modalities), len(config.data.targets), -1)


def _masks(
    found: NDArray[np.uint8], sample: Sample, targets: tuple[str, ...]
) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Of each target: what was found, and the truth."""
    values = {name: value for value, name in sample.truth.names.items()}
    return [(found == n, sample.truth.voxels == values[name]) for n, name in enumerate(targets, start=1)]


def _wordings(
    network: Conditioned, config: LabelledTraining, model: TextModel, samples: list[Sample], kernels: Kernels
) -> list[dict[str, Any]]:
    """How much the wording of a request changes its mask, and what a foreign request gets."""
    targets = config.data.targets
    pool = ConditionPool(
        model, config.text_modalities, (*targets, NO_TARGET), "evaluation", _WORDINGS, seed=1
    )
    dice = np.zeros((_WORDINGS, len(samples), len(targets)))
    stray, presence = [], []
    for at, sample in enumerate(samples):
        study = Study(network, sample, config.data.patch_voxels)
        for wording in range(_WORDINGS):
            scores, there = study.ask(pool.vectors[:, :, wording])
            found = labels_of(scores, sample, kernels)
            dice[wording, at] = [dice_of(*pair) for pair in _masks(found, sample, targets)]
            stray.append(int((found == len(targets) + 1).sum()))
            presence.append(there)
    each = dice.mean(axis=(1, 2))
    shown = 1 / (1 + np.exp(-np.array(presence)))
    return [
        {
            "run": config.name,
            "measure": f"DSC over {_WORDINGS} unseen wordings",
            "lowest": float(each.min()),
            "highest": float(each.max()),
            "spread": float(each.max() - each.min()),
        },
        {
            "run": config.name,
            "measure": "foreign requests",
            "empty masks": float(np.mean(np.array(stray) == 0)),
            "most voxels": max(stray),
            "presence": float(shown[:, -1].mean()),
            "presence of ours": float(shown[:, :-1].mean()),
        },
    ]
