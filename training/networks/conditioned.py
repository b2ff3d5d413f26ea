"""Zeus as it is trained: against a background whose score is 0, with learned vectors or with texts."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.networks.zeus import Zeus, ZeusConfig

__all__ = ["Conditioned", "Scores"]


class Scores(NamedTuple):
    """What a network says of a study.

    Attributes:
        voxels: (N, 1 + T, I, J, K), the background's score first.
        presence: (N, T), log-odds that the target is shown; None where a network has no opinion.
    """

    voxels: Tensor
    presence: Tensor | None


class Conditioned(nn.Module):
    """Zeus, and the condition vectors it is asked with where no texts are given."""

    def __init__(self, config: ZeusConfig, targets: int) -> None:
        """Build it with random weights.

        Args:
            config: Of Zeus.
            targets: T; each has one learned vector for each modality. 0: always asked with texts.
        """
        super().__init__()
        self.config = config
        self.zeus = Zeus(config)
        self.learned = nn.Parameter(torch.randn(config.modalities, targets, config.condition))

    def forward(self, image: Tensor, present: Tensor, condition: Tensor | None = None) -> Scores:
        """Score every voxel.

        Args:
            image: (N, M, I, J, K).
            present: (N, M) bool.
            condition: (N, M, T, condition) of length 1; the learned ones when absent.
        """
        if condition is None:
            condition = F.normalize(self.learned, dim=-1).expand(len(image), -1, -1, -1)
        scores, presence = self.zeus(image, present, condition)
        return Scores(F.pad(scores, (0, 0, 0, 0, 0, 0, 1, 0)), presence)
