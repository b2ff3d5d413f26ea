"""Attention between few tokens, and between tokens and the voxels of a coarse map."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Attention", "Mlp", "TwoWayLayer", "grid_positions"]


class Attention(nn.Module):
    """Multi-head attention of queries to keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        """Build it with random weights.

        Args:
            width: Of queries, keys, values and result; divisible by `heads`.
            heads: Number of heads.
        """
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, seen: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            queries: (N, L, width).
            keys: (N, S, width).
            values: (N, S, width).
            seen: (N, S) bool, which keys count; at least one in each row.

        Returns:
            (N, L, width).
        """
        q, k, v = (self._split(x) for x in (self.query(queries), self.key(keys), self.value(values)))
        mask = None if seen is None else seen[:, None, None, :]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _split(self, x: Tensor) -> Tensor:
        count, length, width = x.shape
        return x.reshape(count, length, self.heads, width // self.heads).transpose(1, 2)


class Mlp(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, *widths: int) -> None:
        """Build it with random weights.

        Args:
            widths: Of the input, of every hidden layer, and of the output.
        """
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """(..., widths[0]) to (..., widths[-1])."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)  # type: ignore[no-any-return]


class TwoWayLayer(nn.Module):
    """Tokens attend to each other and to the map, then the map attends to the tokens.

    Source:
        Kirillov et al. 2023 (Segment Anything), appendix A: the two-way transformer of the mask decoder.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.among = Attention(width, heads)
        self.to_map = Attention(width, heads)
        self.to_tokens = Attention(width, heads)
        self.mlp = Mlp(width, 2 * width, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))

    def forward(self, tokens: Tensor, image: Tensor, asked: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """One layer.

        Args:
            tokens: (N, L, width).
            image: (N, S, width), the map's voxels.
            asked: (N, L, width), the tokens as they were at first: what marks them in every attention.
            places: (S, width), the voxels' positions.

        Returns:
            Tokens and map, shaped as given.
        """
        q = tokens + asked
        tokens = self.norms[0](tokens + self.among(q, q, tokens))
        tokens = self.norms[1](tokens + self.to_map(tokens + asked, image + places, image))
        tokens = self.norms[2](tokens + self.mlp(tokens))
        image = self.norms[3](image + self.to_tokens(image + places, tokens + asked, tokens))
        return tokens, image


def grid_positions(image: Tensor, width: int) -> Tensor:
    """Sines and cosines of each voxel's place, relative to the middle of the map.

    Args:
        image: (N, C, I, J, K), for its shape, type and device.
        width: Of the result.

    Returns:
        (I * J * K, width).
    """
    count = math.ceil(width / 6)
    steps = torch.exp(-math.log(100.0) * torch.arange(count, device=image.device) / count)
    parts = []
    for axis in (2, 3, 4):
        place = torch.arange(image.shape[axis], device=image.device).float()
        waves = (place - place.mean())[:, None] * steps
        shape = [1, 1, 1, 2 * count]
        shape[axis - 2] = -1
        along = torch.cat([waves.sin(), waves.cos()], dim=1).reshape(shape)
        parts.append(along.expand(*image.shape[2:], 2 * count))
    return torch.cat(parts, dim=3).flatten(0, 2)[:, :width].to(image.dtype)
