"""A small LLaMA: the words of a sentence one by one, from visual tokens and the words before."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Kept", "LanguageConfig", "LanguageModel", "attend"]


@dataclass(frozen=True)
class LanguageConfig:
    """Size of the language model; names as llama.cpp has them.

    Attributes:
        vocabulary: Tokens.
        width: Of an embedding, divisible by 32: weights are stored in blocks of so many.
        layers: Blocks.
        heads: Of each attention.
        hidden: Of each feed-forward network, divisible by 32.
        context: Tokens that it can be given.
        rope_base: Of the rotary positions.
        epsilon: Of each normalisation.
    """

    vocabulary: int
    width: int = 192
    layers: int = 4
    heads: int = 6
    hidden: int = 512
    context: int = 256
    rope_base: float = 10_000.0
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit together."""
        if self.width % 32 or self.hidden % 32:
            raise ValueError(f"width {self.width} and hidden {self.hidden} must be divisible by 32")
        if self.width % (2 * self.heads):
            raise ValueError(f"{self.heads} heads of an even width do not make a width of {self.width}")


def attend(q: Tensor, k: Tensor, v: Tensor, causal: bool = False) -> Tensor:
    """Attention, written out: for so few tokens torch's own takes several times as long in bfloat16 on a CPU.

    Args:
        q: (N, heads, L, width of a head).
        k: The same.
        v: The same.
        causal: Each token sees itself and those before it.
    """
    scores = (q / math.sqrt(q.shape[-1])) @ k.transpose(-1, -2)
    if causal:
        length = q.shape[-2]
        hidden = torch.ones(length, length, dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(hidden, -torch.inf)
    return scores.softmax(-1).to(v.dtype) @ v


class _Norm(nn.Module):
    """Root mean square of each row becomes 1, in float32; then one factor a column."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        y = x.float()
        scale = torch.rsqrt(y.square().mean(-1, keepdim=True) + self.epsilon)
        return y * scale * self.weight


Kept = list[Tensor]
"""Keys and values of one block for the tokens so far; empty before the first."""


class _Block(nn.Module):
    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        width, hidden = config.width, config.hidden
        self.heads = config.heads
        self.attn_norm = _Norm(width, config.epsilon)
        self.attn_q, self.attn_k, self.attn_v, self.attn_output = (
            nn.Linear(width, width, bias=False) for _ in range(4)
        )
        self.ffn_norm = _Norm(width, config.epsilon)
        self.ffn_gate, self.ffn_up = (nn.Linear(width, hidden, bias=False) for _ in range(2))
        self.ffn_down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor, turns: Tensor, kept: Kept | None = None) -> Tensor:
        y = self.attn_norm(x)
        q, k, v = (self._split(layer(y)) for layer in (self.attn_q, self.attn_k, self.attn_v))
        k = _turned(k, turns)
        if kept is not None:
            k, v = (
                (torch.cat([old, new], dim=2) for old, new in zip(kept, (k, v), strict=True))
                if kept
                else (k, v)
            )
            kept[:] = k, v
        seen = attend(_turned(q, turns), k, v, causal=q.shape[2] > 1)
        x = x + self.attn_output(seen.transpose(1, 2).flatten(2))
        y = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(y)) * self.ffn_up(y))  # type: ignore[no-any-return]

    def _split(self, x: Tensor) -> Tensor:
        count, length, width = x.shape
        return x.reshape(count, length, self.heads, width // self.heads).transpose(1, 2)


def _turned(x: Tensor, turns: Tensor) -> Tensor:
    """Rotary positions on neighbouring pairs, as GGUF files of LLaMA have them.

    Args:
        x: (N, heads, L, width of a head).
        turns: (2, L, half of that): cosines and sines.
    """
    first, second = x[..., 0::2], x[..., 1::2]
    cosine, sine = turns.to(x.dtype)
    turned = torch.stack([first * cosine - second * sine, first * sine + second * cosine], dim=-1)
    return turned.flatten(-2)


class LanguageModel(nn.Module):
    """A decoder of the LLaMA architecture; its parts bear the names of a GGUF file's tensors.

    Source:
        Touvron et al. 2023 (arXiv 2302.13971): RMSNorm before each part, SwiGLU, rotary positions.
    """

    def __init__(self, config: LanguageConfig) -> None:
        """Build it with random weights."""
        super().__init__()
        self.config = config
        self.token_embd = nn.Embedding(config.vocabulary, config.width)
        self.blk = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.output_norm = _Norm(config.width, config.epsilon)
        self.output = nn.Linear(config.width, config.vocabulary, bias=False)
        nn.init.normal_(self.token_embd.weight, std=0.5)

    def forward(self, rows: Tensor, last: int, kept: list[Kept] | None = None) -> Tensor:
        """Logits after the last tokens.

        Args:
            rows: (N, L, width) embeddings, of words or of pictures.
            last: How many tokens of each row are asked for.
            kept: Of each block what earlier calls computed; grows. With it, one token follows at a time.

        Returns:
            (N, last, vocabulary).
        """
        start = kept[0][0].shape[2] if kept and kept[0] else 0
        turns = self._turns(start + rows.shape[1], rows.device)[:, start:]
        for number, block in enumerate(self.blk):
            rows = block(rows, turns, None if kept is None else kept[number])
        return self.output(self.output_norm(rows[:, -last:]))  # type: ignore[no-any-return]

    def _turns(self, length: int, device: torch.device) -> Tensor:
        half = self.config.width // self.config.heads // 2
        speeds = self.config.rope_base ** (-torch.arange(half, device=device) / half)
        angles = torch.arange(length, device=device)[:, None] * speeds
        return torch.stack([angles.cos(), angles.sin()])
