"""Names and shapes of released light encoders, from reading their code; weights that anyone can remake."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is installed for training only (make check installs it)")

from training.networks.sam.efficient_vit import EfficientVitConfig  # noqa: E402
from training.networks.sam.tiny_vit import TinyVitConfig  # noqa: E402

TINY_VIT = TinyVitConfig(
    96, 2, (8, 12, 16, 20), (1, 2, 1, 2), (1, 2, 2, 4), (5, 5, 6, 3), (True, True, True), out=32
)
"""As published for classification: timm, which the numbers to meet come from, has no other."""

EFFICIENT_VIT = EfficientVitConfig(
    image_size=128,
    map_size=16,
    widths=(8, 12, 16, 24, 32),
    layers=(1, 1, 1, 2, 2),
    head=8,
    neck_layers=2,
    out=32,
)

Shapes = dict[str, tuple[int, ...]]


def weights(shapes: Shapes) -> dict[str, Any]:
    """Tensors that follow from their names alone, whatever made or reads them."""
    made = {}
    for name, shape in shapes.items():
        random = np.random.default_rng(zlib.crc32(name.encode()))
        fan = 1 if name.endswith("attention_biases") else np.prod(shape[1:])
        values = random.standard_normal(shape) * (1.0 if shape[1:] else 0.3) / fan**0.5
        if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
            values = 1 + 0.5 * np.abs(values)
        made[name] = torch.tensor(values, dtype=torch.int64 if name.endswith("tracked") else torch.float32)
    return made


def image(side: int) -> Any:
    """Two images, the same everywhere."""
    return torch.tensor(np.random.default_rng(7).standard_normal((2, 3, side, side)), dtype=torch.float32)


def summary(x: Any) -> Any:
    """Ten values of a map from all over it, then its mean and deviation."""
    flat = x.flatten()
    return torch.cat([flat[:: max(1, len(flat) // 10)][:10], flat.mean()[None], flat.std()[None]])


def _norm(name: str, width: int, batch: bool = True) -> Shapes:
    parts = ("weight", "bias", "running_mean", "running_var") if batch else ("weight", "bias")
    tracked: Shapes = {f"{name}.num_batches_tracked": ()} if batch else {}
    return {f"{name}.{part}": (width,) for part in parts} | tracked


def _linear(name: str, before: int, after: int) -> Shapes:
    return {f"{name}.weight": (after, before), f"{name}.bias": (after,)}


def tiny_vit_shapes(config: TinyVitConfig = TINY_VIT) -> Shapes:
    """Of TinyViT in MobileSAM and LiteMedSAM (tiny_vit_sam.py), without the prefix `image_encoder.`."""

    def convolution(name: str, before: int, after: int, size: int = 1) -> Shapes:
        return {f"{name}.c.weight": (after, before, size, size)} | _norm(f"{name}.bn", after)

    stem = 3 if config.stem_stride == 2 else 1
    widths = config.widths
    shapes = convolution("patch_embed.seq.0", 3, widths[0] // 2, stem)
    shapes |= convolution("patch_embed.seq.2", widths[0] // 2, widths[0], stem)
    for stage, (width, depth) in enumerate(zip(widths, config.layers, strict=True)):
        for block in range(depth):
            name = f"layers.{stage}.blocks.{block}"
            if stage == 0:
                shapes |= convolution(f"{name}.conv1", width, 4 * width)
                shapes |= convolution(f"{name}.conv2", 1, 4 * width, 3)
                shapes |= convolution(f"{name}.conv3", 4 * width, width)
                continue
            shapes |= _norm(f"{name}.attn.norm", width, batch=False)
            shapes |= _linear(f"{name}.attn.qkv", width, 3 * width) | _linear(
                f"{name}.attn.proj", width, width
            )
            shapes[f"{name}.attn.attention_biases"] = (config.heads[stage], config.windows[stage] ** 2)
            shapes |= _norm(f"{name}.mlp.norm", width, batch=False)
            shapes |= _linear(f"{name}.mlp.fc1", width, 4 * width) | _linear(
                f"{name}.mlp.fc2", 4 * width, width
            )
            shapes |= convolution(f"{name}.local_conv", 1, width, 3)
        if stage + 1 < len(widths):
            name, after = f"layers.{stage}.downsample", widths[stage + 1]
            shapes |= convolution(f"{name}.conv1", width, after) | convolution(f"{name}.conv2", 1, after, 3)
            shapes |= convolution(f"{name}.conv3", after, after)
    shapes |= {
        "neck.0.weight": (config.out, widths[-1], 1, 1),
        "neck.2.weight": (config.out, config.out, 3, 3),
    }
    return shapes | _norm("neck.1", config.out, batch=False) | _norm("neck.3", config.out, batch=False)


def _steps(name: str, sizes: list[tuple[str, int, int, int]], bare: int = 0) -> Shapes:
    """Convolutions of a block (name, before, after, size); the first `bare` have an offset and no norm."""
    shapes: Shapes = {}
    for index, (step, before, after, size) in enumerate(sizes):
        shapes[f"{name}.{step}.conv.weight"] = (after, before, size, size)
        shapes |= (
            {f"{name}.{step}.conv.bias": (after,)} if index < bare else _norm(f"{name}.{step}.norm", after)
        )
    return shapes


def _inverted(name: str, before: int, after: int, hidden: int, bare: bool) -> Shapes:
    sizes = [
        ("inverted_conv", before, hidden, 1),
        ("depth_conv", 1, hidden, 3),
        ("point_conv", hidden, after, 1),
    ]
    return _steps(name, sizes, 2 if bare else 0)


def _fused(name: str, before: int, after: int, hidden: int) -> Shapes:
    return _steps(name, [("spatial_conv", before, hidden, 3), ("point_conv", hidden, after, 1)])


def efficient_vit_shapes(config: EfficientVitConfig = EFFICIENT_VIT) -> Shapes:
    """Of EfficientViT-SAM (backbone.py, ops.py, sam.py), without the prefix `image_encoder.`."""
    before = config.widths[0]
    shapes = _steps("backbone.stages.0.op_list", [("0", 3, before, 3)])
    for block in range(config.layers[0]):
        sizes = [("conv1", before, before, 3), ("conv2", before, before, 3)]
        shapes |= _steps(f"backbone.stages.0.op_list.{block + 1}.main", sizes)
    for stage in range(1, len(config.widths)):
        width, kind, expand = config.widths[stage], config.kinds[stage], config.expand[stage]
        name, bare = f"backbone.stages.{stage}.op_list", not config.norms[stage]
        if kind == "fused":
            shapes |= _fused(f"{name}.0.main", before, width, 4 * expand * before)
        else:
            shapes |= _inverted(f"{name}.0.main", before, width, 4 * expand * before, bare)
        for block in range(1, config.layers[stage] + 1):
            if kind == "fused":
                shapes |= _fused(f"{name}.{block}.main", width, width, expand * width)
            elif kind == "inverted":
                shapes |= _inverted(f"{name}.{block}.main", width, width, expand * width, bare)
            else:
                around, heads, total = (
                    int(kind[-1]),
                    width // config.head,
                    3 * (width // config.head) * config.head,
                )
                attention = f"{name}.{block}.context_module.main"
                shapes |= {
                    f"{attention}.qkv.conv.weight": (total, width, 1, 1),
                    f"{attention}.aggreg.0.0.weight": (total, 1, around, around),
                    f"{attention}.aggreg.0.1.weight": (total, total // (3 * heads), 1, 1),
                }
                shapes |= _steps(attention, [("proj", 2 * total // 3, width, 1)])
                shapes |= _inverted(f"{name}.{block}.local_module.main", width, width, expand * width, True)
        before = width
    neck, hidden = config.out, config.neck_expand * config.out
    for index, width in enumerate(config.widths[:-4:-1]):
        shapes |= _steps(f"neck.input_ops.{index}.op_list", [("0", width, neck, 1)])
    for block in range(config.neck_layers):
        shapes |= _fused(f"neck.middle.op_list.{block}.main", neck, neck, hidden)
    shapes |= {"neck.output_ops.0.op_list.0.conv.weight": (neck, neck, 1, 1)}
    shapes |= {"neck.output_ops.0.op_list.0.conv.bias": (neck,)}
    return shapes | _norm("norm", neck, batch=False)
