"""What training minimises: soft cross-entropy plus soft Dice against class fractions, and presence."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["presence_loss", "segmentation_loss"]


def segmentation_loss(scores: Tensor, counts: Tensor, seen: Tensor, weights: Tensor) -> Tensor:
    """Weighted cross-entropy plus mean Dice loss over classes that are present.

    Plain formulas for `torch.compile`, which fuses them into two passes over the scores.

    Args:
        scores: (N, classes, I, J, K), any float type.
        counts: (N, classes, I, J, K) uint8 class fractions in eighths.
        seen: (N, I, J, K) bool; other voxels do not count.
        weights: (classes,) class weights of the cross-entropy.
    """
    space = (0, 2, 3, 4)
    logs = torch.log_softmax(scores.float(), dim=1)
    truth = counts * (seen[:, None].float() / 8)
    sizes = truth.sum(space)
    cross = -(truth * weights[:, None, None, None] * logs).sum() / (sizes @ weights).clamp_min(1.0)
    chance = logs.exp() * seen[:, None]
    dice = (2 * (chance * truth).sum(space) + 1) / (chance.sum(space) + sizes + 1)
    present = (sizes > 8).float()
    return cross + (present * (1 - dice)).sum() / present.sum().clamp_min(1.0)


def presence_loss(presence: Tensor, counts: Tensor) -> Tensor:
    """Cross-entropy of the presence of targets; eight voxels of one are needed to show it.

    Args:
        presence: (N, T), log-odds, any float type.
        counts: (N, classes, ...) uint8 class fractions in eighths, the background first; targets beyond
            them are foreign and never there.
    """
    shown = (counts[:, 1:].flatten(2).sum(2) > 8 * 8).float()
    shown = F.pad(shown, (0, presence.shape[1] - shown.shape[1]))
    return F.binary_cross_entropy_with_logits(presence.float(), shown)
