"""Attention between few tokens, and between tokens and the voxels of a coarse map."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Attention", "Mlp", "TwoWayConfig", "TwoWayLayer", "grid_positions"]


class Attention(nn.Module):
    """Multi-head attention of queries to keys and values."""

    def __init__(self, width: int, heads: int, inner: int | None = None) -> None:
        """Build it with random weights.

        Args:
            width: Of queries, keys, values and result.
            heads: Number of heads.
            inner: Width of all heads together, divisible by `heads`; `width` if not given.

        Raises:
            ValueError: `heads` does not divide it.
        """
        super().__init__()
        inner = width if inner is None else inner
        if inner % heads:
            raise ValueError(f"{heads} heads do not divide a width of {inner}")
        self.heads = heads
        self.query = nn.Linear(width, inner)
        self.key = nn.Linear(width, inner)
        self.value = nn.Linear(width, inner)
        self.out = nn.Linear(inner, width)

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


@dataclass(frozen=True)
class TwoWayConfig:
    """Size of a two-way layer.

    Attributes:
        width: Of tokens and map.
        heads: Of each attention.
        inner: Width of all heads together between tokens and map.
        hidden: Of the tokens' own network.
        epsilon: Of layer normalisation.
    """

    width: int
    heads: int
    inner: int
    hidden: int
    epsilon: float = 1e-5


class TwoWayLayer(nn.Module):
    """Tokens attend to each other and to the map, then the map attends to the tokens.

    Source:
        Kirillov et al. 2023 (Segment Anything), appendix A: the two-way transformer of the mask decoder.
    """

    def __init__(self, config: TwoWayConfig, first: bool = False) -> None:
        """Build it with random weights.

        Args:
            config: Size.
            first: The tokens are still what marks them: they are not marked again, and what they attend to
                among themselves replaces them. SAM's first layer is such a one.
        """
        super().__init__()
        self.first = first
        width, heads = config.width, config.heads
        self.among = Attention(width, heads)
        self.to_map = Attention(width, heads, config.inner)
        self.to_tokens = Attention(width, heads, config.inner)
        self.mlp = Mlp(width, config.hidden, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=config.epsilon) for _ in range(4))

    def forward(
        self, tokens: Tensor, image: Tensor, asked: Tensor, places: Tensor, seen: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """One layer.

        Args:
            tokens: (N, L, width).
            image: (N, S, width), the map's voxels.
            asked: (N, L, width), the tokens as they were at first: what marks them in every attention.
            places: (S, width), the voxels' positions.
            seen: (N, L) bool, which tokens count; at least one in each row.

        Returns:
            Tokens and map, shaped as given.
        """
        q = tokens if self.first else tokens + asked
        among = self.among(q, q, tokens, seen)
        tokens = self.norms[0](among if self.first else tokens + among)
        tokens = self.norms[1](tokens + self.to_map(tokens + asked, image + places, image))
        tokens = self.norms[2](tokens + self.mlp(tokens))
        image = self.norms[3](image + self.to_tokens(image + places, tokens + asked, tokens, seen))
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
