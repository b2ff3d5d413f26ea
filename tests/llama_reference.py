"""A LLaMA forward pass in float64 NumPy, word by word from the paper: slow, and nobody else's code."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.tiny_gguf import TinyModel

__all__ = ["reference_logits"]

Floats = NDArray[np.float64]


def _normalised(rows: Floats) -> Floats:
    return rows / np.sqrt(np.mean(rows**2, axis=-1, keepdims=True) + 1e-5)


def _rotated(rows: Floats) -> Floats:
    """Turn neighbouring pairs of (tokens, heads, width) by their position."""
    tokens, _, width = rows.shape
    angle = np.arange(tokens)[:, None] * 10000.0 ** (-np.arange(0, width, 2) / width)
    turned = (rows[..., 0::2] + 1j * rows[..., 1::2]) * np.exp(1j * angle)[:, None, :]
    return np.stack([turned.real, turned.imag], axis=-1).reshape(rows.shape)


def reference_logits(model: TinyModel, embeddings: NDArray[Any]) -> Floats:
    """Logits (N, vocabulary) after each of the embeddings (N, width)."""
    weights = {name: tensor.astype(np.float64) for name, tensor in model.tensors().items()}
    rows = embeddings.astype(np.float64)
    count, heads, width = len(rows), model.heads, model.width // model.heads
    for block in range(model.blocks):
        part = {name: weights[f"blk.{block}.{name}.weight"] for name in ("attn_q", "attn_k", "attn_v")}
        inner = _normalised(rows)
        query = _rotated((inner @ part["attn_q"].T).reshape(count, heads, width))
        key = _rotated((inner @ part["attn_k"].T).reshape(count, -1, width)).repeat(2, axis=1)
        value = (inner @ part["attn_v"].T).reshape(count, -1, width).repeat(2, axis=1)
        scores = np.einsum("ihd,jhd->hij", query, key) / np.sqrt(width)
        scores[:, ~np.tri(count, dtype=bool)] = -np.inf
        chances = np.exp(scores - scores.max(axis=-1, keepdims=True))
        chances /= chances.sum(axis=-1, keepdims=True)
        mixed = np.einsum("hij,jhd->ihd", chances, value).reshape(count, -1)
        rows = rows + mixed @ weights[f"blk.{block}.attn_output.weight"].T
        inner = _normalised(rows)
        gate = inner @ weights[f"blk.{block}.ffn_gate.weight"].T
        up = inner @ weights[f"blk.{block}.ffn_up.weight"].T
        rows = rows + (gate / (1 + np.exp(-gate)) * up) @ weights[f"blk.{block}.ffn_down.weight"].T
    return np.asarray(_normalised(rows) @ weights["output.weight"].T)
