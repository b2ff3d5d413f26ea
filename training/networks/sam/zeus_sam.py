"""Zeus in the paper's own configuration: modalities and instructions in, SAM's masks of their union out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.networks.attention import Mlp
from training.networks.fusion import PresenceAttention, presence_weights
from training.networks.sam.parts import Sam
from training.networks.zeus import Fusion

__all__ = ["VisualToken", "ZeusSam", "ZeusSamConfig"]

_CHANNELS = 3
"""Of the images that every encoder of SAM's family wants."""


@dataclass(frozen=True)
class ZeusSamConfig:
    """What is added to SAM.

    Attributes:
        modalities: How many there may be, in a fixed order; at most 3 for "early".
        fusion: "early" makes the modalities the three channels of one image. "hybrid" encodes each by
            itself and mixes their maps. "late" decodes each by itself, too, and adds their scores.
        condition: Length of an instruction's and of an image's vector, MedCLIP's.
        hidden: Of the network that makes an image's vector a token of the language model.
        language: Width of the language model's tokens; Vicuna-7B's is 4096.
    """

    modalities: int = 3
    fusion: Fusion = "late"
    condition: int = 512
    hidden: int = 1024
    language: int = 4096

    def __post_init__(self) -> None:
        if self.fusion not in ("early", "hybrid", "late"):
            raise ValueError(f"fusion is {self.fusion!r}; use early, hybrid or late")
        if self.fusion == "early" and self.modalities > _CHANNELS:
            raise ValueError(
                f"an image has {_CHANNELS} channels, not {self.modalities}; use hybrid or late fusion"
            )


class VisualToken(nn.Module):
    """An image's vector becomes one token that a language model reads.

    Source:
        Zeus (arXiv 2504.07336): a trained two-layer network between MedCLIP and the language model. That
        it is one token of the pooled vector, and how wide it is inside, is ours.
    """

    def __init__(self, config: ZeusSamConfig) -> None:
        """Build it with random weights."""
        super().__init__()
        self.layers = Mlp(config.condition, config.hidden, config.language)

    def forward(self, vectors: Tensor) -> Tensor:
        """Vectors of images (N, M, condition) to tokens (N, M, language)."""
        return self.layers(vectors)  # type: ignore[no-any-return]


class ZeusSam(nn.Module):
    """SAM whose prompts are instructions; a study is encoded once, instructions are answered from that.

    Frozen are SAM's image encoder and prompt encoder (and MedCLIP and the language model, which are not in
    here). Trained are the network of visual tokens, the projection of instructions, the mask decoder, and
    what mixes modalities. Every target is decoded by itself: its mask does not depend on what else is
    asked for. Of SAM's masks the first counts, which answers a prompt that is not ambiguous.

    Source:
        Zeus (arXiv 2504.07336). Where the paper is silent, ARCHITECTURE.md says what was decided.
    """

    def __init__(self, config: ZeusSamConfig, sam: Sam) -> None:
        """Put it together; what is added to SAM has random weights. Nothing is frozen yet.

        Args:
            config: What is added.
            sam: With the weights to begin from.
        """
        super().__init__()
        self.config, self.sam = config, sam
        width = sam.decoder.config.width
        self.visual = VisualToken(config)
        self.project = nn.Linear(config.condition, width)
        if config.fusion == "hybrid":
            self.mix = PresenceAttention(width, config.modalities)
        if config.fusion == "late":
            self.trust = nn.Parameter(torch.zeros(config.modalities))
        self._frozen = False

    def freeze(self) -> ZeusSam:
        """Take SAM's encoders out of training: no gradients, and their statistics stay as they are."""
        self._frozen = True
        for part in (self.sam.encoder, self.sam.prompt):
            part.requires_grad_(False).eval()
        return self

    def train(self, mode: bool = True) -> ZeusSam:
        """Training mode, for all that is not frozen."""
        super().train(mode)
        if self._frozen:
            self.sam.encoder.eval()
            self.sam.prompt.eval()
        return self

    def encode(self, image: Tensor, present: Tensor) -> Tensor:
        """What is made once per study.

        Args:
            image: (N, M, S, S), one slice of every modality, S as the encoder wants, normalised as it wants.
            present: (N, M) bool, some of each row True; what a missing modality's image shows has no effect.

        Returns:
            (N, width, s, s), for "late" (N, M, width, s, s).
        """
        image = torch.where(present[:, :, None, None], image, torch.zeros_like(image))
        if self.config.fusion == "early":
            return self.sam.encoder(self._channels(image, present))  # type: ignore[no-any-return]
        each = image.flatten(0, 1)[:, None].expand(-1, _CHANNELS, -1, -1)
        maps = self.sam.encoder(each).unflatten(0, present.shape)
        if self.config.fusion == "late":
            return maps  # type: ignore[no-any-return]
        return self.mix(maps[..., None], present)[..., 0]  # type: ignore[no-any-return]

    @staticmethod
    def _channels(image: Tensor, present: Tensor) -> Tensor:
        """Modalities as channels; one that has none shows the mean of those that are there."""
        share = present.to(image.dtype)[:, :, None, None]
        mean = (image * share).sum(1, keepdim=True) / share.sum(1, keepdim=True)
        shown = torch.where(present[:, :, None, None], image, mean)
        rest = mean.expand(-1, _CHANNELS - image.shape[1], -1, -1)
        return torch.cat([shown, rest], dim=1)

    def decode(self, maps: Tensor, condition: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Answer instructions from what `encode` made.

        Args:
            maps: Of `encode`.
            condition: (N, M, T, condition), each modality's instruction for each target.
            present: (N, M) bool, as given to `encode`.

        Returns:
            Scores (N, T, 4 s, 4 s), above 0 inside; and what IoU each mask is thought to have (N, T).
        """
        count, modalities, targets = condition.shape[:3]
        tokens = self.project(condition)
        if self.config.fusion == "late":
            each = maps[:, :, None].expand(-1, -1, targets, -1, -1, -1).flatten(0, 2)
            scores, quality = self.sam.decode(each, tokens.flatten(0, 2)[:, None])
            scores = scores[:, 0].reshape(count, modalities, targets, *scores.shape[2:])
            quality = quality[:, 0].reshape(count, modalities, targets)
            weights = presence_weights(self.trust.expand(count, -1), present, 1)[:, :, None]
            return (scores * weights[..., None, None]).sum(1), (quality * weights).sum(1)
        each = maps[:, None].expand(-1, targets, -1, -1, -1).flatten(0, 1)
        seen = present[:, None].expand(-1, targets, -1).flatten(0, 1)
        scores, quality = self.sam.decode(each, tokens.transpose(1, 2).flatten(0, 1), seen)
        scores = scores[:, 0].reshape(count, targets, *scores.shape[2:])
        return scores, quality[:, 0].reshape(count, targets)

    def forward(self, image: Tensor, present: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Both halves: scores (N, T, 4 s, 4 s) and estimated IoU (N, T)."""
        return self.decode(self.encode(image, present), condition, present)
