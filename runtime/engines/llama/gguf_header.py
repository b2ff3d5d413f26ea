"""Judge a GGUF file by its header, before a library that aborts on a bad one sees it.

What passes here is still loaded in a process of its own: this check is the first fence, not the only one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar

from runtime.engines.llama.architectures import ARCHITECTURES, Architecture, Shapes
from runtime.engines.llama.gguf_file import GgufContent, GgufError, read_gguf
from runtime.engines.llama.gguf_keys import Keys, read_tokenizer
from runtime.errors import BundleError

__all__ = ["CachePrecision", "FileIdentity", "GgufHeader", "open_gguf", "read_checked", "read_header"]

CachePrecision = Literal["float16", "float32"]

_MOST_BLOCKS = 512
_MOST_WIDTH = 1 << 16
_MOST_CONTEXT = 1 << 24
_MOST_HEADS = 1 << 10
_SCALINGS = ("none", "linear", "yarn")
_FIX = "copy or export the language model again"
_Header = TypeVar("_Header")


@dataclass(frozen=True)
class FileIdentity:
    """What tells that a file is still the one that was checked.

    Attributes:
        device: Of its file system.
        inode: Its number there.
        size: Bytes.
        modified_ns: When it was last written.
    """

    device: int
    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileIdentity:
        """From what the system says of a file."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class GgufHeader:
    """A language model that may be loaded.

    Attributes:
        path: The file.
        identity: The file as it was checked.
        architecture: "llama", "qwen2", "qwen2vl", "qwen3" or "gemma3".
        tokenizer: "gpt2" or "llama".
        shapes: Sizes of the network.
        context_tokens: The longest text that it was trained for.
        tensor_bytes: Of all weights.
        precision: The type that most bytes of the weights have, e.g. "F16" or "Q4_K".
    """

    path: Path
    identity: FileIdentity
    architecture: str
    tokenizer: str
    shapes: Shapes
    context_tokens: int
    tensor_bytes: int
    precision: str

    def cache_bytes(self, tokens: int, precision: CachePrecision) -> int:
        """Memory of the keys and values of so many tokens."""
        size = {"float16": 2, "float32": 4}[precision]
        return 2 * self.shapes.blocks * self.shapes.key_width * size * tokens

    def least_bytes(self, context_tokens: int, sequences: int, precision: CachePrecision) -> int:
        """The least memory that a process with this model takes: weights and caches."""
        return self.tensor_bytes + sequences * self.cache_bytes(context_tokens, precision)


def open_gguf(path: Path) -> BinaryIO:
    """Open a model's file for reading.

    Raises:
        BundleError: There is none, or it is no ordinary file.
    """
    try:
        # Without O_NONBLOCK a pipe of that name would wait for somebody who writes.
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb")
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}); {_FIX}") from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise BundleError(f"{path} is no ordinary file; {_FIX}")
    return file


def read_header(path: Path, file: BinaryIO | None = None) -> GgufHeader:
    """Read and judge a header.

    Args:
        path: The model, a `.gguf` file.
        file: The same file, already open.

    Raises:
        BundleError: It cannot be read, is damaged, or is a model that is not supported.
    """
    return read_checked(path, file, "language model", _judge)


def read_checked(
    path: Path,
    file: BinaryIO | None,
    what: str,
    judge: Callable[[Path, FileIdentity, GgufContent], _Header],
) -> _Header:
    """Read a GGUF file's header and judge it.

    Args:
        path: The file.
        file: The same file, already open.
        what: It should be, for the error.
        judge: Makes what is known of it; raises GgufError where it is no such thing.

    Raises:
        BundleError: It cannot be read, changed meanwhile, or `judge` refused it.
    """
    if file is None:
        with open_gguf(path) as opened:
            return read_checked(path, opened, what, judge)
    try:
        identity = FileIdentity.of(os.fstat(file.fileno()))
        file.seek(0)
        header = judge(path, identity, read_gguf(file, identity.size))
        if FileIdentity.of(os.fstat(file.fileno())) != identity:
            raise GgufError("the file changed while it was read")
    except GgufError as error:
        raise BundleError(f"{path} is no usable {what}: {error}; copy or export the {what} again") from error
    except OSError as error:
        raise BundleError(
            f"{path} cannot be read ({error.strerror}); copy or export the {what} again"
        ) from error
    return header


def _judge(path: Path, identity: FileIdentity, content: GgufContent) -> GgufHeader:
    keys = Keys(content.values)
    name = keys.text("general.architecture")
    if name not in ARCHITECTURES:
        raise GgufError(f"its architecture is {name!r}, none of {', '.join(ARCHITECTURES)}")
    if (kind := keys.text("general.type") if "general.type" in keys.values else "model") != "model":
        raise GgufError(f"it is of type {kind!r}, not a model")
    architecture = ARCHITECTURES[name]
    _refuse_unknown_networks(keys, name, architecture)
    tokenizer = read_tokenizer(keys)
    shapes = _shapes(keys, name, tokenizer.tokens)
    _check_tensors(content, architecture, shapes)
    sizes: dict[str, int] = {}
    for tensor in content.tensors.values():
        sizes[tensor.precision] = sizes.get(tensor.precision, 0) + tensor.byte_count
    return GgufHeader(
        path=path,
        identity=identity,
        architecture=name,
        tokenizer=tokenizer.kind,
        shapes=shapes,
        context_tokens=keys.count(f"{name}.context_length", 1, _MOST_CONTEXT),
        tensor_bytes=sum(sizes.values()),
        precision=max(sizes, key=lambda precision: sizes[precision]),
    )


