"""Held-out synthetic heads in every subset of modalities: what does fusing gain, and a missing one cost?"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.anatomy import load_label_map
from training.conditions import text_model
from training.contrast import ContrastConfig, paint
from training.dataset import HELD_OUT, class_fractions
from training.field import head_box
from training.geometry import random_fractions
from training.lesions import LesionConfig
from training.loop import load_average
from training.metrics import dice
from training.networks.conditioned import Conditioned
from training.structures import CLASS_NAMES
from training.tasks.zeus_heads import ZeusHeadTask, ZeusHeadTraining, coarser
from training.tissues import CHANNELS

__all__ = ["evaluate_heads"]

_SHOWN = ("T1", "T2", "FLAIR", "CT")
_LOOKS = 4
_LEAST_VOXELS = 20


@dataclass(frozen=True)
class _Head:
    """One painted head: image (1, M, I, J, K) with every modality, and its classes (I, J, K)."""

    image: Tensor
    classes: Tensor


def _heads(config: ZeusHeadTraining, root: Path, cache: Path) -> Iterator[_Head]:
    """Each held-out map four times: bent, with a lesion, in usual contrasts."""
    geometry = config.stream.whole_geometry
    geometry = dataclasses.replace(geometry, lesions=LesionConfig(0.5, 1.0, 0.0))
    contrast = ContrastConfig(wild=0.0, cropped=0.0, thick=0.5)
    chosen = [CHANNELS.index(name) for name in _SHOWN]
    for number, name in enumerate(HELD_OUT):
        head = load_label_map(root / config.maps / f"{name}.nii.gz", cache)
        for look in range(_LOOKS):
            random = np.random.default_rng((40, number, look))
            fractions = random_fractions(head, random, geometry)
            i, j, k = head_box(fractions, random, geometry.spacing_mm)
            fractions = fractions[:, i, j, k].contiguous()
            image, seen = paint(fractions, random, geometry.spacing_mm, contrast, chosen)
            counts = class_fractions(fractions)
            made = coarser(image[None], counts[None], seen[None], config.coarser)
            yield _Head(made[0], made[1][0].argmax(0))


def evaluate_heads(config: ZeusHeadTraining, root: Path, runs: Path) -> list[dict[str, Any]]:
    """One row for every subset of T1, T2, FLAIR and CT: mean DSC over structures, asked for plainly.

    Args:
        config: The training.
        root: Of the project.
        runs: Folder of trainings.

    Raises:
        UsageError: It, or its text encoder, was not trained yet.
    """
    task = ZeusHeadTask(config, root, runs)
    network = Conditioned(config.zeus, 0)
    step = load_average(runs / config.name / "last.pt", network)
    model, targets = text_model(config.text, runs), CLASS_NAMES[1:]
    plain = model.embed([model.plain(m, t) for m in CHANNELS for t in targets])
    condition = plain.reshape(1, len(CHANNELS), len(targets), -1)
    heads = list(_heads(task.config, root, runs / "heads"))
    rows = []
    for size in range(1, len(_SHOWN) + 1):
        for subset in itertools.combinations(_SHOWN, size):
            each = np.array([_scores(network, head, condition, subset) for head in heads])
            mean = np.nanmean(each, axis=0)
            lesion = targets.index("lesion")
            rows.append(
                {
                    "run": config.name,
                    "modalities": "+".join(subset),
                    "steps": step,
                    "heads": len(heads),
                    "DSC": float(np.nanmean(mean)),
                    "mIoU": float(np.nanmean(each / (2 - each))),
                    "DSC without lesions": float(np.nanmean(mean[: targets.index("lesion")])),
                    "DSC lesion": float(mean[lesion]),
                }
            )
    return rows


@torch.inference_mode()
def _scores(network: Conditioned, head: _Head, condition: Tensor, subset: tuple[str, ...]) -> list[float]:
    """DSC of every target; NaN where the head has (almost) none of it."""
    present = torch.tensor([[name in subset for name in CHANNELS]])
    scores, _ = network(head.image, present, condition)
    found = scores[0].argmax(0).numpy()
    truth = head.classes.numpy()
    return [
        dice(found == n, truth == n) if (truth == n).sum() >= _LEAST_VOXELS else float("nan")
        for n in range(1, condition.shape[2] + 1)
    ]
