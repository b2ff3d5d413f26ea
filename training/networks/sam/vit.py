"""SAM's own image encoder: a plain ViT whose blocks mostly attend inside windows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.networks.sam.layers import ImageEncoder, Neck, from_windows, into_windows

__all__ = ["VitConfig", "VitEncoder"]


@dataclass(frozen=True)
class VitConfig:
    """Size of the encoder; the defaults are ViT-B of SAM and MedSAM.

    Attributes:
        image_size: Side of an image in pixels, divisible by `patch`.
        patch: Side of a patch in pixels.
        width: Of a token, divisible by `heads`.
        layers: Transformer blocks.
        heads: Of each attention.
        hidden: Of each block's own network.
        window: Side of a window in patches.
        everywhere: Which blocks attend to the whole image, counted from 0.
        out: Channels of the map.
        epsilon: Of the blocks' layer normalisation.
    """

    image_size: int = 1024
    patch: int = 16
    width: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int = 3072
    window: int = 14
    everywhere: tuple[int, ...] = (2, 5, 8, 11)
    out: int = 256
    epsilon: float = 1e-6


class _Attention(nn.Module):
    """Self-attention in a square, with one learned term per row distance and one per column distance."""

    def __init__(self, width: int, heads: int, side: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.rows = nn.Parameter(torch.zeros(2 * side - 1, width // heads))
        self.columns = nn.Parameter(torch.zeros(2 * side - 1, width // heads))
        away = torch.arange(side)[:, None] - torch.arange(side) + side - 1
        self.register_buffer("away", away, persistent=False)
        self.away: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """(N, side, side, width), shaped as given."""
        count, height, width, channels = x.shape
        qkv = self.qkv(x).reshape(count, height * width, 3, self.heads, channels // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        place = q.unflatten(2, (height, width))
        by_row = torch.einsum("nhijc,ikc->nhijk", place, self.rows[self.away])
        by_column = torch.einsum("nhijc,jkc->nhijk", place, self.columns[self.away])
        bias = (by_row[..., :, None] + by_column[..., None, :]).flatten(4).flatten(2, 3)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        joined = torch.cat(mixed.unbind(1), dim=-1)  # a transpose and a view here do not export for any batch
        return self.out(joined.reshape(x.shape))  # type: ignore[no-any-return]


class _Block(nn.Module):
    def __init__(self, config: VitConfig, window: int) -> None:
        super().__init__()
        self.window = window
        self.before_attention = nn.LayerNorm(config.width, eps=config.epsilon)
        side = window or config.image_size // config.patch
        self.attention = _Attention(config.width, config.heads, side)
        self.before_mlp = nn.LayerNorm(config.width, eps=config.epsilon)
        self.widen = nn.Linear(config.width, config.hidden)
        self.narrow = nn.Linear(config.hidden, config.width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.before_attention(x)
        if self.window:
            y = from_windows(self.attention(into_windows(y, self.window)), x.shape[1], x.shape[2])
        else:
            y = self.attention(y)
        x = x + y
        return x + self.narrow(F.gelu(self.widen(self.before_mlp(x))))  # type: ignore[no-any-return]


class VitEncoder(ImageEncoder):
    """The ViT of SAM; MedSAM has the same one with other weights.

    SAM wants images of 0 to 255 less (123.675, 116.28, 103.53), divided by (58.395, 57.12, 57.375),
    padded below and to the right; MedSAM wants each image stretched to 0 to 1 and resized to the square.

    Source:
        Kirillov et al. 2023 (Segment Anything), appendix A; Li et al. 2022 (ViTDet); Li et al. 2022
        (MViTv2) for relative positions in rows and columns.
    """

    def __init__(self, config: VitConfig) -> None:
        """Build it with random weights.

        Args:
            config: Size.

        Raises:
            ValueError: Sizes do not divide, or a block that does not exist is to attend everywhere.
        """
        super().__init__()
        if config.image_size % config.patch or config.width % config.heads:
            raise ValueError(f"image_size / patch and width / heads must be whole in {config}")
        if not set(config.everywhere) <= set(range(config.layers)):
            raise ValueError(
                f"everywhere names blocks beyond the {config.layers} there are: {config.everywhere}"
            )
        self.image_size, self.width = config.image_size, config.out
        self.map_size = config.image_size // config.patch
        self.patches = nn.Conv2d(3, config.width, config.patch, config.patch)
        self.places = nn.Parameter(torch.zeros(1, self.map_size, self.map_size, config.width))
        windows = [0 if block in config.everywhere else config.window for block in range(config.layers)]
        self.blocks = nn.ModuleList(_Block(config, window) for window in windows)
        self.neck = Neck(config.width, config.out)

    def forward(self, image: Tensor) -> Tensor:
        """Image (N, 3, S, S) to its map (N, out, s, s), s = S / patch."""
        x = self.patches(image).movedim(1, -1) + self.places
        for block in self.blocks:
            x = block(x)
        return self.neck(x.movedim(-1, 1))  # type: ignore[no-any-return]
