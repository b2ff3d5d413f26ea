"""What training minimises: soft cross-entropy plus soft Dice against class fractions."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["segmentation_loss"]


def segmentation_loss(scores: Tensor, counts: Tensor, seen: Tensor, weights: Tensor) -> Tensor:
    """Weighted cross-entropy plus mean Dice loss over classes that are present.

    Args:
        scores: (N, classes, I, J, K), any float type.
        counts: (N, classes, I, J, K) uint8 class fractions in eighths.
        seen: (N, I, J, K) bool; other voxels do not count.
        weights: (classes,) class weights of the cross-entropy.
    """
    kept = seen.flatten()
    logs = torch.log_softmax(scores.float().transpose(0, 1).flatten(1)[:, kept], dim=0)
    truth = counts.transpose(0, 1).flatten(1)[:, kept].float().div_(8)
    weighted = truth * weights[:, None]
    cross = -(weighted * logs).sum() / weighted.sum().clamp_min(1.0)
    chance = logs.exp()
    overlap = (chance * truth).sum(1)
    sizes = chance.sum(1) + truth.sum(1)
    present = truth.sum(1) > 8
    dice = (2 * overlap + 1) / (sizes + 1)
    return cross + (1 - dice[present]).mean()
