"""A forward pass in torch from the checkpoint's own layout, one block in memory at a time.

What llama.cpp answers is compared with this, so nothing here knows of its names, orders or precisions.

Source: "LLaMA: Open and Efficient Foundation Language Models", "Qwen2 Technical Report", "Qwen3 Technical
Report", "GQA: Training Generalized Multi-Query Transformer Models"; tests compare it with transformers.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from export.language.config import LanguageConfig
from export.language.weights import Weights

__all__ = ["reference_logits"]


def reference_logits(weights: Weights, tokens: Tensor, first: int = 0) -> Tensor:
    """Logits after each token from a position on.

    Args:
        weights: Of the model.
        tokens: (N,) int64.
        first: Position whose logits come first.

    Returns:
        (N - first, vocabulary) float32.
    """
    config = weights.config
    with torch.inference_mode():
        embedding = weights.get("token_embd.weight")
        rows = embedding[tokens]
        angles = _angles(config, len(tokens))
        for layer in range(config.layers):
            rows = _block(weights, f"blk.{layer}.", rows, angles)
        rows = _normalised(rows[first:], weights.get("output_norm.weight"), config.epsilon)
        matrix = embedding if config.tied else weights.get("output.weight")
        return rows @ matrix.T


def _angles(config: LanguageConfig, count: int) -> Tensor:
    """By which every token's pairs are turned, (N, head_width / 2)."""
    frequencies = torch.tensor(config.rotary.frequencies(config.head_width), dtype=torch.float64)
    divisors = torch.tensor(config.rotary.divisors(config.head_width), dtype=torch.float64)
    return torch.arange(count, dtype=torch.float64)[:, None] * (frequencies / divisors)


def _normalised(rows: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    return rows * torch.rsqrt(rows.square().mean(dim=-1, keepdim=True) + epsilon) * weight


def _turned(rows: Tensor, angles: Tensor) -> Tensor:
    """Heads (N, heads, width) with their first half turned against the second."""
    cosine, sine = angles.cos().float()[:, None], angles.sin().float()[:, None]
    one, other = rows.chunk(2, dim=-1)
    return torch.cat([one * cosine - other * sine, other * cosine + one * sine], dim=-1)


def _block(weights: Weights, block: str, rows: Tensor, angles: Tensor) -> Tensor:
    config, count = weights.config, len(rows)

    def heads(name: str, number: int) -> Tensor:
        bias = weights.get(f"{block}{name}.bias") if f"{block}{name}.bias" in weights.names else None
        made = functional.linear(inner, weights.get(f"{block}{name}.weight"), bias)
        return made.reshape(count, number, config.head_width)

    inner = _normalised(rows, weights.get(f"{block}attn_norm.weight"), config.epsilon)
    query, key = heads("attn_q", config.heads), heads("attn_k", config.key_heads)
    value = heads("attn_v", config.key_heads)
    if config.has_head_norms:
        query = _normalised(query, weights.get(f"{block}attn_q_norm.weight"), config.epsilon)
        key = _normalised(key, weights.get(f"{block}attn_k_norm.weight"), config.epsilon)
    query, key = _turned(query, angles), _turned(key, angles)
    shared = config.heads // config.key_heads
    key, value = key.repeat_interleave(shared, dim=1), value.repeat_interleave(shared, dim=1)
    scores = torch.einsum("ihd,jhd->hij", query, key) / config.head_width**0.5
    hidden = torch.ones(count, count, dtype=torch.bool).triu(1)
    chances = scores.masked_fill(hidden, float("-inf")).softmax(dim=-1)
    mixed = torch.einsum("hij,jhd->ihd", chances, value).reshape(count, -1)
    rows = rows + mixed @ weights.get(f"{block}attn_output.weight").T
    inner = _normalised(rows, weights.get(f"{block}ffn_norm.weight"), config.epsilon)
    gate = functional.silu(inner @ weights.get(f"{block}ffn_gate.weight").T)
    up = inner @ weights.get(f"{block}ffn_up.weight").T
    return rows + (gate * up) @ weights.get(f"{block}ffn_down.weight").T
