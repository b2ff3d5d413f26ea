"""The two sets of frozen networks that a checkpoint fills as one: SAM, and MedCLIP."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from training.networks.sam.bert import BertConfig, MedClipText
from training.networks.sam.efficient_vit import EfficientVitConfig, EfficientVitEncoder
from training.networks.sam.layers import ImageEncoder
from training.networks.sam.mask_decoder import SamDecoder, SamDecoderConfig
from training.networks.sam.prompt import PromptEncoder
from training.networks.sam.swin import MedClipVision, SwinConfig
from training.networks.sam.tiny_vit import TinyVitConfig, TinyVitEncoder
from training.networks.sam.vit import VitConfig, VitEncoder

__all__ = ["EncoderConfig", "MedClip", "MedClipConfig", "Sam", "SamConfig", "build_encoder"]

EncoderConfig = VitConfig | TinyVitConfig | EfficientVitConfig
"""Which image encoder, and its size."""


def build_encoder(config: EncoderConfig) -> ImageEncoder:
    """The image encoder that a configuration describes, with random weights."""
    if isinstance(config, VitConfig):
        return VitEncoder(config)
    return TinyVitEncoder(config) if isinstance(config, TinyVitConfig) else EfficientVitEncoder(config)


@dataclass(frozen=True)
class SamConfig:
    """Size of a SAM; the default is SAM and MedSAM with ViT-B.

    Attributes:
        encoder: Of images. LiteMedSAM has `TinyVitConfig()`, EfficientViT-SAM one of `EFFICIENT_VIT_SAM`.
        decoder: Of masks; `width` is also what the encoder's map has.
    """

    encoder: EncoderConfig = field(default_factory=VitConfig)
    decoder: SamDecoderConfig = field(default_factory=SamDecoderConfig)


class Sam(nn.Module):
    """Image encoder, what its prompt encoder says of every image, and mask decoder."""

    def __init__(self, config: SamConfig) -> None:
        """Build it with random weights.

        Args:
            config: Size.

        Raises:
            ValueError: The encoder's map is not what the decoder expects.
        """
        super().__init__()
        self.encoder = build_encoder(config.encoder)
        width = config.decoder.width
        if self.encoder.width != width:
            raise ValueError(
                f"the encoder's map has {self.encoder.width} channels, the decoder wants {width}"
            )
        self.prompt = PromptEncoder(width, self.encoder.map_size)
        self.decoder = SamDecoder(config.decoder)

    def decode(self, image_map: Tensor, prompts: Tensor, seen: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Decode a map.

        Args:
            image_map: (N, width, s, s), of the encoder.
            prompts: (N, L, width), sparse prompt tokens.
            seen: (N, L) bool, which prompt tokens count; all if not given.

        Returns:
            Scores (N, masks, 4 s, 4 s) and estimated IoU (N, masks).
        """
        positions = self.prompt.positions()
        return self.decoder(self.prompt(image_map), positions, prompts, seen)  # type: ignore[no-any-return]

    def forward(self, image: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Image (N, 3, S, S) and prompt tokens (N, L, width) to what `decode` returns."""
        return self.decode(self.encoder(image), prompts)


@dataclass(frozen=True)
class MedClipConfig:
    """Size of a MedCLIP; the default is the released one with a vision transformer.

    Attributes:
        vision: Of the image's transformer.
        text: Of the instruction's.
        width: Of the vectors of both.
    """

    vision: SwinConfig = field(default_factory=SwinConfig)
    text: BertConfig = field(default_factory=BertConfig)
    width: int = 512


class MedClip(nn.Module):
    """Vectors of images and of instructions in one space."""

    def __init__(self, config: MedClipConfig) -> None:
        """Build it with random weights."""
        super().__init__()
        self.vision = MedClipVision(config.vision, config.width)
        self.text = MedClipText(config.text, config.width)
