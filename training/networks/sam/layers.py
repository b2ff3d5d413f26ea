"""Parts that several of the image encoders share: windows, normalisation over channels, SAM's neck."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ChannelNorm", "ImageEncoder", "Neck", "from_windows", "into_windows"]


class ImageEncoder(nn.Module):
    """What every image encoder of SAM's family is to a decoder: a square image in, a square map out.

    Attributes:
        image_size: S, the side of an image.
        map_size: s, the side of the map.
        width: Channels of the map.
    """

    image_size: int
    map_size: int
    width: int

    def forward(self, image: Tensor) -> Tensor:
        """Image (N, 3, S, S) to its map (N, width, s, s)."""
        raise NotImplementedError


class ChannelNorm(nn.Module):
    """Layer normalisation of each pixel over its channels."""

    def __init__(self, width: int, epsilon: float = 1e-6) -> None:
        """Build it as an identity of normalised maps.

        Args:
            width: Channels.
            epsilon: Added to the variance.
        """
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W), shaped as given."""
        last = F.layer_norm(x.movedim(1, -1), self.weight.shape, self.weight, self.bias, self.epsilon)
        return last.movedim(-1, 1)


class Neck(nn.Module):
    """From an encoder's width to the decoder's: 1 x 1, then 3 x 3, each normalised.

    Source:
        Li et al. 2022 (ViTDet) as used in Segment Anything; TinyViT encoders for SAM have the same one.
    """

    def __init__(self, before: int, width: int) -> None:
        """Build it with random weights.

        Args:
            before: Channels of the encoder.
            width: Channels of the decoder.
        """
        super().__init__()
        self.narrow = nn.Conv2d(before, width, 1, bias=False)
        self.narrow_norm = ChannelNorm(width)
        self.smooth = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.smooth_norm = ChannelNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) to (N, width, H, W)."""
        return self.smooth_norm(self.smooth(self.narrow_norm(self.narrow(x))))  # type: ignore[no-any-return]


def into_windows(x: Tensor, size: int) -> Tensor:
    """Cut a map into windows; what reaches beyond its end is zero.

    Args:
        x: (N, H, W, C).
        size: w, the side of a window.

    Returns:
        (N * windows, w, w, C), windows of one image beside each other, row by row.
    """
    count, height, width, channels = x.shape
    x = F.pad(x, (0, 0, 0, -width % size, 0, -height % size))
    rows, columns = -(-height // size), -(-width // size)
    x = x.reshape(count, rows, size, columns, size, channels).transpose(2, 3)
    return x.reshape(count * rows * columns, size, size, channels)


def from_windows(windows: Tensor, height: int, width: int) -> Tensor:
    """Put windows together again.

    Args:
        windows: (N * windows, w, w, C), of `into_windows`.
        height: H, of the map.
        width: W, of the map.

    Returns:
        (N, H, W, C).
    """
    size, channels = windows.shape[1], windows.shape[-1]
    rows, columns = -(-height // size), -(-width // size)
    x = windows.reshape(-1, rows, columns, size, size, channels).transpose(2, 3)
    return x.reshape(-1, rows * size, columns * size, channels)[:, :height, :width]
