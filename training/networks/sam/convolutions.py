"""Convolution and batch normalisation, the brick of both light image encoders."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["ConvNorm"]


class ConvNorm(nn.Module):
    """A convolution that keeps the size (or divides it by its stride), then batch normalisation."""

    def __init__(
        self,
        before: int,
        after: int,
        size: int = 1,
        stride: int = 1,
        groups: int = 1,
        epsilon: float = 1e-5,
        norm: bool = True,
    ) -> None:
        """Build it with random weights.

        Args:
            before: Channels of the input.
            after: Channels of the result.
            size: Of the kernel, odd.
            stride: Between samples.
            groups: Of channels that do not see each other.
            epsilon: Added to the variance.
            norm: Whether there is a normalisation; without one the convolution has an offset.
        """
        super().__init__()
        self.conv = nn.Conv2d(before, after, size, stride, size // 2, groups=groups, bias=not norm)
        self.norm = nn.BatchNorm2d(after, eps=epsilon) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) to (N, after, H / stride, W / stride), rounded up."""
        return self.norm(self.conv(x))  # type: ignore[no-any-return]
