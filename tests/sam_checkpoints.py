"""Checkpoints in the real layouts with random weights, and what their own modules say."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything of the kind is imported

import pytest

torch = pytest.importorskip("torch", reason="torch is installed for training only (make check installs it)")
transformers = pytest.importorskip("transformers", reason="it is installed beside torch (make check)")

SIDE = 80
"""Of a tiny SAM's image: 10 patches, so that windows of 4 reach beyond the map."""


def stirred(module: Any, seed: int = 3) -> Any:
    """The module with no parameter at its starting value: zeros and ones hide what is not connected."""
    torch.manual_seed(seed)
    for parameter in module.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape)
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer += 0.1 * torch.randn(buffer.shape)
        if name.endswith("running_var"):
            buffer += 0.1 * torch.rand(buffer.shape)
    return module.eval()


def vision_settings(**changes: Any) -> dict[str, Any]:
    settings = {"hidden_size": 24, "output_channels": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    settings |= {"image_size": SIDE, "patch_size": 8, "window_size": 4, "global_attn_indexes": [1]}
    return settings | {"mlp_dim": 40, "num_pos_feats": 16} | changes


def sam_model(epsilon: float = 1e-6) -> Any:
    """A small SAM of transformers."""
    decoder = {"hidden_size": 32, "mlp_dim": 40, "num_attention_heads": 2, "iou_head_hidden_dim": 12}
    config = transformers.SamConfig(
        vision_config=vision_settings(),
        prompt_encoder_config={
            "hidden_size": 32,
            "image_size": SIDE,
            "patch_size": 8,
            "mask_input_channels": 4,
        },
        mask_decoder_config={**decoder, "layer_norm_eps": epsilon},
    )
    return stirred(transformers.SamModel(config))


def swin_model() -> Any:
    """A small Swin of transformers, with shifted windows and a merge."""
    config = transformers.SwinConfig(
        image_size=48, patch_size=4, embed_dim=12, depths=[2, 2], num_heads=[2, 3], window_size=3
    )
    return stirred(transformers.SwinModel(config))


def bert_model() -> Any:
    """A small BERT of transformers."""
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=80,
    )
    return stirred(transformers.BertModel(config))


def saved(model: Any, folder: Path, **options: Any) -> Path:
    """The folder, with the model in it."""
    model.save_pretrained(folder, **options)
    return folder


def tensors_of(model: Any, folder: Path) -> dict[str, Any]:
    """What the model saves, under the names that are in files (in memory they may be others)."""
    load_file = pytest.importorskip("safetensors.torch").load_file
    return dict(load_file(saved(model, folder) / "model.safetensors"))


def close(found: Any, wanted: Any) -> None:
    """No number is further away than the loader promises."""
    assert found.shape == wanted.shape
    away = (found - wanted).abs().max()
    assert away <= 1e-4
    assert away <= 1e-2 * wanted.abs().max()  # of tiny numbers the line above says nothing


FIRST_CODE = (
    (r"^vision_encoder\.", "image_encoder."),
    (r"patch_embed\.projection", "patch_embed.proj"),
    (r"^image_encoder\.layers\.", "image_encoder.blocks."),
    (r"neck\.conv1", "neck.0"),
    (r"neck\.layer_norm1", "neck.1"),
    (r"neck\.conv2", "neck.2"),
    (r"neck\.layer_norm2", "neck.3"),
    (
        r"^shared_image_embedding\.positional_embedding",
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
    ),
    (r"encoder\.point_embed\.", "encoder.point_embeddings."),
    (r"mask_embed\.conv1", "mask_downscaling.0"),
    (r"mask_embed\.layer_norm1", "mask_downscaling.1"),
    (r"mask_embed\.conv2", "mask_downscaling.3"),
    (r"mask_embed\.layer_norm2", "mask_downscaling.4"),
    (r"mask_embed\.conv3", "mask_downscaling.6"),
    (r"layer_norm_final_attn", "norm_final_attn"),
    (r"layer_norm(\d)", r"norm\1"),
    (r"upscale_conv1", "output_upscaling.0"),
    (r"upscale_layer_norm", "output_upscaling.1"),
    (r"upscale_conv2", "output_upscaling.3"),
    (r"((?:mlps\.\d|head)\.)layers\.0\.", r"\1layers.1."),
    (r"((?:mlps\.\d|head)\.)proj_in\.", r"\1layers.0."),
    (r"((?:mlps\.\d|head)\.)proj_out\.", r"\1layers.2."),
)
"""Names of a folder, and what the first code of SAM calls the same; from reading both."""


def first_code(tensors: dict[str, Any]) -> dict[str, Any]:
    """The same tensors under the names of the first code."""
    found = {}
    for name, tensor in tensors.items():
        for theirs, ours in FIRST_CODE:
            name = re.sub(theirs, ours, name)
        found[name] = tensor
    return found
