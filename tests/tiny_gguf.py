"""Tiny random LLaMA models in GGUF files, as an exporter would write them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFWriter

__all__ = ["SPECIAL", "TinyModel", "byte_symbols", "write_gguf"]

SPECIAL = ("<s>", "</s>", "<Img>", "</Img>")
"""Tokens 0 to 3: begin, end, and what stands around an image."""

MERGES = ("t h", "th e", "i n", "o n", "a n", "r e", "Ġ the", "Ġ a", "l e", "s i", "le si", "lesi on", "b r")


def byte_symbols() -> list[str]:
    """The 256 characters that stand for bytes in byte-level tokens, by byte."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


@dataclass(frozen=True)
class TinyModel:
    """A network of random weights.

    Attributes:
        architecture: "llama", "qwen2", "qwen2vl", "qwen3" or "gemma3".
        tokenizer: "gpt2" or "llama".
        blocks: Transformer blocks.
        width: Of an embedding.
        heads: Of attention, twice as many as those of keys.
        context: Tokens.
        seed: Of the weights.
        scale: Of the output's weights; large ones make a model that is sure of itself.
        keys: Keys that are written instead of ours; None leaves one out.
        values: Values that are written under our keys, of the same type.
        words: More tokens of "gpt2", that no merge leads to: only an answer can hold them.
    """

    architecture: str = "llama"
    tokenizer: str = "gpt2"
    blocks: int = 2
    width: int = 64
    heads: int = 4
    context: int = 512
    seed: int = 0
    scale: float = 1.0
    keys: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    words: tuple[str, ...] = ()

    def tokens(self) -> list[str]:
        """The vocabulary."""
        if self.tokenizer == "llama":
            letters = [chr(code) for code in range(0x20, 0x7F)]
            return [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", *letters, "\u2581the"]
        symbols = byte_symbols()
        words = ("".join(symbols[byte] for byte in word.encode()) for word in self.words)
        merged = (merge.replace(" ", "") for merge in MERGES)
        return list(dict.fromkeys((*SPECIAL, *symbols, *merged, *words)))

    def types(self) -> list[int]:
        """What each token is: 1 words, 3 control, 6 a byte."""
        types = [3] * len(SPECIAL) + [1] * (len(self.tokens()) - len(SPECIAL))
        return [
            6 if token.startswith("<0x") else kind for token, kind in zip(self.tokens(), types, strict=True)
        ]

    def tensors(self) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
        """Weights by name, rows first (the reverse of the file's order)."""
        random = np.random.default_rng(self.seed)
        width, keys, forward, count = self.width, self.width // 2, 2 * self.width, len(self.tokens())

        def matrix(rows: int, columns: int) -> np.ndarray[Any, np.dtype[np.float32]]:
            return (random.standard_normal((rows, columns)) / np.sqrt(columns)).astype(np.float32)

        made = {"token_embd.weight": matrix(count, width), "output_norm.weight": np.ones(width, np.float32)}
        made["output.weight"] = np.float32(self.scale) * matrix(count, width)
        for block in range(self.blocks):
            made |= {
                f"blk.{block}.{name}.weight": value
                for name, value in {
                    "attn_norm": np.ones(width, np.float32),
                    "attn_q": matrix(width, width),
                    "attn_k": matrix(keys, width),
                    "attn_v": matrix(keys, width),
                    "attn_output": matrix(width, width),
                    "ffn_norm": np.ones(width, np.float32),
                    "ffn_gate": matrix(forward, width),
                    "ffn_up": matrix(forward, width),
                    "ffn_down": matrix(width, forward),
                }.items()
            }
            head = np.ones(width // self.heads, np.float32)
            if self.architecture in ("qwen3", "gemma3"):
                made |= {f"blk.{block}.attn_{name}_norm.weight": head for name in ("q", "k")}
            if self.architecture == "gemma3":
                names = ("post_attention_norm", "post_ffw_norm")
                made |= {f"blk.{block}.{name}.weight": np.ones(width, np.float32) for name in names}
        return made


def write_gguf(
    path: Path,
    model: TinyModel | None = None,
    tensors: dict[str, np.ndarray[Any, np.dtype[Any]]] | None = None,
) -> Path:
    """Write a model, or other tensors under its keys; returns the path."""
    model = model or TinyModel()
    writer = GGUFWriter(path, model.architecture)
    tokens = model.tokens()
    writer.add_context_length(model.context)
    writer.add_embedding_length(model.width)
    writer.add_block_count(model.blocks)
    writer.add_feed_forward_length(2 * model.width)
    writer.add_head_count(model.heads)
    writer.add_head_count_kv(model.heads // 2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(model.width // model.heads)
    if model.architecture == "qwen2vl":
        quarter = model.width // model.heads // 4
        writer.add_rope_dimension_sections([quarter, quarter // 2, quarter - quarter // 2, 0])
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model(model.tokenizer)
    writer.add_token_list(tokens)
    writer.add_token_types(model.types())
    if model.tokenizer == "llama":
        writer.add_token_scores([-float(number) for number in range(len(tokens))])
    else:
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_merges(list(MERGES))
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(True)
    for key, content in model.values.items():
        writer.kv_data[0][key].value = content
    for key, value in model.keys.items():
        writer.kv_data[0].pop(key, None)
        if value is not None:
            writer.kv_data[0][key] = value
    for name, tensor in (tensors or model.tensors()).items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
