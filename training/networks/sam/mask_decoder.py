"""SAM's mask decoder: prompt tokens and an image's map become masks and how good they are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.networks.attention import Attention, Mlp, TwoWayConfig, TwoWayLayer
from training.networks.sam.layers import ChannelNorm

__all__ = ["SamDecoder", "SamDecoderConfig"]


@dataclass(frozen=True)
class SamDecoderConfig:
    """Size of the decoder; the defaults are those of every released SAM, MedSAM and their light relatives.

    Attributes:
        width: Of tokens and map, divisible by 8 and by `heads` times `shrink`.
        layers: Two-way layers.
        heads: Of each attention.
        hidden: Of the tokens' own network in each layer.
        shrink: How much narrower attention between tokens and map is.
        masks: Masks of one prompt: the first answers a clear prompt, the others an ambiguous one.
        quality_hidden: Of the network that says how good a mask is.
        quality_layers: Linear layers of that network, at least 2.
        epsilon: Of the two-way layers' normalisation. The first code of SAM has 1e-5, which is the default
            here; folders in the format of transformers say their own.
    """

    width: int = 256
    layers: int = 2
    heads: int = 8
    hidden: int = 2048
    shrink: int = 2
    masks: int = 4
    quality_hidden: int = 256
    quality_layers: int = 3
    epsilon: float = 1e-5


class SamDecoder(nn.Module):
    """Two-way attention, upsampling by 4, and one hypernetwork per mask.

    Source:
        Kirillov et al. 2023 (Segment Anything), appendix A.
    """

    def __init__(self, config: SamDecoderConfig) -> None:
        """Build it with random weights."""
        super().__init__()
        width, inner = config.width, config.width // config.shrink
        self.config = config
        self.quality_token = nn.Parameter(torch.randn(1, width))
        self.mask_tokens = nn.Parameter(torch.randn(config.masks, width))
        layer = TwoWayConfig(width, config.heads, inner, config.hidden, config.epsilon)
        self.layers = nn.ModuleList(TwoWayLayer(layer, first=not index) for index in range(config.layers))
        self.last = Attention(width, config.heads, inner)
        self.norm = nn.LayerNorm(width)
        self.up_first = nn.ConvTranspose2d(width, width // 4, 2, 2)
        self.up_norm = ChannelNorm(width // 4)
        self.up_second = nn.ConvTranspose2d(width // 4, width // 8, 2, 2)
        self.vectors = nn.ModuleList(Mlp(width, width, width, width // 8) for _ in range(config.masks))
        hidden = [config.quality_hidden] * (config.quality_layers - 1)
        self.quality = Mlp(width, *hidden, config.masks)

    def forward(
        self, image: Tensor, positions: Tensor, prompts: Tensor, seen: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Decode.

        Args:
            image: (N, width, s, s), with the prompt encoder's "no mask" added.
            positions: (s * s, width), of the prompt encoder.
            prompts: (N, L, width), sparse prompt tokens.
            seen: (N, L) bool, which prompt tokens count; all if not given.

        Returns:
            Scores (N, masks, 4 s, 4 s), above 0 inside; and what IoU each mask is thought to have (N, masks).
        """
        count, _, height, width = image.shape
        own = torch.cat([self.quality_token, self.mask_tokens]).expand(count, -1, -1)
        tokens = torch.cat([own, prompts], dim=1)
        if seen is not None:
            always = torch.ones(own.shape[:2], dtype=torch.bool, device=seen.device)
            seen = torch.cat([always, seen], dim=1)
        asked, pixels = tokens, image.flatten(2).transpose(1, 2)
        for layer in self.layers:
            tokens, pixels = layer(tokens, pixels, asked, positions, seen)
        tokens = self.norm(tokens + self.last(tokens + asked, pixels + positions, pixels))
        fine = pixels.transpose(1, 2).reshape(count, -1, height, width)
        fine = F.gelu(self.up_second(F.gelu(self.up_norm(self.up_first(fine)))))
        vectors = [network(tokens[:, 1 + index]) for index, network in enumerate(self.vectors)]
        scores = torch.einsum("nmc,nchw->nmhw", torch.stack(vectors, dim=1), fine)
        return scores, self.quality(tokens[:, 0])
