"""Judge a GGUF file that lets a language model see, before a library that aborts on a bad one sees it.

Such a file ("mmproj") holds a vision network and the projection of its output onto the language model's
embeddings. The library multiplies and adds what it finds, so every tensor's name, shape and type is checked.

Source: `load_hparams` and `load_tensors` of tools/mtmd/clip.cpp, models/llava.cpp, siglip.cpp and qwen2vl.cpp
beside it, llama.cpp as in llama-cpp-python 0.3.36.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from runtime.engines.llama.gguf_file import GgufContent, GgufError, GgufTensor
from runtime.engines.llama.gguf_header import FileIdentity, GgufHeader, read_checked
from runtime.engines.llama.gguf_keys import Keys
from runtime.errors import BundleError

__all__ = ["PROJECTORS", "ProjectorHeader", "read_projector"]

PROJECTORS = ("mlp", "gemma3", "qwen2vl_merger", "qwen2.5vl_merger")
"""LLaVA; Gemma 3 and MedGemma; Qwen2-VL; Qwen2.5-VL."""

_QWEN = ("qwen2vl_merger", "qwen2.5vl_merger")
_MOST_SIDE, _MOST_PATCH, _MOST_PATCHES = 4096, 64, 1 << 14
_MOST_BLOCKS, _MOST_WIDTH, _MOST_HEADS = 128, 1 << 14, 256
_MERGED = 2
"""Patches along a side that become one token of Qwen's; the library knows no other number."""

_PLAIN = ("F32", "F16")


@dataclass(frozen=True)
class ProjectorHeader:
    """A vision network that may be loaded beside a language model.

    Attributes:
        path: The file.
        identity: The file as it was checked.
        kind: One of `PROJECTORS`.
        width: Of the embeddings that it makes.
        image_side: Pixels along a side of the pictures that it was made for.
        image_tokens: That such a picture becomes.
        tensor_bytes: Of all weights.
        has_class_token: Whether a token of its own stands beside the patches, as in CLIP.
    """

    path: Path
    identity: FileIdentity
    kind: str
    width: int
    image_side: int
    image_tokens: int
    tensor_bytes: int
    has_class_token: bool

    def check_width(self, model: GgufHeader) -> None:
        """Whether a language model can read what this makes.

        Raises:
            BundleError: It was made for another one.
        """
        is_turning = self.kind in _QWEN
        if self.width != model.shapes.width or is_turning != (model.architecture == "qwen2vl"):
            raise BundleError(
                f"{self.path} makes embeddings of {self.width} for {self.kind}, and {model.path} is "
                f"{model.architecture} and reads {model.shapes.width}; take the files of one model"
            )


def read_projector(path: Path, file: BinaryIO | None = None) -> ProjectorHeader:
    """Read and judge a header.

    Args:
        path: A `.gguf` file of the kind that is called mmproj.
        file: The same file, already open.

    Raises:
        BundleError: It cannot be read, is damaged, or is a vision network that is not supported.
    """
    return read_checked(path, file, "vision projector", _judge)


