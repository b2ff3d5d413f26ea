"""Prints the numbers that test_sam_first_code.py expects: what timm says of the same weights.

Not run by any test: timm wants a torchvision that fits the build of torch, and for the CPU build that tests
run with there is none. With both at hand: `python -m tests.sam_record_timm`. Recorded with timm 1.0.31.
"""

from __future__ import annotations

import re
from typing import Any

import timm
import torch
from timm.models.efficientvit_mit import EfficientVitLarge, LiteMLA
from timm.models.tiny_vit import TinyVit

from tests.sam_released import (
    EFFICIENT_VIT,
    TINY_VIT,
    efficient_vit_shapes,
    image,
    summary,
    tiny_vit_shapes,
    weights,
)


def renamed(tensors: dict[str, Any], *rules: tuple[str, str]) -> dict[str, Any]:
    found = {}
    for name, tensor in tensors.items():
        if not name.startswith(("neck.", "norm.")):
            for theirs, ours in rules:
                name = re.sub(theirs, ours, name)
            found[name] = tensor
    return found


def filled(model: Any, tensors: dict[str, Any]) -> Any:
    model.head = torch.nn.Identity()  # of a classifier; not asked for
    model.load_state_dict(tensors)
    return model.eval()


def tiny_vit() -> list[Any]:
    tensors = renamed(
        weights(tiny_vit_shapes()),
        (r"\.c\.", ".conv."),
        (r"^patch_embed\.seq\.0\.", "patch_embed.conv1."),
        (r"^patch_embed\.seq\.2\.", "patch_embed.conv2."),
        (r"^layers\.", "stages."),
    )
    later = re.compile(r"^stages\.(\d)\.downsample")
    tensors = {
        later.sub(lambda match: f"stages.{int(match[1]) + 1}.downsample", name): tensor
        for name, tensor in tensors.items()
    }
    config = TINY_VIT
    model = TinyVit(
        embed_dims=config.widths, depths=config.layers, num_heads=config.heads, window_sizes=config.windows
    )
    return [filled(model, tensors).forward_features(image(config.image_size))]


def efficient_vit() -> list[Any]:
    tensors = renamed(
        weights(efficient_vit_shapes()),
        (r"^backbone\.stages\.0\.op_list\.0\.", "stem.in_conv."),
        (r"^backbone\.stages\.0\.op_list\.1\.", "stem.res0."),
        (r"^backbone\.stages\.", "stages."),
        (r"\.op_list\.", ".blocks."),
    )
    stage = re.compile(r"^stages\.(\d)")
    tensors = {
        stage.sub(lambda match: f"stages.{int(match[1]) - 1}", name): tensor
        for name, tensor in tensors.items()
    }
    config = EFFICIENT_VIT
    model = EfficientVitLarge(
        widths=config.widths, depths=config.layers, head_dim=config.head, norm_eps=1e-6, head_widths=(8, 8)
    )
    for module in model.modules():
        if isinstance(module, LiteMLA):
            module.eps = 1e-15  # as in the first code; timm has 1e-5
    _, maps = filled(model, tensors).forward_intermediates(image(config.image_size))
    return list(maps)


if __name__ == "__main__":
    print("timm", timm.__version__, "torch", torch.__version__)  # noqa: T201
    with torch.inference_mode():
        for maps in (tiny_vit(), efficient_vit()):
            for found in maps:
                print(tuple(found.shape), [round(float(value), 6) for value in summary(found)])  # noqa: T201
