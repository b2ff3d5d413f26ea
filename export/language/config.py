"""The config.json of a language model becomes sizes; what it asks for and we lack is refused."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from runtime.errors import BundleError
from runtime.schema import SchemaError, build

__all__ = ["MODEL_TYPES", "LanguageConfig", "Rotary", "read_config", "read_object"]

MODEL_TYPES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""`model_type` of a folder, and the architecture of llama.cpp that computes the same."""

_MOST = 1 << 20


@dataclass(frozen=True)
class _Scaling:
    """`rope_parameters`, or `rope_scaling` of older folders, which call the type `type`."""

    rope_type: Literal["default", "linear", "llama3"] = "default"
    rope_theta: float | None = None
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192
    partial_rotary_factor: Literal[1] = 1


@dataclass(frozen=True)
class _Settings:
    """Settings that shape the network; where one has a single value, that is the only one we can do."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    rms_norm_eps: float
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    hidden_act: Literal["silu"] = "silu"
    rope_theta: float | None = None
    tie_word_embeddings: bool = False
    sliding_window: int | None = None
    use_sliding_window: Literal[False] = False
    mlp_bias: Literal[False] = False
    partial_rotary_factor: Literal[1] = 1


@dataclass(frozen=True)
class Rotary:
    """How positions turn queries and keys.

    Attributes:
        base: Of the wavelengths.
        kind: "default", "linear" (positions divided by `factor`) or "llama3" (long waves lengthened).
        factor: By which the context was lengthened.
        low: Waves longer than `original` / `low` are lengthened whole; "llama3" only.
        high: Waves shorter than `original` / `high` stay; "llama3" only.
        original: Context before lengthening, tokens; "llama3" only.
    """

    base: float = 1e4
    kind: str = "default"
    factor: float = 1.0
    low: float = 1.0
    high: float = 4.0
    original: int = 8192

    def frequencies(self, head_width: int) -> list[float]:
        """Radians a token of each pair, (head_width / 2,), before any lengthening."""
        return [self.base ** (-2 * pair / head_width) for pair in range(head_width // 2)]

    def divisors(self, head_width: int) -> list[float]:
        """By which each frequency is divided, (head_width / 2,).

        Source: the appendix on long contexts in "The Llama 3 Herd of Models" and Meta's `apply_scaling`.
        """
        frequencies = self.frequencies(head_width)
        if self.kind != "llama3":
            return [self.factor if self.kind == "linear" else 1.0] * len(frequencies)
        made = []
        for frequency in frequencies:
            turns = self.original * frequency / (2 * math.pi)
            share = min(max((turns - self.low) / (self.high - self.low), 0.0), 1.0)
            made.append(1 / ((1 - share) / self.factor + share))
        return made


@dataclass(frozen=True)
class LanguageConfig:
    """Sizes of a language model.

    Attributes:
        architecture: Its name in llama.cpp.
        vocabulary: Rows of the embedding.
        width: Of an embedding.
        hidden: Of the feed-forward network.
        layers: Transformer blocks.
        heads: Of attention.
        key_heads: Of keys and values.
        head_width: Of one head.
        context: Tokens that it answers as its source does.
        epsilon: Of its norms.
        rotary: Its positions.
        tied: Whether the embedding is the output's matrix, too.
    """

    architecture: str
    vocabulary: int
    width: int
    hidden: int
    layers: int
    heads: int
    key_heads: int
    head_width: int
    context: int
    epsilon: float
    rotary: Rotary
    tied: bool

    @property
    def turns_neighbours(self) -> bool:
        """Whether llama.cpp turns neighbouring pairs, so that rows of queries and keys change places."""
        return self.architecture == "llama"

    @property
    def has_head_norms(self) -> bool:
        """Whether queries and keys are normalised in each head."""
        return self.architecture == "qwen3"


def read_object(path: Path) -> dict[str, object]:
    """Decode a JSON file that holds an object.

    Raises:
        BundleError: It is missing, no JSON, or no object.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(f"{path} is missing; copy the whole checkpoint folder") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not readable JSON ({error}); copy it again") from error
    if not isinstance(document, dict):
        raise BundleError(f"{path} is no object; copy the checkpoint again")
    return document


