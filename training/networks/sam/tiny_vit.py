"""TinyViT as LiteMedSAM and MobileSAM use it: convolutions first, then attention in windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.networks.sam.convolutions import ConvNorm
from training.networks.sam.layers import ImageEncoder, Neck, from_windows, into_windows

__all__ = ["TinyVitConfig", "TinyVitEncoder"]


@dataclass(frozen=True)
class TinyVitConfig:
    """Size of the encoder; the defaults are TinyViT-5M of LiteMedSAM.

    MobileSAM is the same with an `image_size` of 1024 and a `stem_stride` of 2.

    Attributes:
        image_size: Side of an image in pixels.
        stem_stride: Of both convolutions before the first stage: 1 and they are 1 x 1, 2 and they are 3 x 3.
        widths: Of each stage.
        layers: Blocks of each stage.
        heads: Of each stage's attention; the first stage has none and its entry no effect.
        windows: Side of each stage's windows, in pixels of its map; the first has no effect.
        halves: Whether each stage but the last ends at half the size. Encoders for SAM keep the last size.
        expand: Hidden channels of a block, by its width.
        out: Channels of the map.
    """

    image_size: int = 256
    stem_stride: Literal[1, 2] = 1
    widths: tuple[int, ...] = (64, 128, 160, 320)
    layers: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (2, 4, 5, 10)
    windows: tuple[int, ...] = (7, 7, 14, 7)
    halves: tuple[bool, ...] = (True, True, False)
    expand: int = 4
    out: int = 256


class _Inverted(nn.Module):
    """A depth-wise convolution between two that change the width, with a shortcut."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.widen = ConvNorm(width, hidden)
        self.spread = ConvNorm(hidden, hidden, 3, groups=hidden)
        self.narrow = ConvNorm(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x + self.narrow(F.gelu(self.spread(F.gelu(self.widen(x))))))


class _Merge(nn.Module):
    """From one stage's width to the next, at half the size or the same."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.widen = ConvNorm(before, after)
        self.spread = ConvNorm(after, after, 3, stride, groups=after)
        self.mix = ConvNorm(after, after)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(F.gelu(self.spread(F.gelu(self.widen(x)))))  # type: ignore[no-any-return]


class _WindowAttention(nn.Module):
    """Self-attention in a window, with one learned term per head and distance, whatever its sign."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.bias = nn.Parameter(torch.zeros(heads, window * window))
        places = torch.arange(window)
        away = (places[:, None] - places).abs()
        index = away[:, None, :, None] * window + away[None, :, None, :]
        self.register_buffer("index", index.reshape(window * window, window * window), persistent=False)
        self.index: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, width), shaped as given."""
        count, length, width = x.shape
        qkv = self.qkv(self.norm(x)).reshape(count, length, self.heads, 3, width // self.heads)
        q, k, v = qkv.permute(3, 0, 2, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias[:, self.index])
        return self.out(mixed.transpose(1, 2).reshape(x.shape))  # type: ignore[no-any-return]


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, window: int, hidden: int) -> None:
        super().__init__()
        self.window = window
        self.attention = _WindowAttention(width, heads, window)
        self.local = ConvNorm(width, width, 3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, hidden)
        self.narrow = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W), shaped as given."""
        windows = into_windows(x.movedim(1, -1), self.window)
        attended = self.attention(windows.flatten(1, 2)).reshape(windows.shape)
        x = x + from_windows(attended, x.shape[2], x.shape[3]).movedim(-1, 1)
        x = self.local(x).movedim(1, -1)
        x = x + self.narrow(F.gelu(self.widen(self.norm(x))))
        return x.movedim(-1, 1)


class TinyVitEncoder(ImageEncoder):
    """A light image encoder with the map of SAM's.

    LiteMedSAM wants each image resized to its longest side, stretched to 0 to 1, padded below and right.

    Source:
        Wu et al. 2022 (TinyViT); Zhang et al. 2023 (MobileSAM) for the last stage without a smaller map;
        bowang-lab/MedSAM, tiny_vit_sam.py of LiteMedSAM, for a stem that does not make the map smaller.
    """

    def __init__(self, config: TinyVitConfig) -> None:
        """Build it with random weights.

        Args:
            config: Size.

        Raises:
            ValueError: The image's side is not a multiple of how much smaller the map is.
        """
        super().__init__()
        scale = config.stem_stride**2 * 2 ** sum(config.halves)
        if config.image_size % scale:
            raise ValueError(f"image_size {config.image_size} is not a multiple of {scale}")
        self.image_size, self.width = config.image_size, config.out
        self.map_size = config.image_size // scale
        widths = config.widths
        size, stride, half = 2 * config.stem_stride - 1, config.stem_stride, widths[0] // 2
        self.stem = nn.ModuleList([ConvNorm(3, half, size, stride), ConvNorm(half, widths[0], size, stride)])
        self.stages = nn.ModuleList()
        self.merges = nn.ModuleList()
        for stage, width in enumerate(widths):
            hidden, window, heads = config.expand * width, config.windows[stage], config.heads[stage]
            blocks = [
                _Block(width, heads, window, hidden) if stage else _Inverted(width, hidden)
                for _ in range(config.layers[stage])
            ]
            self.stages.append(nn.Sequential(*blocks))
        for before, after, halves in zip(widths, widths[1:], config.halves, strict=False):
            self.merges.append(_Merge(before, after, 2 if halves else 1))
        self.neck = Neck(widths[-1], config.out)

    def features(self, image: Tensor) -> Tensor:
        """What the neck sees: image (N, 3, S, S) to (N, widths[-1], s, s)."""
        x = self.stem[1](F.gelu(self.stem[0](image)))
        for index, stage in enumerate(self.stages):
            x = stage(self.merges[index - 1](x) if index else x)
        return x  # type: ignore[no-any-return]

    def forward(self, image: Tensor) -> Tensor:
        """Image (N, 3, S, S) to its map (N, out, s, s); s is 64 for LiteMedSAM and for MobileSAM."""
        return self.neck(self.features(image))  # type: ignore[no-any-return]
