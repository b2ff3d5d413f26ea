"""Zeus: modalities and instructions in, one mask per target of the union of all modalities out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from training.networks.encoder import Encoder
from training.networks.fusion import PresenceAttention, presence_weights
from training.networks.mask_decoder import DecoderConfig, MaskDecoder, Masks

__all__ = ["Fusion", "Zeus", "ZeusConfig"]

Fusion = Literal["early", "hybrid", "late"]


@dataclass(frozen=True)
class ZeusConfig:
    """Everything that decides the network's shape.

    Attributes:
        modalities: How many there may be, in a fixed order.
        fusion: "early" stacks the modalities into one encoder. "hybrid" encodes each by itself with the same
            weights and mixes their features. "late" decodes each by itself, too, and adds their scores.
        widths: Feature maps of each resolution of the encoder, finest first.
        features: Features per voxel of one encoder.
        condition: Length of a condition vector, of one (modality, target).
        decoder: Size of the mask decoder.
    """

    modalities: int = 5
    fusion: Fusion = "early"
    widths: tuple[int, ...] = (16, 32, 64, 128, 160)
    features: int = 16
    condition: int = 64
    decoder: DecoderConfig = field(default_factory=DecoderConfig)

    def __post_init__(self) -> None:
        if self.fusion not in ("early", "hybrid", "late"):
            raise ValueError(f"fusion is {self.fusion!r}; use early, hybrid or late")


class Zeus(nn.Module):
    """Encoders and mask decoder in two halves: a study is encoded once, instructions are answered from that.

    Whatever the fusion, a voxel's score is one product: features · vector + bias. So every fusion has the
    same fused kernel at run time, and a further instruction costs one decoding.

    Source:
        Zeus (arXiv 2504.07336): three fusions, instructions of each modality as prompt of a SAM-type
        decoder. Where the paper is silent, ARCHITECTURE.md says what was decided.
    """

    def __init__(self, config: ZeusConfig) -> None:
        super().__init__()
        self.config = config
        count, bottom = config.modalities, config.widths[-1]
        if config.fusion == "early":
            self.encoder = Encoder(count, config.widths, config.features)
        else:
            self.encoder = Encoder(1, config.widths, config.features)
            self.kind = nn.Parameter(torch.zeros(count, config.widths[0]))
        if config.fusion == "hybrid":
            self.mix_features = PresenceAttention(config.features, count)
            self.mix_bottom = PresenceAttention(bottom, count)
        if config.fusion == "late":
            self.trust = nn.Parameter(torch.zeros(count))
        self.decoder = MaskDecoder(config.decoder, config.condition, bottom, config.features)

    def encode(self, image: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """What is made once per study.

        Args:
            image: (N, M, I, J, K), sides divisible by 2^(resolutions - 1).
            present: (N, M) bool, some of each row True; what a missing modality's image shows has no effect.

        Returns:
            Features per voxel (N, F, I, J, K), F the config's, for "late" M times as many; and the coarse
            map that decoding needs: (N, widths[-1], i, j, k), for "late" (N, M, widths[-1], i, j, k).
        """
        image = torch.where(present[:, :, None, None, None], image, torch.zeros_like(image))
        if self.config.fusion == "early":
            return self.encoder.both(image)
        features, bottom = self._each(image, present)
        if self.config.fusion == "late":
            return features.flatten(1, 2), bottom
        return self.mix_features(features, present), self.mix_bottom(bottom, present)

    def _each(self, image: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Every modality by itself: (N, M, F, I, J, K) and (N, M, widths[-1], i, j, k)."""
        images, kinds = image.flatten(0, 1)[:, None], self.kind.repeat(image.shape[0], 1)
        if not self.training:
            return _unflattened(self.encoder.both(images, kinds), present.shape)
        # Those that are missing have no effect; while training, which needs no fixed graph, no cost either.
        shown = present.flatten().nonzero()[:, 0]
        made = self.encoder.both(images[shown], kinds[shown])
        count = present.numel()
        whole = [part.new_zeros(count, *part.shape[1:]).index_copy(0, shown, part) for part in made]
        return _unflattened((whole[0], whole[1]), present.shape)

    def decode(self, bottom: Tensor, condition: Tensor, present: Tensor) -> Masks:
        """Answer instructions from what `encode` made.

        Args:
            bottom: Of `encode`.
            condition: (N, M, T, condition), each modality's instruction for each target.
            present: (N, M) bool, as given to `encode`.
        """
        if self.config.fusion != "late":
            share = present.to(condition.dtype)[:, :, None, None]
            return self.decoder(bottom, (condition * share).sum(1) / share.sum(1))  # type: ignore[no-any-return]
        count, modalities = present.shape
        single = self.decoder(bottom.flatten(0, 1), condition.flatten(0, 1))
        weights = presence_weights(self.trust.expand(count, -1), present, 1)[:, :, None]
        vectors, biases, presence = (part.unflatten(0, (count, modalities)) for part in single)
        vectors = (vectors * weights[..., None]).transpose(1, 2).flatten(2)
        return Masks(vectors, (biases * weights).sum(1), (presence * weights).sum(1))

    def forward(self, image: Tensor, present: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Both halves: scores (N, T, I, J, K) and presence (N, T), log-odds."""
        features, bottom = self.encode(image, present)
        masks = self.decode(bottom, condition, present)
        return masks.scores(features), masks.presence


def _unflattened(parts: tuple[Tensor, Tensor], shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Both with their first axis divided into studies and modalities."""
    features, bottom = parts
    return features.reshape(*shape, *features.shape[1:]), bottom.reshape(*shape, *bottom.shape[1:])
