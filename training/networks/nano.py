"""The network of `zeus-nano-head`: features per voxel, scored against one vector per target."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Encoder", "InstanceNorm", "NanoConfig", "NanoNetwork"]


@dataclass(frozen=True)
class NanoConfig:
    """Size of the network.

    Attributes:
        channels: Input channels, one per modality; a missing one is zero.
        widths: Feature maps of each resolution, finest first.
        features: Features per voxel that condition vectors are compared with.
        targets: Condition vectors, background included.
    """

    channels: int = 5
    widths: tuple[int, ...] = (16, 32, 64, 128, 160)
    features: int = 16
    targets: int = 18


class InstanceNorm(nn.Module):
    """Instance normalisation with scale and offset.

    A study may be one CT or four MR contrasts, and one patch is one batch: statistics shared
    between samples describe none of them.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, I, J, K), each map of each sample brought to mean `bias`, deviation `weight`."""
        if self.training and len(x) == 1:  # the same thing, but fast in channels-last layout
            return F.batch_norm(x, None, None, self.weight, self.bias, training=True)
        return F.instance_norm(x, weight=self.weight, bias=self.bias)


def _block(channels: int, width: int, size: int = 3) -> nn.Sequential:
    convolution = nn.Conv3d(channels, width, size, padding=size // 2, bias=False)
    return nn.Sequential(convolution, InstanceNorm(width), nn.ReLU())


class Encoder(nn.Module):
    """A 3-D U-Net with instance normalisation.

    Before each upsampling a 1 x 1 x 1 convolution narrows the maps to the skip's width, so the
    widest tensor at full resolution has twice the finest width.
    """

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        widths = config.widths
        self.down = nn.ModuleList()
        self.narrow = nn.ModuleList()
        self.up = nn.ModuleList()
        before = config.channels
        for level, width in enumerate(widths):
            blocks = [_block(before, width)]
            if level:
                blocks.append(_block(width, width))
            self.down.append(nn.Sequential(*blocks))
            before = width
        for level in reversed(range(len(widths) - 1)):
            self.narrow.append(_block(widths[level + 1], widths[level], 1))
            self.up.append(_block(2 * widths[level], widths[level]))
        self.last = nn.Conv3d(widths[0], config.features, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Image (N, channels, I, J, K), sides divisible by 16, to features (N, features, I, J, K)."""
        skips: list[Tensor] = []
        x = image
        for level, block in enumerate(self.down):
            x = block(F.max_pool3d(x, 2) if level else x)
            skips.append(x)
        for narrow, up, skip in zip(self.narrow, self.up, reversed(skips[:-1]), strict=True):
            x = F.interpolate(narrow(x), scale_factor=2.0, mode="nearest")
            x = up(torch.cat([x, skip], dim=1))
        return self.last(x)  # type: ignore[no-any-return]


class NanoNetwork(nn.Module):
    """Encoder and condition vectors: scores = features · vector + bias, per voxel and target."""

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.vectors = nn.Parameter(torch.randn(config.targets, config.features) / config.features**0.5)
        self.bias = nn.Parameter(torch.zeros(config.targets))

    def forward(self, image: Tensor) -> Tensor:
        """Image (N, channels, I, J, K) to scores (N, targets, I, J, K)."""
        features = self.encoder(image)
        weight = self.vectors[:, :, None, None, None]
        return F.conv3d(features, weight, self.bias)
