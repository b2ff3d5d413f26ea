"""MedCLIP's view of an instruction: BioClinicalBERT, pooled over layers and tokens, and projected."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.networks.attention import Attention
from training.networks.text import MOST_TOKENS

__all__ = ["Bert", "BertConfig", "MedClipText"]


@dataclass(frozen=True)
class BertConfig:
    """Size of the transformer; the defaults are BioClinicalBERT's (BERT base, cased).

    Attributes:
        vocabulary: Token ids.
        places: Positions a token can have.
        kinds: Kinds of text; everything here is of kind 0.
        width: Of a token.
        layers: Transformer layers, at least 2.
        heads: Of each attention.
        hidden: Of each layer's own network.
        epsilon: Of layer normalisation.
    """

    vocabulary: int = 28996
    places: int = 512
    kinds: int = 2
    width: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int = 3072
    epsilon: float = 1e-12


class _Layer(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.attention = Attention(config.width, config.heads)
        self.after_attention = nn.LayerNorm(config.width, eps=config.epsilon)
        self.widen = nn.Linear(config.width, config.hidden)
        self.narrow = nn.Linear(config.hidden, config.width)
        self.after_mlp = nn.LayerNorm(config.width, eps=config.epsilon)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        x = self.after_attention(x + self.attention(x, x, x, seen))
        return self.after_mlp(x + self.narrow(F.gelu(self.widen(x))))  # type: ignore[no-any-return]


class Bert(nn.Module):
    """A transformer over tokens that returns what every layer says.

    Source:
        Devlin et al. 2019 (BERT).
    """

    def __init__(self, config: BertConfig) -> None:
        """Build it with random weights."""
        super().__init__()
        self.tokens = nn.Embedding(config.vocabulary, config.width)
        self.places = nn.Embedding(config.places, config.width)
        self.kinds = nn.Embedding(config.kinds, config.width)
        self.norm = nn.LayerNorm(config.width, eps=config.epsilon)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.layers))

    def forward(self, ids: Tensor, seen: Tensor) -> list[Tensor]:
        """Encode.

        Args:
            ids: (N, L) int64.
            seen: (N, L) bool, which tokens are text and not padding; at least one in each row.

        Returns:
            (N, L, width) before the first layer, and after every layer.
        """
        x = self.norm(self.tokens(ids) + self.kinds.weight[0] + self.places.weight[: ids.shape[1]])
        states = [x]
        for layer in self.layers:
            x = layer(x, seen)
            states.append(x)
        return states


class MedClipText(nn.Module):
    """BERT, the mean over tokens of its states 1, 2 and last, and a projection; vectors have length 1.

    MedCLIP takes that mean over padding too, so with it a vector depends on what else is in the batch.
    Encoding one instruction at a time gives the same in both ways; so does `padding_counts=False`.

    Source:
        RyanWangZf/MedCLIP, medclip/modeling_medclip.py (MedCLIPTextModel, encode_text).
    """

    def __init__(self, config: BertConfig, width: int = 512, padding_counts: bool = True) -> None:
        """Build it with random weights.

        Args:
            config: Of the transformer.
            width: Of the result.
            padding_counts: Whether the mean is over padding too, as MedCLIP's.

        Raises:
            ValueError: There are not as many layers as are averaged.
        """
        super().__init__()
        if config.layers < 2:
            raise ValueError(f"states 1 and 2 are averaged, and there are {config.layers} layers")
        self.padding_counts = padding_counts
        self.transformer = Bert(config)
        self.projection = nn.Linear(config.width, width, bias=False)

    def forward(self, ids: Tensor, seen: Tensor) -> Tensor:
        """Encode.

        Args:
            ids: (N, L) int64, L at most `MOST_TOKENS`.
            seen: (N, L) bool, which tokens are text and not padding; at least one in each row.

        Returns:
            (N, width), of length 1.

        Raises:
            ValueError: There are more tokens than `MOST_TOKENS`.
        """
        if ids.shape[1] > MOST_TOKENS:
            raise ValueError(
                f"{ids.shape[1]} tokens; cut instructions to {MOST_TOKENS}, as MedCLIP's tokenizer does"
            )
        states = self.transformer(ids, seen)
        mean = torch.stack([states[1], states[2], states[-1]]).mean(0)
        share = torch.ones_like(seen) if self.padding_counts else seen
        weights = share.to(mean.dtype)[..., None]
        return F.normalize(self.projection((mean * weights).sum(1) / weights.sum(1)), dim=1)
