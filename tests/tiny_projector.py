"""Tiny random vision projectors in GGUF files ("mmproj"), as llama.cpp's converter would write them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFWriter

from runtime.engines.llama.native_library import find_vision_library
from runtime.errors import DeviceError

__all__ = ["KINDS", "TinyProjector", "needs_vision", "write_projector"]

KINDS = {"mlp": "llama", "gemma3": "gemma3", "qwen2vl_merger": "qwen2vl", "qwen2.5vl_merger": "qwen2vl"}
"""Projector to the architecture of its language model."""

Array = np.ndarray[Any, np.dtype[np.float32]]


def _is_built() -> bool:
    try:
        find_vision_library()
    except DeviceError:
        return False
    return True


needs_vision = pytest.mark.skipif(
    not _is_built(), reason="llama.cpp was built without libmtmd (see Makefile)"
)


@dataclass(frozen=True)
class TinyProjector:
    """A vision network of random weights.

    Attributes:
        kind: One of `KINDS`.
        width: Of the vision network.
        out: Of the embeddings that it makes.
        side: Of its pictures, in pixels.
        patch: Of a patch.
        blocks: Transformer blocks.
        seed: Of the weights.
        scale: Of the embeddings.
        values: Values of keys that are written instead of ours; None leaves one out.
    """

    kind: str = "mlp"
    width: int = 32
    out: int = 64
    side: int = 32
    patch: int = 8
    blocks: int = 2
    seed: int = 0
    scale: float = 1.0
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def is_qwen(self) -> bool:
        """Whether it is one of Qwen's."""
        return self.kind.startswith("qwen")

    def tensors(self) -> dict[str, Array]:
        """Weights by name, rows first (the reverse of the file's order)."""
        random, width, patch = np.random.default_rng(self.seed), self.width, self.patch

        def matrix(*shape: int) -> Array:
            return (random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

        ones, inner, patches = np.ones(width, np.float32), 2 * width, (self.side // patch) ** 2
        made = {"v.patch_embd.weight": matrix(width, 3, patch, patch)}
        if self.is_qwen:
            made["v.patch_embd.weight.1"] = matrix(width, 3, patch, patch)
        else:
            made["v.position_embd.weight"] = matrix(patches + (self.kind == "mlp"), width)
        if self.kind == "mlp":
            made |= {"v.class_embd": matrix(width, 1)[:, 0]}
            made |= {"v.pre_ln.weight": ones, "v.pre_ln.bias": 0 * ones}
        else:
            made |= {"v.post_ln.weight": ones, "v.post_ln.bias": 0 * ones}
        for block in range(self.blocks):
            for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
                made[f"v.blk.{block}.{name}.weight"] = matrix(width, width)
                made[f"v.blk.{block}.{name}.bias"] = matrix(width, 1)[:, 0] / 4
            for name in ("ln1", "ln2"):
                made[f"v.blk.{block}.{name}.weight"] = ones
                if self.kind != "qwen2.5vl_merger":
                    made[f"v.blk.{block}.{name}.bias"] = 0 * ones
            made[f"v.blk.{block}.ffn_up.weight"] = matrix(inner, width)
            made[f"v.blk.{block}.ffn_down.weight"] = matrix(width, inner)
            if self.kind == "qwen2.5vl_merger":
                made[f"v.blk.{block}.ffn_gate.weight"] = matrix(inner, width)
        if self.kind == "gemma3":
            made["mm.soft_emb_norm.weight"] = ones
            made["mm.input_projection.weight"] = self.scale * matrix(width, self.out)
            return made
        first = width * (4 if self.is_qwen else 1)
        made |= {"mm.0.weight": matrix(inner, first), "mm.0.bias": np.zeros(inner, np.float32)}
        made |= {"mm.2.weight": np.float32(self.scale) * matrix(self.out, inner)}
        made |= {"mm.2.bias": np.zeros(self.out, np.float32)}
        return made


def write_projector(
    path: Path, model: TinyProjector | None = None, tensors: dict[str, Array] | None = None
) -> Path:
    """Write a projector, or other tensors under its keys; returns the path."""
    model = model or TinyProjector()
    writer = GGUFWriter(path, str(model.values.get("general.architecture", "clip")))
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", model.kind)
    for key, value in {
        **{
            "embedding_length": model.width,
            "feed_forward_length": 2 * model.width,
            "block_count": model.blocks,
        },
        **{"projection_dim": model.out, "attention.head_count": 2, "image_size": model.side},
        "patch_size": model.patch,
        **({"projector.scale_factor": 2} if model.kind == "gemma3" else {}),
        **({"n_wa_pattern": 2} if model.kind == "qwen2.5vl_merger" else {}),
    }.items():
        writer.add_uint32(f"clip.vision.{key}", value)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
    writer.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])
    writer.add_bool("clip.use_gelu", True)
    for key, value in model.values.items():
        if value is None:
            writer.kv_data[0].pop(key)
        elif key in writer.kv_data[0]:
            writer.kv_data[0][key].value = value
        elif isinstance(value, bool):
            writer.add_bool(key, value)
        else:
            writer.add_array(key, value)
    for name, tensor in (tensors or model.tensors()).items():
        writer.add_tensor(name, np.ascontiguousarray(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
