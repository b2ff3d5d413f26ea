"""The config.json of a checkpoint folder becomes sizes; what it asks for and we lack is refused."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, TypeVar

from runtime.errors import BundleError
from runtime.schema import SchemaError, build
from training.networks.sam.bert import BertConfig
from training.networks.sam.mask_decoder import SamDecoderConfig
from training.networks.sam.parts import SamConfig
from training.networks.sam.swin import SwinConfig
from training.networks.sam.tensor_files import read_json
from training.networks.sam.vit import VitConfig

__all__ = ["bert_config", "sam_config", "swin_config", "vit_config"]

T = TypeVar("T")

_COUNTED = {"depths", "iou_head_depth", "num_hidden_layers", "num_multimask_outputs"}
_MOST = 1000
"""Of what is counted: layers are built one by one, even where they take no memory."""


@dataclass(frozen=True)
class _Vit:
    """Settings that shape the network; where one has a single value, that is the only one we can do."""

    hidden_size: int = 768
    output_channels: int = 256
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    num_channels: Literal[3] = 3
    image_size: int = 1024
    patch_size: int = 16
    hidden_act: Literal["gelu"] = "gelu"
    layer_norm_eps: float = 1e-6
    qkv_bias: Literal[True] = True
    mlp_ratio: float = 4.0
    use_abs_pos: Literal[True] = True
    use_rel_pos: Literal[True] = True
    window_size: int = 14
    global_attn_indexes: tuple[int, ...] = (2, 5, 8, 11)
    mlp_dim: int | None = None


@dataclass(frozen=True)
class _Decoder:
    hidden_size: int = 256
    hidden_act: Literal["relu"] = "relu"
    mlp_dim: int = 2048
    num_hidden_layers: int = 2
    num_attention_heads: int = 8
    attention_downsample_rate: int = 2
    num_multimask_outputs: int = 3
    iou_head_depth: int = 3
    iou_head_hidden_dim: int = 256
    layer_norm_eps: float = 1e-6


@dataclass(frozen=True)
class _Prompt:
    hidden_size: int = 256
    image_embedding_size: int | None = None


@dataclass(frozen=True)
class _Swin:
    image_size: int = 224
    patch_size: int = 4
    num_channels: Literal[3] = 3
    embed_dim: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    window_size: int = 7
    mlp_ratio: float = 4.0
    qkv_bias: Literal[True] = True
    hidden_act: Literal["gelu"] = "gelu"
    use_absolute_embeddings: Literal[False] = False
    layer_norm_eps: float = 1e-5


@dataclass(frozen=True)
class _Bert:
    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: Literal["gelu"] = "gelu"
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    position_embedding_type: Literal["absolute"] = "absolute"
    is_decoder: Literal[False] = False


def _document(folder: Path, *kinds: str) -> dict[str, object]:
    path = folder / "config.json"
    document = read_json(path)
    if not isinstance(document, dict):
        raise BundleError(f"{path} is not an object; copy the checkpoint again")
    if (kind := document.get("model_type")) not in kinds:
        raise BundleError(
            f"{path}: model_type is {str(kind)[:80]!r}, expected {' or '.join(kinds)}; give another folder"
        )
    return document


def _settings(kind: type[T], value: object, where: Path, part: str = "$") -> T:
    """The settings that we know. Others are of training, of generation or of the library that wrote them."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if isinstance(value, dict):
        value = {key: item for key, item in value.items() if key in known}
    try:
        settings = build(kind, value, part)
    except SchemaError as error:
        raise BundleError(f"{where / 'config.json'}: {error}; this network cannot be built here") from error
    _positive(settings, where)
    return settings


def _positive(settings: object, where: Path) -> None:
    """Refuse sizes that are none, and counts that nobody waits for."""
    for name, value in vars(settings).items():
        sizes = value if isinstance(value, tuple) and name != "global_attn_indexes" else (value,)
        most = _MOST if name in _COUNTED else math.inf
        if any(
            isinstance(size, (int, float)) and size is not False and not 0 < size <= most for size in sizes
        ):
            raise BundleError(f"{where / 'config.json'}: {name} is {value}; copy the checkpoint again")


