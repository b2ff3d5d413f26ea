"""The image encoder every network here has: features per voxel, and what its lowest resolution knows."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Encoder", "InstanceNorm"]


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

    def __init__(self, channels: int, widths: tuple[int, ...], features: int) -> None:
        """Build it with random weights.

        Args:
            channels: Of the image.
            widths: Feature maps of each resolution, finest first.
            features: Per voxel, of the result.
        """
        super().__init__()
        self.down = nn.ModuleList()
        self.narrow = nn.ModuleList()
        self.up = nn.ModuleList()
        before = channels
        for level, width in enumerate(widths):
            blocks = [_block(before, width)]
            if level:
                blocks.append(_block(width, width))
            self.down.append(nn.Sequential(*blocks))
            before = width
        for level in reversed(range(len(widths) - 1)):
            self.narrow.append(_block(widths[level + 1], widths[level], 1))
            self.up.append(_block(2 * widths[level], widths[level]))
        self.last = nn.Conv3d(widths[0], features, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Image (N, channels, I, J, K) to features (N, features, I, J, K); see `both`."""
        return self.both(image)[0]

    def both(self, image: Tensor, offset: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features, and the maps of the lowest resolution.

        Args:
            image: (N, channels, I, J, K), sides divisible by 2^n.
            offset: (N, widths[0]), added to the first maps: says what kind of image it is.

        Returns:
            (N, features, I, J, K) and (N, widths[-1], I / 2^n, J / 2^n, K / 2^n), n = resolutions - 1.
        """
        skips: list[Tensor] = []
        x = image
        for level, block in enumerate(self.down):
            x = block(F.max_pool3d(x, 2) if level else x)
            if level == 0 and offset is not None:
                x = x + offset[:, :, None, None, None]
            skips.append(x)
        bottom = x
        for narrow, up, skip in zip(self.narrow, self.up, reversed(skips[:-1]), strict=True):
            x = F.interpolate(narrow(x), scale_factor=2.0, mode="nearest")
            x = up(torch.cat([x, skip], dim=1))
        return self.last(x), bottom
