"""EfficientViT-SAM's image encoder: convolutions, and linear attention where the map is small."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.networks.sam.convolutions import ConvNorm
from training.networks.sam.layers import ChannelNorm, ImageEncoder

__all__ = ["EFFICIENT_VIT_SAM", "EfficientVitConfig", "EfficientVitEncoder"]

Kind = Literal["plain", "fused", "inverted", "attention 3", "attention 5"]


@dataclass(frozen=True)
class EfficientVitConfig:
    """Size of the encoder; the defaults are the released L0.

    Attributes:
        image_size: Side of an image in pixels.
        map_size: Side of the map, whatever the image's.
        widths: Of each stage; each but the stem's starts at half the size.
        layers: Blocks of each stage after its first, which makes it smaller; the stem's is not counted.
        kinds: Of each stage's blocks: two 3 x 3 convolutions; 3 x 3 and 1 x 1; 1 x 1, depth-wise and
            1 x 1; linear attention over neighbourhoods of 3 or 5 pixels.
        expand: Hidden channels of each stage's blocks, by the width; four times that in its first.
        norms: Whether each stage normalises after every convolution, or only after a block's last.
        head: Width of one attention head.
        neck_layers: Blocks of the neck, which adds the last three stages' maps.
        neck_expand: Hidden channels of those, by the width.
        out: Channels of the map.
    """

    image_size: int = 512
    map_size: int = 64
    widths: tuple[int, ...] = (32, 64, 128, 256, 512)
    layers: tuple[int, ...] = (1, 1, 1, 4, 4)
    kinds: tuple[Kind, ...] = ("plain", "fused", "fused", "inverted", "attention 5")
    expand: tuple[int, ...] = (1, 4, 4, 4, 6)
    norms: tuple[bool, ...] = (True, True, True, False, False)
    head: int = 32
    neck_layers: int = 4
    neck_expand: int = 1
    out: int = 256


def _large(layers: tuple[int, ...], neck_layers: int) -> EfficientVitConfig:
    return EfficientVitConfig(
        image_size=1024,
        widths=(32, 64, 128, 256, 512, 1024),
        layers=layers,
        kinds=("plain", "fused", "fused", "fused", "attention 3", "attention 3"),
        expand=(1, 4, 4, 4, 4, 6),
        norms=(True, True, True, True, False, False),
        neck_layers=neck_layers,
        neck_expand=4,
    )


EFFICIENT_VIT_SAM: dict[str, EfficientVitConfig] = {
    "l0": EfficientVitConfig(),
    "l1": EfficientVitConfig(layers=(1, 1, 1, 6, 6), neck_layers=8),
    "l2": EfficientVitConfig(layers=(1, 2, 2, 8, 8), neck_layers=12),
    "xl0": _large((0, 1, 1, 2, 3, 3), 6),
    "xl1": _large((1, 2, 2, 4, 6, 6), 12),
}
"""The released sizes. Source: mit-han-lab/efficientvit, efficientvit/models/efficientvit/sam.py."""

_EPSILON = 1e-6
"""Of every normalisation. Source: mit-han-lab/efficientvit, efficientvit/sam_model_zoo.py."""


def _gelu(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


class _Convolutions(nn.Module):
    """Convolutions with GELU between them, some of them normalised."""

    def __init__(self, *convolutions: ConvNorm) -> None:
        super().__init__()
        self.steps = nn.ModuleList(convolutions)

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps[:-1]:
            x = _gelu(step(x))
        return self.steps[-1](x)  # type: ignore[no-any-return]


class _Shortcut(nn.Module):
    """What a module says, added to what it was given."""

    def __init__(self, main: nn.Module) -> None:
        super().__init__()
        self.main = main

    def forward(self, x: Tensor) -> Tensor:
        return x + self.main(x)  # type: ignore[no-any-return]


def _convolutions(
    kind: Kind, before: int, after: int, hidden: int, stride: int, norms: bool
) -> _Convolutions:
    """A block of convolutions; without `norms` only the last one is normalised."""
    last = ConvNorm(hidden, after, epsilon=_EPSILON)
    if kind == "plain":
        first = ConvNorm(before, hidden, 3, stride, epsilon=_EPSILON, norm=norms)
        return _Convolutions(first, ConvNorm(hidden, after, 3, epsilon=_EPSILON))
    if kind == "fused":
        return _Convolutions(ConvNorm(before, hidden, 3, stride, epsilon=_EPSILON, norm=norms), last)
    widen = ConvNorm(before, hidden, epsilon=_EPSILON, norm=norms)
    spread = ConvNorm(hidden, hidden, 3, stride, groups=hidden, epsilon=_EPSILON, norm=norms)
    return _Convolutions(widen, spread, last)


class _LinearAttention(nn.Module):
    """Attention of ReLU features: keys and values meet first, so cost grows with pixels, not their square.

    Source:
        Cai et al. 2023 (EfficientViT), section 3.1.
    """

    def __init__(self, width: int, head: int, around: int) -> None:
        super().__init__()
        self.head = head
        total = 3 * (width // head) * head
        self.qkv = nn.Conv2d(width, total, 1, bias=False)
        self.around = nn.Conv2d(total, total, around, padding=around // 2, groups=total, bias=False)
        self.regroup = nn.Conv2d(total, total, 1, groups=3 * (width // head), bias=False)
        self.out = ConvNorm(2 * total // 3, width, epsilon=_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x)
        both = torch.cat([qkv, self.regroup(self.around(qkv))], dim=1)
        q, k, v = both.reshape(x.shape[0], -1, 3, self.head, x.shape[2] * x.shape[3]).unbind(
            2
        )  # (N, heads, head, pixels) each
        q, k = F.relu(q), F.relu(k)
        mixed = (v @ k.transpose(2, 3)) @ q
        share = (k.sum(3)[:, :, None] @ q).clamp_min(1e-15)  # the exporter drops an addition of so little
        return self.out((mixed / share).reshape(x.shape[0], -1, *x.shape[2:]))  # type: ignore[no-any-return]


class EfficientVitEncoder(ImageEncoder):
    """A fast image encoder with the map of SAM's.

    It wants images of 0 to 1 less SAM's mean, divided by SAM's deviation (both by 255), the longest side
    resized to `image_size`, padded below and right.

    Source:
        Cai et al. 2023 (EfficientViT); Zhang et al. 2024 (EfficientViT-SAM) and mit-han-lab/efficientvit,
        efficientvit/models/efficientvit/sam.py, for the neck.
    """

    def __init__(self, config: EfficientVitConfig) -> None:
        """Build it with random weights."""
        super().__init__()
        self.image_size, self.map_size, self.width = config.image_size, config.map_size, config.out
        self.stem = ConvNorm(3, config.widths[0], 3, 2, epsilon=_EPSILON)
        self.stages = nn.ModuleList(self._stage(config, stage) for stage in range(len(config.widths)))
        neck = config.out
        self.inputs = nn.ModuleList(
            ConvNorm(width, neck, epsilon=_EPSILON) for width in config.widths[:-4:-1]
        )
        hidden = neck * config.neck_expand
        blocks = (_convolutions("fused", neck, neck, hidden, 1, True) for _ in range(config.neck_layers))
        self.middle = nn.Sequential(*(_Shortcut(block) for block in blocks))
        self.out = nn.Conv2d(neck, config.out, 1)
        self.norm = ChannelNorm(config.out, _EPSILON)

    @staticmethod
    def _stage(config: EfficientVitConfig, stage: int) -> nn.Sequential:
        width, kind, norms = config.widths[stage], config.kinds[stage], config.norms[stage]
        hidden = width * config.expand[stage]
        blocks: list[nn.Module] = []
        if stage:
            before = config.widths[stage - 1]
            first: Kind = "fused" if kind == "fused" else "inverted"
            blocks.append(_convolutions(first, before, width, 4 * config.expand[stage] * before, 2, norms))
        for _ in range(config.layers[stage]):
            if kind.startswith("attention"):
                blocks.append(_Shortcut(_LinearAttention(width, config.head, int(kind[-1]))))
                blocks.append(_Shortcut(_convolutions("inverted", width, width, hidden, 1, False)))
            else:
                blocks.append(_Shortcut(_convolutions(kind, width, width, hidden, 1, norms)))
        return nn.Sequential(*blocks)

    def features(self, image: Tensor) -> list[Tensor]:
        """Each stage's map of an image (N, 3, S, S): (N, widths[n], S / 2^(n + 1), S / 2^(n + 1))."""
        x = _gelu(self.stem(image))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, image: Tensor) -> Tensor:
        """Image (N, 3, S, S) to its map (N, out, map_size, map_size)."""
        size = (self.map_size, self.map_size)
        coarse_first = self.features(image)[:-4:-1]
        x = torch.stack(
            [
                F.interpolate(narrow(found), size, mode="bicubic", align_corners=False)
                for narrow, found in zip(self.inputs, coarse_first, strict=True)
            ]
        ).sum(0)
        return self.norm(self.out(self.middle(x)))  # type: ignore[no-any-return]
