"""Tensors of a language model under llama.cpp's names; every one of a checkpoint is used, or it is refused.

Source: the tensor names of llama.cpp (`gguf/tensor_mapping.py`), and the rotary layouts of both sides:
transformers turns the first half of a head against the second, llama.cpp's `llama` turns neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from export.language.config import LanguageConfig
from runtime.errors import BundleError
from training.networks.sam.key_map import KeyMap

__all__ = ["Update", "Weights", "interleaved", "read_weights"]

_LAYER = "model.layers.#."
_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
    _LAYER + "input_layernorm.weight": "blk.#.attn_norm.weight",
    _LAYER + "post_attention_layernorm.weight": "blk.#.ffn_norm.weight",
    _LAYER + "self_attn.q_proj.*": "blk.#.attn_q.*",
    _LAYER + "self_attn.k_proj.*": "blk.#.attn_k.*",
    _LAYER + "self_attn.v_proj.*": "blk.#.attn_v.*",
    _LAYER + "self_attn.o_proj.weight": "blk.#.attn_output.weight",
    _LAYER + "self_attn.q_norm.weight": "blk.#.attn_q_norm.weight",
    _LAYER + "self_attn.k_norm.weight": "blk.#.attn_k_norm.weight",
    _LAYER + "mlp.gate_proj.weight": "blk.#.ffn_gate.weight",
    _LAYER + "mlp.up_proj.weight": "blk.#.ffn_up.weight",
    _LAYER + "mlp.down_proj.weight": "blk.#.ffn_down.weight",
}
_ROTARY = _LAYER + "self_attn.rotary_emb.inv_freq"
_KEYS = KeyMap(_NAMES | {_ROTARY: "rotary.#"})
_SHOWN = 4


@dataclass(frozen=True)
class Update:
    """What fine-tuning adds to a matrix: `scale` · `up` @ `down`.

    Attributes:
        down: (rank, in).
        up: (out, rank).
        scale: Factor.
    """

    down: Tensor
    up: Tensor
    scale: float

    def added_to(self, matrix: Tensor) -> Tensor:
        """The sum, in float32."""
        return matrix + self.scale * (self.up.float() @ self.down.float())


@dataclass(frozen=True)
class Weights:
    """Tensors of a checkpoint by llama.cpp's names, in the checkpoint's own layout.

    Attributes:
        config: Sizes.
        tensors: As they were stored.
        names: llama.cpp's names to the checkpoint's.
        updates: What is added, by llama.cpp's names.
    """

    config: LanguageConfig
    tensors: Mapping[str, Tensor]
    names: Mapping[str, str]
    updates: Mapping[str, Update] = field(default_factory=dict)

    def get(self, name: str) -> Tensor:
        """A tensor in float32, updated.

        Raises:
            BundleError: It holds NaN or infinity.
        """
        tensor = self.tensors[self.names[name]].float()
        if update := self.updates.get(name):
            tensor = update.added_to(tensor)
        if not torch.isfinite(tensor).all():
            raise BundleError(f"{self.names[name]} holds NaN or infinity; copy the checkpoint again")
        return tensor

    def stored(self, name: str) -> Tensor:
        """A tensor as llama.cpp wants it."""
        tensor = self.get(name)
        kind = name.split(".")[-2]
        if self.config.turns_neighbours and kind in ("attn_q", "attn_k"):
            return interleaved(tensor, self.config.heads if kind == "attn_q" else self.config.key_heads)
        return tensor.contiguous()


def interleaved(tensor: Tensor, heads: int) -> Tensor:
    """Rows of queries or keys with the halves of each head interleaved, so that pairs are neighbours.

    Args:
        tensor: (heads · width, …).
        heads: How many.
    """
    halves = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, -1)
    return halves.transpose(1, 2).reshape(tensor.shape).contiguous()


def read_weights(config: LanguageConfig, tensors: Mapping[str, Tensor], source: Path) -> Weights:
    """Find every tensor's place.

    Args:
        config: Sizes.
        tensors: Of the checkpoint, all of them.
        source: Its folder, for messages.

    Raises:
        BundleError: A tensor has no place, is missing, or has another shape.
    """
    places, strange = _KEYS.places(tensors)
    wanted = _shapes(config)
    names: dict[str, str] = {}
    for name, place in places.items():
        if place.startswith("rotary."):
            _check_rotary(config, tensors[name], f"{source}: {name!r}")
        elif place in wanted:
            names[place] = name
        else:
            strange.append(name)
    optional = {name for name in wanted if name.endswith(".bias") and config.architecture == "llama"}
    if config.tied:
        optional.add("output.weight")
    if strange:
        raise BundleError(
            f"{source}: no place for {_listed(strange)}; "
            "it is another kind of network than its config.json says"
        )
    if missing := [name for name in wanted if name not in names and name not in optional]:
        raise BundleError(f"{source}: nothing fills {_listed(missing)}; copy the whole checkpoint again")
    for place, name in names.items():
        if tuple(tensors[name].shape) != wanted[place] or not tensors[name].is_floating_point():
            raise BundleError(
                f"{source}: {name!r} is {tensors[name].dtype} of shape {tuple(tensors[name].shape)}, "
                f"expected floats of shape {wanted[place]}; copy the checkpoint again"
            )
    if config.tied and "output.weight" in names:
        output, embedding = tensors[names.pop("output.weight")], tensors[names["token_embd.weight"]]
        if not torch.equal(output, embedding):
            raise BundleError(
                f"{source}: config.json says that lm_head is the embedding (tie_word_embeddings), "
                "but it differs"
            )
    return Weights(config, tensors, names)


def _shapes(config: LanguageConfig) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor that may be there, by llama.cpp's names, rows first; in the order of the file."""
    queries, keys = config.heads * config.head_width, config.key_heads * config.head_width
    width, hidden = config.width, config.hidden
    block: dict[str, tuple[int, ...]] = {
        **{"attn_norm.weight": (width,), "attn_q.weight": (queries, width), "attn_k.weight": (keys, width)},
        **{"attn_v.weight": (keys, width), "attn_output.weight": (width, queries)},
        **{"ffn_norm.weight": (width,), "ffn_gate.weight": (hidden, width), "ffn_up.weight": (hidden, width)},
        "ffn_down.weight": (width, hidden),
    }
    if config.has_head_norms:
        block |= dict.fromkeys(("attn_q_norm.weight", "attn_k_norm.weight"), (config.head_width,))
    else:
        block |= {"attn_q.bias": (queries,), "attn_k.bias": (keys,), "attn_v.bias": (keys,)}
    made: dict[str, tuple[int, ...]] = {"token_embd.weight": (config.vocabulary, width)}
    made |= {"output_norm.weight": (width,), "output.weight": (config.vocabulary, width)}
    for layer in range(config.layers):
        made |= {f"blk.{layer}.{name}": shape for name, shape in block.items()}
    return made


def _check_rotary(config: LanguageConfig, found: Tensor, what: str) -> None:
    """Older folders store the frequencies, which follow from the configuration."""
    wanted = torch.tensor(config.rotary.frequencies(config.head_width))
    if found.shape != wanted.shape or not torch.allclose(found.float(), wanted, rtol=1e-2, atol=1e-6):
        raise BundleError(f"{what} is not what config.json says of rotary positions; copy the folder again")


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name[:120]) for name in sorted(names)[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