def read_config(folder: Path) -> LanguageConfig:
    """Sizes of the language model in a folder.

    Raises:
        BundleError: No config.json, another architecture, or a setting that we lack.
    """
    path = folder / "config.json"
    document = read_object(path)
    kind = document.get("model_type")
    if not isinstance(kind, str) or kind not in MODEL_TYPES:
        raise BundleError(
            f"{path}: model_type is {str(kind)[:80]!r}, expected one of {', '.join(MODEL_TYPES)}; "
            "other language models cannot be exported here"
        )
    try:
        settings = build(_Settings, _known(_Settings, document))
        described = document.get("rope_parameters") or document.get("rope_scaling") or {}
        if isinstance(described, dict):
            described = {"rope_type": described.get("type", "default")} | described
        scaling = build(_Scaling, _known(_Scaling, described), "$.rope_parameters")
    except SchemaError as error:
        raise BundleError(f"{path}: {error}; this network cannot be exported here") from error
    config = _config(MODEL_TYPES[kind], settings, scaling)
    if fault := _fault(config, settings):
        raise BundleError(f"{path}: {fault}; this network cannot be exported here")
    return config


def _known(kind: type, value: object) -> object:
    """The settings that we know. Others are of training, of generation or of the library that wrote them."""
    names = {field.name for field in fields(kind)}
    return {key: item for key, item in value.items() if key in names} if isinstance(value, dict) else value


def _config(architecture: str, settings: _Settings, scaling: _Scaling) -> LanguageConfig:
    base = next((base for base in (scaling.rope_theta, settings.rope_theta) if base is not None), 1e4)
    context = settings.max_position_embeddings
    if architecture == "llama" and settings.sliding_window is not None:
        context = min(context, settings.sliding_window)  # within its window nothing is forgotten
    return LanguageConfig(
        architecture=architecture,
        vocabulary=settings.vocab_size,
        width=settings.hidden_size,
        hidden=settings.intermediate_size,
        layers=settings.num_hidden_layers,
        heads=settings.num_attention_heads,
        key_heads=settings.num_key_value_heads or settings.num_attention_heads,
        head_width=settings.head_dim or settings.hidden_size // max(settings.num_attention_heads, 1),
        context=context,
        epsilon=settings.rms_norm_eps,
        rotary=Rotary(
            base,
            scaling.rope_type,
            scaling.factor,
            scaling.low_freq_factor,
            scaling.high_freq_factor,
            scaling.original_max_position_embeddings,
        ),
        tied=settings.tie_word_embeddings,
    )


def _fault(config: LanguageConfig, settings: _Settings) -> str:
    """What no network can be, in words; nothing if it can."""
    sizes = (config.vocabulary, config.width, config.hidden, config.layers, config.heads, config.key_heads)
    if not all(0 < size <= _MOST for size in (*sizes, config.head_width)) or config.layers > 512:
        return "a size is not positive, or absurd"
    if not 0 < config.context <= 1 << 24:
        return f"a context of {config.context} tokens is none"
    if config.heads % config.key_heads or config.head_width % 2:
        return f"{config.heads} heads of {config.head_width}, {config.key_heads} of keys, do not fit together"
    if not config.has_head_norms and config.heads * config.head_width != config.width:
        return f"{config.heads} heads of {config.head_width} are not as wide as an embedding ({config.width})"
    rotary = config.rotary
    if not (rotary.base >= 1 and rotary.factor > 0 and rotary.original > 0 and 0 < rotary.low < rotary.high):
        return "its rotary positions are none"
    if not 1e-12 <= settings.rms_norm_eps <= 1e-2:
        return f"rms_norm_eps is {settings.rms_norm_eps}"
    return ""