def _whole(value: float, what: str, folder: Path) -> int:
    if value != int(value):
        raise BundleError(f"{folder / 'config.json'}: {what} is {value}, expected a whole number")
    return int(value)


def _vit(settings: _Vit, folder: Path) -> VitConfig:
    hidden = settings.mlp_dim or _whole(
        settings.mlp_ratio * settings.hidden_size, "mlp_ratio * hidden_size", folder
    )
    return VitConfig(
        image_size=settings.image_size,
        patch=settings.patch_size,
        width=settings.hidden_size,
        layers=settings.num_hidden_layers,
        heads=settings.num_attention_heads,
        hidden=hidden,
        window=settings.window_size,
        everywhere=settings.global_attn_indexes,
        out=settings.output_channels,
        epsilon=settings.layer_norm_eps,
    )


def vit_config(folder: Path) -> VitConfig:
    """Sizes of a folder that holds SAM's image encoder alone.

    Raises:
        BundleError: No config.json, not one of such an encoder, or a setting that we lack.
    """
    document = _document(folder, "sam_vision_model")
    return _vit(_settings(_Vit, document, folder), folder)


def sam_config(folder: Path) -> SamConfig:
    """Sizes of a folder that holds a SAM or a MedSAM.

    Raises:
        BundleError: No config.json, not one of a SAM, or a setting that we lack.
    """
    document = _document(folder, "sam")
    vision = _settings(_Vit, document.get("vision_config", {}), folder, "$.vision_config")
    decoder = _settings(_Decoder, document.get("mask_decoder_config", {}), folder, "$.mask_decoder_config")
    prompt = _settings(_Prompt, document.get("prompt_encoder_config", {}), folder, "$.prompt_encoder_config")
    side = vision.image_size // vision.patch_size
    if prompt.hidden_size != decoder.hidden_size or prompt.image_embedding_size not in (None, side):
        raise BundleError(
            f"{folder / 'config.json'}: its three parts do not fit together; copy the checkpoint again"
        )
    return SamConfig(
        encoder=_vit(vision, folder),
        decoder=SamDecoderConfig(
            width=decoder.hidden_size,
            layers=decoder.num_hidden_layers,
            heads=decoder.num_attention_heads,
            hidden=decoder.mlp_dim,
            shrink=decoder.attention_downsample_rate,
            masks=decoder.num_multimask_outputs + 1,
            quality_hidden=decoder.iou_head_hidden_dim,
            quality_layers=decoder.iou_head_depth,
            epsilon=decoder.layer_norm_eps,
        ),
    )


def swin_config(folder: Path) -> SwinConfig:
    """Sizes of a folder that holds a Swin transformer.

    Raises:
        BundleError: No config.json, not one of a Swin, or a setting that we lack.
    """
    settings = _settings(_Swin, _document(folder, "swin"), folder)
    return SwinConfig(
        image_size=settings.image_size,
        patch=settings.patch_size,
        width=settings.embed_dim,
        layers=settings.depths,
        heads=settings.num_heads,
        window=settings.window_size,
        expand=_whole(settings.mlp_ratio, "mlp_ratio", folder),
        epsilon=settings.layer_norm_eps,
    )


def bert_config(folder: Path) -> BertConfig:
    """Sizes of a folder that holds a BERT.

    Raises:
        BundleError: No config.json, not one of a BERT, or a setting that we lack.
    """
    settings = _settings(_Bert, _document(folder, "bert"), folder)
    return BertConfig(
        vocabulary=settings.vocab_size,
        places=settings.max_position_embeddings,
        kinds=settings.type_vocab_size,
        width=settings.hidden_size,
        layers=settings.num_hidden_layers,
        heads=settings.num_attention_heads,
        hidden=settings.intermediate_size,
        epsilon=settings.layer_norm_eps,
    )
