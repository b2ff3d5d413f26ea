"""The network of `zeus-nano-head`: features per voxel, scored against one vector per target."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.networks.conditioned import Scores
from training.networks.encoder import Encoder
from training.networks.zeus import ZeusConfig

__all__ = ["NanoConfig", "NanoNetwork", "PlainUNet"]


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


class NanoNetwork(nn.Module):
    """Encoder and condition vectors: scores = features · vector + bias, per voxel and target."""

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config.channels, config.widths, config.features)
        self.vectors = nn.Parameter(torch.randn(config.targets, config.features) / config.features**0.5)
        self.bias = nn.Parameter(torch.zeros(config.targets))

    def forward(self, image: Tensor) -> Tensor:
        """Image (N, channels, I, J, K) to scores (N, targets, I, J, K)."""
        features = self.encoder(image)
        weight = self.vectors[:, :, None, None, None]
        return F.conv3d(features, weight, self.bias)


class PlainUNet(nn.Module):
    """The encoder of a Zeus with one fixed vector per target: what its decoder is compared with."""

    def __init__(self, config: ZeusConfig, targets: int) -> None:
        """Build it with random weights.

        Args:
            config: Of the Zeus.
            targets: T, without the background.
        """
        super().__init__()
        self.config = config
        self.nano = NanoNetwork(NanoConfig(config.modalities, config.widths, config.features, targets + 1))

    def forward(self, image: Tensor, present: Tensor) -> Scores:
        """Score every voxel of images (N, M, I, J, K); what is not `present` (N, M) is not seen."""
        return Scores(self.nano(torch.where(present[:, :, None, None, None], image, 0.0)), None)
