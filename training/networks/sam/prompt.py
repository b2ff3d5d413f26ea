"""What SAM's prompt encoder says about every image: where its pixels are, and that no mask was given."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["PromptEncoder"]


class PromptEncoder(nn.Module):
    """Fourier positions of the map, and the embedding of "no mask is given".

    Points, boxes and masks are not asked for here, so their embeddings have no place: an instruction's
    vector is the prompt.

    Source:
        Kirillov et al. 2023 (Segment Anything), appendix A; Tancik et al. 2020 for random Fourier features.
    """

    def __init__(self, width: int, map_size: int) -> None:
        """Build it with random weights.

        Args:
            width: Of the decoder, even.
            map_size: s, the side of the encoder's map.
        """
        super().__init__()
        self.map_size = map_size
        self.register_buffer("frequencies", torch.randn(2, width // 2))
        self.frequencies: Tensor
        self.no_mask = nn.Parameter(torch.randn(1, width))

    def positions(self) -> Tensor:
        """Positions of the map's pixels, row by row: (s * s, width)."""
        middles = (torch.arange(self.map_size, device=self.frequencies.device) + 0.5) / self.map_size
        middles = (2 * middles - 1).to(self.frequencies.dtype)
        rows, columns = torch.meshgrid(middles, middles, indexing="ij")
        waves = 2 * math.pi * (torch.stack([columns, rows], dim=-1) @ self.frequencies)
        return torch.cat([waves.sin(), waves.cos()], dim=-1).flatten(0, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Add to a map (N, width, s, s) what "no mask" adds; shaped as given."""
        return image + self.no_mask[0, :, None, None]
