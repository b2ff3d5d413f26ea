"""Many scans of one head become one answer; a scan that is missing has no say."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["PresenceAttention", "presence_weights"]


def presence_weights(preference: Tensor, present: Tensor, axis: int) -> Tensor:
    """Softmax over the modalities that are there; 0 for the others.

    Args:
        preference: Any shape.
        present: Bool, broadcastable to `preference`; something is present along `axis`.
        axis: Of the modalities.
    """
    lowest = torch.finfo(preference.dtype).min
    return torch.softmax(preference.masked_fill(~present, lowest), dim=axis)


class PresenceAttention(nn.Module):
    """Maps of all modalities are mixed voxel by voxel, by how much each has to say there.

    Source:
        The hybrid fusion of Zeus (arXiv 2504.07336): separate encoders, fused features. What it
        fuses them by is not published; this is ours.
    """

    def __init__(self, channels: int, modalities: int) -> None:
        """Build it with random weights.

        Args:
            channels: Of each map.
            modalities: How many maps there are.
        """
        super().__init__()
        self.preference = nn.Conv3d(channels, 1, 1)
        self.modality = nn.Parameter(torch.zeros(modalities))

    def forward(self, maps: Tensor, present: Tensor) -> Tensor:
        """Mix.

        Args:
            maps: (N, M, channels, I, J, K); finite where a modality is missing, too.
            present: (N, M) bool, some of each row True.

        Returns:
            (N, channels, I, J, K).
        """
        asked = self.preference(maps.flatten(0, 1)).unflatten(0, maps.shape[:2])
        asked = asked + self.modality[:, None, None, None, None]
        weights = presence_weights(asked, present[:, :, None, None, None, None], 1)
        return (weights * maps).sum(1)