def _shapes(keys: Keys, name: str, tokens: int) -> Shapes:
    width = keys.count(f"{name}.embedding_length", 1, _MOST_WIDTH)
    heads = keys.count(f"{name}.attention.head_count", 1, _MOST_HEADS)
    key_heads = keys.count(f"{name}.attention.head_count_kv", 1, heads, default=heads)
    head_width = keys.count(f"{name}.attention.key_length", 1, _MOST_WIDTH, default=width // heads)
    if keys.count(f"{name}.attention.value_length", 1, _MOST_WIDTH, default=width // heads) != head_width:
        raise GgufError("its keys and values have different widths")
    if (
        heads % key_heads
        or head_width % 2
        or (name in ("llama", "qwen2", "qwen2vl") and heads * head_width != width)
    ):
        raise GgufError(f"{heads} heads, {key_heads} of them for keys, do not fit a width of {width}")
    rotary = keys.count(f"{name}.rope.dimension_count", 1, _MOST_WIDTH, default=head_width)
    if rotary != head_width or keys.count(f"{name}.vocab_size", 1, tokens, default=tokens) != tokens:
        raise GgufError("its rotary width or vocabulary size does not fit the rest")
    keys.number(f"{name}.attention.layer_norm_rms_epsilon", 1e-12, 1e-2)
    if ARCHITECTURES[name].has_sections:
        sections = keys.numbers(f"{name}.rope.dimension_sections", 4, 0, _MOST_WIDTH)
        if sum(sections) != head_width // 2:
            raise GgufError("its rotary sections do not fit its heads")
    return Shapes(
        blocks=keys.count(f"{name}.block_count", 1, _MOST_BLOCKS),
        width=width,
        forward_width=keys.count(f"{name}.feed_forward_length", 1, 1 << 20),
        vocabulary=tokens,
        query_width=heads * head_width,
        key_width=key_heads * head_width,
        head_width=head_width,
    )


def _refuse_unknown_networks(keys: Keys, name: str, architecture: Architecture) -> None:
    """Keys that llama.cpp obeys and nothing here has checked, or whose values make it abort."""
    plain = {
        **{"split.count": 1, f"{name}.attention.causal": True, f"{name}.pooling_type": 0},
        **{f"{name}.expert_{key}": 0 for key in ("count", "used_count", "group_count", "group_used_count")},
        **dict.fromkeys(
            f"{name}.{key}"
            for key in (
                *("embedding_length_out", "nextn_predict_layers", "classifier.output_labels"),
                *("attention.key_length_swa", "attention.value_length_swa", "rope.dimension_count_swa"),
                *(
                    "rope.scaling.alpha",
                    "rope.scaling.yarn_log_multiplier",
                    "attention.sliding_window_pattern",
                ),
            )
        ),
    }
    keys.refuse(plain)
    scaling = f"{name}.rope.scaling.type"
    if scaling in keys.values and keys.text(scaling) not in _SCALINGS:
        raise GgufError(f"{scaling} is {keys.text(scaling)!r}, none of {', '.join(_SCALINGS)}")
    for key in ("rope.freq_base", "rope.freq_base_swa"):
        keys.number(f"{name}.{key}", 1, 1e10, default=1e4)
    for key in ("rope.scaling.factor", "rope.scale_linear", "rope.scaling.attn_factor"):
        keys.number(f"{name}.{key}", 1e-3, 1e4, default=1.0)
    keys.count(f"{name}.rope.scaling.original_context_length", 1, _MOST_CONTEXT, default=1)
    keys.flag(f"{name}.rope.scaling.finetuned", default=False)
    if architecture.has_window:
        keys.count(f"{name}.attention.sliding_window", 0, _MOST_CONTEXT, default=0)
        keys.number(f"{name}.final_logit_softcapping", 0, 1e4, default=0.0)


def _check_tensors(content: GgufContent, architecture: Architecture, shapes: Shapes) -> None:
    if shapes.blocks * 9 > len(content.tensors):  # before names are made for absurd counts
        raise GgufError(f"{len(content.tensors)} tensors are too few for {shapes.blocks} blocks")
    required = architecture.required(shapes)
    if missing := sorted(required.keys() - content.tensors.keys()):
        raise GgufError(f"the tensor {missing[0]} is missing")
    known = required | architecture.optional(shapes)
    for name, tensor in content.tensors.items():
        if name not in known:
            raise GgufError(f"the tensor {name} is unknown")
        if tensor.shape != known[name]:
            raise GgufError(f"the tensor {name} has the shape {tensor.shape}, not {known[name]}")
        if len(tensor.shape) == 1 and tensor.precision != "F32":
            raise GgufError(f"the tensor {name} is not of type F32")
