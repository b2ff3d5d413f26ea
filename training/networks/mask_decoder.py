"""The mask decoder: what is asked for, and what the scan shows, become one vector per target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.networks.attention import Attention, Mlp, TwoWayConfig, TwoWayLayer, grid_positions

__all__ = ["DecoderConfig", "MaskDecoder", "Masks"]


@dataclass(frozen=True)
class DecoderConfig:
    """Size of the decoder.

    Attributes:
        width: Of tokens and map inside it.
        layers: Two-way layers.
        heads: Of each attention.
        hidden: Of the networks that make vectors and presence of a token.
        drafts: How many vectors are known before a scan is seen.
    """

    width: int = 96
    layers: int = 2
    heads: int = 4
    hidden: int = 96
    drafts: int = 24


_SHARPNESS = 16.0
"""Cosines to the keys of the drafts are multiplied by this: wordings of one request meet the same draft."""


class Masks(NamedTuple):
    """How the voxels of each target score: features · vector + bias.

    Attributes:
        vectors: (N, T, features).
        biases: (N, T).
        presence: (N, T), log-odds that the scan shows the target at all.
    """

    vectors: Tensor
    biases: Tensor
    presence: Tensor

    def scores(self, features: Tensor) -> Tensor:
        """Score every voxel of features (N, features, I, J, K): (N, T, I, J, K)."""
        return torch.einsum("ntf,nfijk->ntijk", self.vectors, features) + self.biases[..., None, None, None]


class MaskDecoder(nn.Module):
    """A SAM-type decoder whose masks are products with features that are encoded once.

    Every target is decoded by itself, so its mask does not depend on what else is asked for. A condition
    chooses a draft of its mask's vector from those that were learned; attention to the scan corrects it.

    Source:
        Kirillov et al. 2023 (Segment Anything), appendix A: two-way attention, output tokens,
        hypernetwork; Zeus (arXiv 2504.07336): the instruction's embedding is the prompt token.
    """

    def __init__(self, config: DecoderConfig, condition: int, bottom: int, features: int) -> None:
        """Build it with random weights.

        Args:
            config: Size of the decoder.
            condition: Length of a condition vector.
            bottom: Channels of the encoder's coarsest map.
            features: Features per voxel.
        """
        super().__init__()
        width = config.width
        self.prompt = nn.Linear(condition, width)
        self.own = nn.Parameter(torch.randn(2, width) / width**0.5)  # the mask's token, and presence's
        self.image = nn.Conv3d(bottom, width, 1)
        layer = TwoWayConfig(width, config.heads, width, 2 * width)
        self.layers = nn.ModuleList(TwoWayLayer(layer) for _ in range(config.layers))
        self.last = Attention(width, config.heads)
        self.norm = nn.LayerNorm(width)
        self.keys = nn.Parameter(F.normalize(torch.randn(config.drafts, condition), dim=1))
        self.drafts = nn.Parameter(0.1 * torch.randn(config.drafts, features + 1))
        self.mask = Mlp(width, config.hidden, config.hidden, features + 1)
        for parameter in self.mask.layers[-1].parameters():  # the drafts first, corrections later
            nn.init.zeros_(parameter)
        self.presence = Mlp(width, config.hidden, 1)

    def forward(self, bottom: Tensor, condition: Tensor) -> Masks:
        """Decode.

        Args:
            bottom: (N, bottom, i, j, k), the encoder's coarsest map.
            condition: (N, T, condition), one vector per target.
        """
        count, targets = condition.shape[:2]
        prompt = self.prompt(condition).flatten(0, 1)[:, None]
        tokens = torch.cat([self.own.expand(prompt.shape[0], -1, -1), prompt], dim=1)
        asked, places = tokens, grid_positions(bottom, tokens.shape[2])
        image = self.image(bottom).flatten(2).transpose(1, 2)
        image = image[:, None].expand(-1, targets, -1, -1).flatten(0, 1)
        for layer in self.layers:
            tokens, image = layer(tokens, image, asked, places)
        tokens = self.norm(tokens + self.last(tokens + asked, image + places, image))
        made = self.draft(condition) + self.mask(tokens[:, 0]).unflatten(0, (count, targets))
        presence = self.presence(tokens[:, 1]).unflatten(0, (count, targets))
        return Masks(made[..., :-1], made[..., -1], presence[..., 0])

    def draft(self, condition: Tensor) -> Tensor:
        """Conditions (N, T, condition) to vectors and biases (N, T, features + 1), before a scan is seen."""
        cosines = F.normalize(condition, dim=-1) @ F.normalize(self.keys, dim=1).T
        return torch.softmax(_SHARPNESS * cosines, dim=-1) @ self.drafts
