"""From a checkpoint on disk to a network, in one call; nothing is fetched, nothing left out silently."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from runtime.errors import BundleError, UsageError, first_line
from training.networks.sam.bert import Bert
from training.networks.sam.decoder_keys import (
    DECODER_KEYS,
    PROMPT_KEYS,
    decoder_folder_keys,
    prompt_folder_keys,
)
from training.networks.sam.encoder_keys import VIT_FOLDER_KEYS, original_encoder_keys
from training.networks.sam.folder_config import bert_config, sam_config, swin_config, vit_config
from training.networks.sam.key_map import KeyMap, fill, match
from training.networks.sam.medclip_keys import BERT_KEYS, MEDCLIP_KEYS, SWIN_KEYS
from training.networks.sam.parts import MedClip, MedClipConfig, Sam, SamConfig
from training.networks.sam.swin import Swin
from training.networks.sam.tensor_files import read_tensors
from training.networks.sam.vit import VitEncoder

__all__ = ["load_bert", "load_medclip", "load_sam", "load_swin", "load_vit"]

M = TypeVar("M", bound=nn.Module)


def load_sam(path: Path, config: SamConfig | None = None) -> Sam:
    """Load a whole SAM, MedSAM, LiteMedSAM, MobileSAM or EfficientViT-SAM.

    Args:
        path: A folder with config.json and weights, or a file of the first code (`.pth`, `.pt`,
            `.safetensors`).
        config: Of a file, which does not say its sizes; a folder says its own.

    Returns:
        In evaluation mode.

    Raises:
        BundleError: Anything is missing, damaged, too much, of another shape, or not supported.
        UsageError: `config` is given for a folder, or not for a file.
    """
    if (config is None) != path.is_dir():
        raise UsageError(
            f"{path}: a file needs `config`, which says its sizes; a folder has a config.json instead"
        )
    if config is None:
        config = sam_config(path)
        keys = VIT_FOLDER_KEYS.under("vision_encoder.", "encoder.") | prompt_folder_keys().under(
            "", "prompt."
        )
        keys |= decoder_folder_keys(config.decoder).under("mask_decoder.", "decoder.")
    else:
        keys = original_encoder_keys(config.encoder).under("image_encoder.", "encoder.")
        keys |= PROMPT_KEYS.under("prompt_encoder.", "prompt.") | DECODER_KEYS.under(
            "mask_decoder.", "decoder."
        )
    return _loaded(lambda: Sam(config), read_tensors(path), keys, path)


def load_vit(path: Path) -> VitEncoder:
    """Load the image encoder alone, from a folder that holds nothing else.

    Args:
        path: A folder with config.json and weights.

    Returns:
        In evaluation mode.

    Raises:
        BundleError: Anything is missing, damaged, too much, of another shape, or not supported.
    """
    config = vit_config(path)
    keys = VIT_FOLDER_KEYS.under("vision_encoder.", "") | VIT_FOLDER_KEYS
    return _loaded(lambda: VitEncoder(config), read_tensors(path), keys, path)


def load_swin(path: Path) -> Swin:
    """Load a Swin transformer from a folder with config.json and weights; raises as `load_vit`."""
    config = swin_config(path)
    return _loaded(lambda: Swin(config), read_tensors(path), SWIN_KEYS, path)


def load_bert(path: Path) -> Bert:
    """Load a BERT from a folder with config.json and weights; raises as `load_vit`."""
    config = bert_config(path)
    return _loaded(lambda: Bert(config), read_tensors(path), BERT_KEYS, path)


def load_medclip(path: Path, config: MedClipConfig | None = None) -> MedClip:
    """Load a MedCLIP with a vision transformer.

    Args:
        path: The folder that its weights come in (`pytorch_model.bin`), or that file.
        config: Sizes, which the file does not say; those of the released one if not given.

    Returns:
        In evaluation mode.

    Raises:
        BundleError: Anything is missing, damaged, too much, or of another shape; it is one with a ResNet.
    """
    config = MedClipConfig() if config is None else config
    tensors = read_tensors(path)
    if "vision_model.model.conv1.weight" in tensors:
        raise BundleError(
            f"{path} is MedCLIP with a ResNet-50; get the one with a vision transformer (medclip-vit)"
        )
    return _loaded(lambda: MedClip(config), tensors, MEDCLIP_KEYS, path)


def _loaded(make: Callable[[], M], tensors: dict[str, Tensor], keys: KeyMap, path: Path) -> M:
    """Build what a checkpoint describes, and fill it.

    Its sizes may be nonsense, so the first attempt takes no memory: only what fits the tensors is built.
    """
    try:
        with torch.device("meta"):
            skeleton = make()
    except (ValueError, RuntimeError, ArithmeticError, IndexError) as error:
        reason = first_line(error)
        raise BundleError(
            f"{path}: no network has its sizes ({reason}); copy the checkpoint again"
        ) from error
    match(skeleton, tensors, keys, path)
    network = make()
    fill(network, tensors, keys, path)
    return network.eval()
