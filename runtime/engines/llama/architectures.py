"""The tensors and keys that each known architecture has, so that a file is judged before llama.cpp sees it.

llama.cpp asserts where it could refuse: an unknown scaling, a rotary width that does not fit the heads or a
count of zero ends the process. What alters a network in ways that we do not check is refused by name.

Source: the loaders of llama.cpp: src/models/*.cpp, `load_hparams` and `create_tensor_qkv` in
src/llama-model.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["ARCHITECTURES", "Architecture", "Shapes"]


@dataclass(frozen=True)
class Shapes:
    """The sizes that all tensors follow from.

    Attributes:
        blocks: Transformer blocks.
        width: Of an embedding.
        forward_width: Of the feed-forward network.
        vocabulary: Tokens.
        query_width: Heads times width of a head.
        key_width: Heads of keys and values times width of a head.
        head_width: Of one head, for keys and values alike.
    """

    blocks: int
    width: int
    forward_width: int
    vocabulary: int
    query_width: int
    key_width: int
    head_width: int


@dataclass(frozen=True)
class Architecture:
    """What one family has beyond what all have.

    Attributes:
        has_head_norms: Whether queries and keys are normalised in each head.
        has_post_norms: Whether attention and feed-forward network are followed by a normalisation.
        has_window: Whether some blocks look back only so far; `attention.sliding_window` may be there.
        has_sections: Whether positions have time, row and column (M-RoPE), each with its share of a head.
    """

    has_head_norms: bool = False
    has_post_norms: bool = False
    has_window: bool = False
    has_sections: bool = False

    def required(self, shapes: Shapes) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor that must be there."""
        wanted: dict[str, tuple[int, ...]] = {
            "token_embd.weight": (shapes.width, shapes.vocabulary),
            "output_norm.weight": (shapes.width,),
        }
        for block in range(shapes.blocks):
            wanted |= {f"blk.{block}.{name}.weight": shape for name, shape in self._block(shapes).items()}
        return wanted

    def optional(self, shapes: Shapes) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor that may be there."""
        allowed: dict[str, tuple[int, ...]] = {
            "output.weight": (shapes.width, shapes.vocabulary),
            "rope_freqs.weight": (shapes.head_width // 2,),
        }
        for block in range(shapes.blocks):
            allowed |= {f"blk.{block}.attn_q.bias": (shapes.query_width,)}
            allowed |= {f"blk.{block}.attn_{name}.bias": (shapes.key_width,) for name in ("k", "v")}
        return allowed

    def _block(self, shapes: Shapes) -> dict[str, tuple[int, ...]]:
        tensors: dict[str, tuple[int, ...]] = {
            "attn_norm": (shapes.width,),
            "attn_q": (shapes.width, shapes.query_width),
            "attn_k": (shapes.width, shapes.key_width),
            "attn_v": (shapes.width, shapes.key_width),
            "attn_output": (shapes.query_width, shapes.width),
            "ffn_norm": (shapes.width,),
            "ffn_gate": (shapes.width, shapes.forward_width),
            "ffn_up": (shapes.width, shapes.forward_width),
            "ffn_down": (shapes.forward_width, shapes.width),
        }
        if self.has_head_norms:
            tensors |= {f"attn_{name}_norm": (shapes.head_width,) for name in ("q", "k")}
        if self.has_post_norms:
            tensors |= {f"post_{name}": (shapes.width,) for name in ("attention_norm", "ffw_norm")}
        return tensors


ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "llama": Architecture(),  # LLaMA, Vicuna, Mistral and our own
        "qwen2": Architecture(),
        "qwen2vl": Architecture(has_sections=True),  # the language model of Qwen2-VL and Qwen2.5-VL
        "qwen3": Architecture(has_head_norms=True),
        "gemma3": Architecture(has_head_norms=True, has_post_norms=True, has_window=True),
    }
)
"""By the name in `general.architecture`."""