@dataclass(frozen=True)
class _Sizes:
    kind: str
    blocks: int
    width: int
    patch: int
    side: int
    merge: int

    @property
    def patches(self) -> int:
        return (self.side // self.patch) ** 2


def _judge(path: Path, identity: FileIdentity, content: GgufContent) -> ProjectorHeader:
    keys = Keys(content.values)
    if (name := keys.text("general.architecture")) != "clip":
        raise GgufError(f"its architecture is {name!r}, not 'clip'; is it the language model?")
    if not keys.flag("clip.has_vision_encoder", default=False):
        raise GgufError("it has no vision encoder")
    kind = keys.text(
        "clip.projector_type" if "clip.projector_type" in keys.values else "clip.vision.projector_type"
    )
    if kind not in PROJECTORS:
        raise GgufError(f"its projector is {kind!r}, none of {', '.join(PROJECTORS)}")
    _refuse_unknown_networks(keys)
    sizes = _sizes(keys, kind)
    _check_tensors(content, sizes)
    width = _width(content, kind)
    if kind == "qwen2.5vl_merger" and keys.count("clip.vision.projection_dim", 1, 1 << 16) != width:
        raise GgufError(f"clip.vision.projection_dim is not {width}, the width of its last tensor")
    return ProjectorHeader(
        path,
        identity,
        kind,
        width,
        sizes.side,
        sizes.patches // sizes.merge**2,
        sum(tensor.byte_count for tensor in content.tensors.values()),
        "v.class_embd" in content.tensors,
    )


def _refuse_unknown_networks(keys: Keys) -> None:
    """Keys that the library obeys and nothing here has checked."""
    keys.refuse(
        {
            **dict.fromkeys(("clip.has_audio_encoder", "clip.has_gen_audio_encoder"), False),
            **dict.fromkeys(
                f"clip.vision.{key}"
                for key in (
                    *("attention.head_count_kv", "attention.head_dim", "image_grid_pinpoints"),
                    *("image_min_pixels", "image_max_pixels", "window_size", "wa_layer_indexes"),
                )
            ),
        }
    )


def _sizes(keys: Keys, kind: str) -> _Sizes:
    width = keys.count("clip.vision.embedding_length", 1, _MOST_WIDTH)
    heads = keys.count("clip.vision.attention.head_count", 1, _MOST_HEADS)
    patch = keys.count("clip.vision.patch_size", 1, _MOST_PATCH)
    side = keys.count("clip.vision.image_size", patch, _MOST_SIDE)
    keys.count("clip.vision.feed_forward_length", 0, 1 << 18)
    keys.count("clip.vision.projection_dim", 0, 1 << 16)
    keys.number("clip.vision.attention.layer_norm_epsilon", 1e-12, 1e-2)
    keys.numbers("clip.vision.image_mean", 3, -16, 16)
    keys.numbers("clip.vision.image_std", 3, 1e-3, 16)
    if keys.flag("clip.use_gelu", default=False) and keys.flag("clip.use_silu", default=False):
        raise GgufError("it has two activations at once")
    merge = 1
    if kind == "gemma3":
        merge = keys.count("clip.vision.projector.scale_factor", 1, 64, default=4)
    if kind in _QWEN:
        merge = keys.count("clip.vision.spatial_merge_size", _MERGED, _MERGED, default=_MERGED)
        if patch > 112 // _MERGED:
            raise GgufError(f"its patches of {patch} pixels do not fit its windows of 112")
    if kind == "qwen2.5vl_merger":
        keys.count("clip.vision.n_wa_pattern", 1, _MOST_BLOCKS)
    if side % (patch * merge) or (side // patch) ** 2 > _MOST_PATCHES:
        raise GgufError(
            f"its pictures of {side} pixels are not {merge} times patches of {patch}, or too many"
        )
    if width % heads or (kind in _QWEN and width // heads % 4):
        raise GgufError(f"{heads} heads do not fit a width of {width}")
    blocks = keys.count("clip.vision.block_count", 1, _MOST_BLOCKS)
    if "clip.vision.feature_layer" in keys.values:  # several would be joined to wider embeddings
        keys.numbers("clip.vision.feature_layer", 1, 1, blocks)
    return _Sizes(kind, blocks, width, patch, side, merge)


def _width(content: GgufContent, kind: str) -> int:
    """Of what the last tensor makes."""
    if kind == "gemma3":
        return content.tensors["mm.input_projection.weight"].shape[0]
    return content.tensors["mm.2.bias"].shape[0]


def _check_tensors(content: GgufContent, sizes: _Sizes) -> None:
    tensors = content.tensors
    if sizes.blocks * 8 > len(tensors):  # before names are made for absurd counts
        raise GgufError(f"{len(tensors)} tensors are too few for {sizes.blocks} blocks")
    required, optional = dict(_required(sizes, tensors)), dict(_optional(sizes, tensors))
    if missing := sorted(required.keys() - tensors.keys()):
        raise GgufError(f"the tensor {missing[0]} is missing")
    known = optional | required
    for name, tensor in tensors.items():
        if name not in known:
            raise GgufError(f"the tensor {name} is unknown")
        if tensor.shape != known[name]:
            raise GgufError(f"the tensor {name} has the shape {tensor.shape}, not {known[name]}")
        is_plain = name.startswith(("v.patch_embd", "v.position_embd", "mm.input_projection"))
        if (len(tensor.shape) == 1 and tensor.precision != "F32") or (
            is_plain and tensor.precision not in _PLAIN
        ):
            raise GgufError(f"the tensor {name} is of type {tensor.precision}, which cannot be computed with")
        if name == "v.position_embd.weight" and sizes.kind == "gemma3" and tensor.precision != "F32":
            raise GgufError(f"the tensor {name} is not of type F32")
    for name in optional:  # the library adds a bias only beside its weight, and reads it without looking
        if name.endswith(".bias") and name in tensors and name.removesuffix("bias") + "weight" not in tensors:
            raise GgufError(f"the tensor {name} has no weight")


def _side_of(tensors: dict[str, GgufTensor], name: str, place: int) -> int:
    """One side of a tensor that decides others; 1 where it is not there, which is said elsewhere."""
    shape = tensors[name].shape if name in tensors else ()
    return shape[place] if place < len(shape) else 1


def _required(sizes: _Sizes, tensors: dict[str, GgufTensor]) -> Iterator[tuple[str, tuple[int, ...]]]:
    width, patch, kind = sizes.width, sizes.patch, sizes.kind
    yield "v.patch_embd.weight", (patch, patch, 3, width)
    if kind in _QWEN:
        yield "v.patch_embd.weight.1", (patch, patch, 3, width)
    else:
        yield "v.position_embd.weight", (width, sizes.patches + ("v.class_embd" in tensors))
    for block in range(sizes.blocks):
        yield from _block(f"v.blk.{block}", sizes, tensors)
    if kind == "gemma3":
        yield "mm.input_projection.weight", (_side_of(tensors, "mm.input_projection.weight", 0), width)
        yield "mm.soft_emb_norm.weight", (width,)
        return
    first = width * (sizes.merge**2 if kind in _QWEN else 1)
    middle, last = _side_of(tensors, "mm.0.bias", 0), _side_of(tensors, "mm.2.bias", 0)
    yield from (("mm.0.weight", (first, middle)), ("mm.0.bias", (middle,)))
    yield from (("mm.2.weight", (middle, last)), ("mm.2.bias", (last,)))


def _block(name: str, sizes: _Sizes, tensors: dict[str, GgufTensor]) -> Iterator[tuple[str, tuple[int, ...]]]:
    width = sizes.width
    for part in ("attn_q", "attn_k", "attn_v"):
        yield f"{name}.{part}.weight", (width, width)
        if sizes.kind in _QWEN:
            yield f"{name}.{part}.bias", (width,)
    yield f"{name}.attn_out.weight", (width, width)
    yield from ((f"{name}.{part}.weight", (width,)) for part in ("ln1", "ln2"))
    for part, shape in _forward(name, sizes, tensors).items():
        yield f"{name}.{part}.weight", shape


def _forward(name: str, sizes: _Sizes, tensors: dict[str, GgufTensor]) -> dict[str, tuple[int, int]]:
    """The feed-forward network; old files call each of its two matrices by the other's name."""
    width, up, down = sizes.width, "ffn_up", "ffn_down"
    if _side_of(tensors, f"{name}.{down}.weight", 0) == width:  # as the library decides
        up, down = down, up
    inner = _side_of(tensors, f"{name}.{up}.weight", 1)
    made = {up: (width, inner), down: (inner, width)}
    return made | ({"ffn_gate": (width, inner)} if sizes.kind == "qwen2.5vl_merger" else {})


def _optional(sizes: _Sizes, tensors: dict[str, GgufTensor]) -> Iterator[tuple[str, tuple[int, ...]]]:
    width, vector = sizes.width, (sizes.width,)
    for name in ("v.pre_ln", "v.post_ln"):
        yield from ((f"{name}.weight", vector), (f"{name}.bias", vector))
    if sizes.kind not in _QWEN:
        yield "v.patch_embd.bias", vector
    if sizes.kind == "mlp":
        yield "v.class_embd", vector
    for block in range(sizes.blocks):
        name = f"v.blk.{block}"
        for part in ("attn_q", "attn_k", "attn_v", "attn_out", "ln1", "ln2"):
            yield f"{name}.{part}.bias", vector
        for part, shape in _forward(name, sizes, tensors).items():
            yield f"{name}.{part}.bias", (shape[1] if shape[0] == width else width,)
