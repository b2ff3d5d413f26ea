"""The instruction's text encoder: at most 77 tokens in, one condition vector out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.networks.attention import Attention, Mlp

__all__ = ["MOST_TOKENS", "TextConfig", "TextEncoder"]

MOST_TOKENS = 77
"""Of one instruction, as in MedCLIP; what is longer must be cut before."""


@dataclass(frozen=True)
class TextConfig:
    """Size of the text encoder.

    Attributes:
        vocabulary: Token ids; 0 is padding.
        width: Inside it.
        layers: Transformer layers.
        heads: Of each attention.
        condition: Length of the condition vector.
    """

    vocabulary: int
    width: int = 64
    layers: int = 2
    heads: int = 4
    condition: int = 64


_NEIGHBOURS = 7
"""Tokens that a layer mixes before attention: "rather than the" belongs to the name that follows."""


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.near = nn.Conv1d(width, width, _NEIGHBOURS, padding=_NEIGHBOURS // 2, groups=width)
        self.before_near = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mlp = Mlp(width, 4 * width, width)
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        y = self.before_near(x) * seen[..., None].to(x.dtype)
        x = x + self.near(y.transpose(1, 2)).transpose(1, 2)
        y = self.before_attention(x)
        x = x + self.attention(y, y, y, seen)
        return x + self.mlp(self.before_mlp(x))  # type: ignore[no-any-return]


class TextEncoder(nn.Module):
    """A small transformer over tokens; its vectors have length 1.

    What a text asks for and what it only mentions differ by the words around a name, so layers look at
    neighbours first, and the vector is that of the tokens that matter, not of all alike.

    Source:
        Zeus (arXiv 2504.07336) takes one normalised vector of an instruction from MedCLIP's text
        encoder; this is its place in a model that is trained from scratch.
    """

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.tokens = nn.Embedding(config.vocabulary, config.width, padding_idx=0)
        self.places = nn.Parameter(0.02 * torch.randn(MOST_TOKENS, config.width))
        self.layers = nn.ModuleList(_Layer(config.width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.weight = nn.Linear(config.width, 1)
        self.out = nn.Linear(config.width, config.condition)

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids (N, L) int64, L at most `MOST_TOKENS`, some of each row not 0, to (N, condition)."""
        seen = ids != 0
        x = self.tokens(ids) + self.places[: ids.shape[1]]
        for layer in self.layers:
            x = layer(x, seen)
        x = self.norm(x)
        share = torch.softmax(self.weight(x).masked_fill(~seen[..., None], -1e4), dim=1)
        return F.normalize(self.out((x * share).sum(1)), dim=1)
