"""MedCLIP's view of an image: Swin-Tiny, pooled, and projected to where instructions live."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.networks.attention import Attention
from training.networks.sam.layers import from_windows, into_windows

__all__ = ["MedClipVision", "Swin", "SwinConfig"]


@dataclass(frozen=True)
class SwinConfig:
    """Size of the transformer; the defaults are Swin-Tiny, patch 4, window 7, 224 pixels.

    Attributes:
        image_size: Side of an image in pixels; every stage's map must be a multiple of `window`.
        patch: Side of a patch in pixels.
        width: Of the first stage; each further one is twice as wide, at half the size.
        layers: Blocks of each stage; every second one attends in shifted windows.
        heads: Of each stage's attention.
        window: Side of a window in pixels of its map.
        expand: Hidden channels of a block, by its width.
        epsilon: Of layer normalisation.
    """

    image_size: int = 224
    patch: int = 4
    width: int = 96
    layers: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (3, 6, 12, 24)
    window: int = 7
    expand: int = 4
    epsilon: float = 1e-5

    @property
    def out(self) -> int:
        """Width of the last stage."""
        return self.width << (len(self.layers) - 1)

    def side(self, stage: int) -> int:
        """Side of a stage's map in pixels of its own."""
        return self.image_size // self.patch >> stage


def _distances(window: int) -> Tensor:
    """Which learned term is between any two pixels of a window: (w^2, w^2), below (2 w - 1)^2."""
    away = torch.arange(window)[:, None] - torch.arange(window) + window - 1
    index = away[:, None, :, None] * (2 * window - 1) + away[None, :, None, :]
    return index.reshape(window * window, window * window)


def _apart(side: int, window: int, shift: int) -> Tensor:
    """Bias that keeps pixels apart which only the shift brought together: (windows, w^2, w^2), 0 or -100."""
    part = torch.zeros(side, dtype=torch.long)
    part[-window:] = 1
    part[-shift:] = 2
    parts = into_windows((3 * part[:, None] + part)[None, :, :, None], window).flatten(1)
    return -100.0 * (parts[:, :, None] != parts[:, None, :]).float()


class _WindowAttention(Attention):
    """Self-attention in a window, with one learned term per head and distance."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__(width, heads)
        self.bias = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.register_buffer("index", _distances(window), persistent=False)
        self.index: Tensor

    def within(self, x: Tensor, apart: Tensor | None) -> Tensor:
        """Windows (N * windows, w^2, width), and bias of each window (windows, w^2, w^2); shaped as given."""
        q, k, v = (self._split(part) for part in (self.query(x), self.key(x), self.value(x)))
        bias = self.bias[self.index].permute(2, 0, 1)[None]
        if apart is not None:
            bias = (bias + apart[:, None]).repeat(x.shape[0] // apart.shape[0], 1, 1, 1)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.out(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class _Block(nn.Module):
    """Attention in windows, shifted by half a window or not, then a network of each pixel's own."""

    def __init__(self, config: SwinConfig, stage: int, shifted: bool) -> None:
        super().__init__()
        width, window, side = config.width * 2**stage, config.window, config.side(stage)
        self.window, self.shift = window, window // 2 if shifted and side > window else 0
        self.before_attention = nn.LayerNorm(width, eps=config.epsilon)
        self.attention = _WindowAttention(width, config.heads[stage], window)
        self.before_mlp = nn.LayerNorm(width, eps=config.epsilon)
        self.widen = nn.Linear(width, config.expand * width)
        self.narrow = nn.Linear(config.expand * width, width)
        apart = _apart(side, window, self.shift) if self.shift else None
        self.register_buffer("apart", apart, persistent=False)
        self.apart: Tensor | None

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, width), shaped as given."""
        y = torch.roll(self.before_attention(x), (-self.shift, -self.shift), (1, 2))
        windows = into_windows(y, self.window)
        attended = self.attention.within(windows.flatten(1, 2), self.apart).reshape(windows.shape)
        y = from_windows(attended, x.shape[1], x.shape[2])
        x = x + torch.roll(y, (self.shift, self.shift), (1, 2))
        return x + self.narrow(F.gelu(self.widen(self.before_mlp(x))))  # type: ignore[no-any-return]


class _Merge(nn.Module):
    """Four pixels become one of twice the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduce = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, width) to (N, H / 2, W / 2, 2 * width)."""
        four = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduce(self.norm(torch.cat(four, dim=-1)))  # type: ignore[no-any-return]


class Swin(nn.Module):
    """A hierarchical transformer with attention in shifted windows, pooled over the image.

    Source:
        Liu et al. 2021 (Swin Transformer).
    """

    def __init__(self, config: SwinConfig) -> None:
        """Build it with random weights.

        Args:
            config: Size.

        Raises:
            ValueError: Some stage's map cannot be cut into whole windows.
        """
        super().__init__()
        last = 2 ** (len(config.layers) - 1)
        sides = {config.side(stage) for stage in range(len(config.layers))}
        if config.image_size % (config.patch * last) or any(side % config.window for side in sides):
            raise ValueError(f"some stage's map is not cut into whole windows of {config.window} in {config}")
        self.patches = nn.Conv2d(3, config.width, config.patch, config.patch)
        self.patch_norm = nn.LayerNorm(config.width)
        self.stages = nn.ModuleList(
            nn.Sequential(*(_Block(config, stage, bool(block % 2)) for block in range(count)))
            for stage, count in enumerate(config.layers)
        )
        merges = range(len(config.layers) - 1)
        self.merges = nn.ModuleList(_Merge(config.width * 2**stage) for stage in merges)
        self.norm = nn.LayerNorm(config.out, eps=config.epsilon)

    def forward(self, image: Tensor) -> Tensor:
        """Image (N, 3, S, S) to (N, out)."""
        x = self.patch_norm(self.patches(image).movedim(1, -1))
        for index, stage in enumerate(self.stages):
            x = stage(self.merges[index - 1](x) if index else x)
        return self.norm(x).mean((1, 2))  # type: ignore[no-any-return]


class MedClipVision(nn.Module):
    """Swin and a projection; vectors have length 1.

    MedCLIP wants images padded to a square with black, resized to 224 pixels, of one channel 0 to 1 less
    0.5862785803043838, divided by 0.27950088968644304, the same three times.

    Source:
        RyanWangZf/MedCLIP, medclip/constants.py and medclip/modeling_medclip.py (MedCLIPVisionModelViT,
        encode_image).
    """

    def __init__(self, config: SwinConfig, width: int = 512) -> None:
        """Build it with random weights.

        Args:
            config: Of the transformer.
            width: Of the result.
        """
        super().__init__()
        self.transformer = Swin(config)
        self.projection = nn.Linear(config.out, width, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """Image (N, 3, S, S) to (N, width), of length 1."""
        return F.normalize(self.projection(self.transformer(image)), dim=1)
