"""Small pictures of a scan become visual tokens of a language model: encoder, 4:1 merge, projector."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.networks.writer_language import attend

__all__ = ["VisionConfig", "VisionEncoder"]

_STRIDE = 16
"""Pixels along a side of what becomes one token of the encoder."""

_MERGED = 2
"""Tokens along a side that become one visual token."""


@dataclass(frozen=True)
class VisionConfig:
    """Size of the encoder.

    Attributes:
        views: Pictures of one series.
        size: Pixels along a side, divisible by 32.
        stem: Channels of the first convolutions, each of which halves the picture.
        width: Of the transformer.
        layers: Of the transformer.
        joint: How many of them, the last ones, look at all pictures together; the others at each by itself.
        heads: Of each attention.
        hidden: Of each feed-forward network.
    """

    views: int = 6
    size: int = 96
    stem: tuple[int, int, int] = (16, 48, 96)
    width: int = 192
    layers: int = 3
    joint: int = 1
    heads: int = 6
    hidden: int = 576

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit together."""
        if self.size % (_STRIDE * _MERGED):
            raise ValueError(f"size is {self.size}, not divisible by {_STRIDE * _MERGED}")
        if not 0 <= self.joint <= self.layers:
            raise ValueError(f"joint is {self.joint}; there are {self.layers} layers")
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a width of {self.width}")

    @property
    def tokens(self) -> int:
        """Visual tokens of one series."""
        return self.views * (self.size // (_STRIDE * _MERGED)) ** 2


def _convolution(channels: int, made: int) -> nn.Conv2d:
    """Halves a picture and keeps its variance: torch's own beginning loses half of it in each layer."""
    layer = nn.Conv2d(channels, made, 3, 2, 1)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


class _Layer(nn.Module):
    """Attention among tokens, then a network for each."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.before_attention, self.before_mlp = nn.LayerNorm(config.width), nn.LayerNorm(config.width)
        self.mixed = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)
        self.up, self.down = nn.Linear(config.width, config.hidden), nn.Linear(config.hidden, config.width)

    def forward(self, x: Tensor) -> Tensor:
        count, length, width = x.shape
        mixed = self.mixed(self.before_attention(x)).reshape(count, length, 3, self.heads, -1)
        q, k, v = mixed.permute(2, 0, 3, 1, 4)
        seen = attend(q, k, v).transpose(1, 2).reshape(count, length, width)
        x = x + self.out(seen)
        return x + self.down(F.gelu(self.up(self.before_mlp(x))))  # type: ignore[no-any-return]


class VisionEncoder(nn.Module):
    """A convolutional stem, a few transformer layers over all pictures of a series, a merge and a projection.

    Source:
        MiniGPT-Med (arXiv 2407.04106): four neighbouring tokens are joined and projected by one linear layer.
        There they lie in a row of patches; here they are a square of them: what is nearest to each other.
    """

    def __init__(self, config: VisionConfig, embedding: int) -> None:
        """Build it with random weights.

        Args:
            config: Size.
            embedding: Width of the language model.
        """
        super().__init__()
        self.config = config
        widths = (1, *config.stem, config.width)
        self.stem = nn.ModuleList(_convolution(a, b) for a, b in pairwise(widths))
        side = config.size // _STRIDE
        self.places = nn.Parameter(0.02 * torch.randn(side * side, config.width))
        self.views = nn.Parameter(0.02 * torch.randn(config.views, 1, config.width))
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.project = nn.Linear(_MERGED**2 * config.width, embedding)

    def forward(self, views: Tensor) -> Tensor:
        """Pictures (S, V, size, size), 0 to 1, to visual tokens (S, `config.tokens`, embedding)."""
        config = self.config
        series, side = views.shape[0], config.size // _STRIDE
        x = views.reshape(-1, 1, config.size, config.size) * 4 - 1  # brains are darker than the middle
        for layer in self.stem[:-1]:
            x = F.gelu(layer(x))
        x = self.stem[-1](x).flatten(2).transpose(1, 2)
        x = x + self.places + self.views.repeat(series, 1, 1)
        for number, layer in enumerate(self.layers):
            if number == len(self.layers) - config.joint:
                x = x.reshape(series, -1, config.width)
            x = layer(x)
        x = self.norm(x).reshape(series, config.views, side // _MERGED, _MERGED, side // _MERGED, _MERGED, -1)
        merged = x.permute(0, 1, 2, 4, 3, 5, 6).reshape(series, config.tokens, -1)
        return self.project(merged)  # type: ignore[no-any-return]
