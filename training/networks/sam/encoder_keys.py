"""Names of the image encoders' tensors in released checkpoints."""

from __future__ import annotations

from training.networks.sam.efficient_vit import EfficientVitConfig
from training.networks.sam.key_map import KeyMap
from training.networks.sam.tiny_vit import TinyVitConfig
from training.networks.sam.vit import VitConfig

__all__ = ["VIT_FOLDER_KEYS", "original_encoder_keys"]

_NECK = {
    "neck.0.*": "neck.narrow.*",
    "neck.1.*": "neck.narrow_norm.*",
    "neck.2.*": "neck.smooth.*",
    "neck.3.*": "neck.smooth_norm.*",
}

_VIT = KeyMap(
    {
        "patch_embed.proj.*": "patches.*",
        "pos_embed": "places",
        "blocks.#.norm1.*": "blocks.#.before_attention.*",
        "blocks.#.attn.qkv.*": "blocks.#.attention.qkv.*",
        "blocks.#.attn.proj.*": "blocks.#.attention.out.*",
        "blocks.#.attn.rel_pos_h": "blocks.#.attention.rows",
        "blocks.#.attn.rel_pos_w": "blocks.#.attention.columns",
        "blocks.#.norm2.*": "blocks.#.before_mlp.*",
        "blocks.#.mlp.lin1.*": "blocks.#.widen.*",
        "blocks.#.mlp.lin2.*": "blocks.#.narrow.*",
        **_NECK,
    }
)

VIT_FOLDER_KEYS = KeyMap(
    {
        "patch_embed.projection.*": "patches.*",
        "pos_embed": "places",
        "layers.#.layer_norm1.*": "blocks.#.before_attention.*",
        "layers.#.attn.qkv.*": "blocks.#.attention.qkv.*",
        "layers.#.attn.proj.*": "blocks.#.attention.out.*",
        "layers.#.attn.rel_pos_h": "blocks.#.attention.rows",
        "layers.#.attn.rel_pos_w": "blocks.#.attention.columns",
        "layers.#.layer_norm2.*": "blocks.#.before_mlp.*",
        "layers.#.mlp.lin1.*": "blocks.#.widen.*",
        "layers.#.mlp.lin2.*": "blocks.#.narrow.*",
        "neck.conv1.*": "neck.narrow.*",
        "neck.layer_norm1.*": "neck.narrow_norm.*",
        "neck.conv2.*": "neck.smooth.*",
        "neck.layer_norm2.*": "neck.smooth_norm.*",
    }
)
"""Of SAM's ViT in folders with a config.json."""

_CONVOLUTION = KeyMap({"c.*": "conv.*", "bn.*": "norm.*"})


def _tiny_vit() -> KeyMap:
    keys = KeyMap(
        {
            "layers.#.blocks.#.attn.norm.*": "stages.#.#.attention.norm.*",
            "layers.#.blocks.#.attn.qkv.*": "stages.#.#.attention.qkv.*",
            "layers.#.blocks.#.attn.proj.*": "stages.#.#.attention.out.*",
            "layers.#.blocks.#.attn.attention_biases": "stages.#.#.attention.bias",
            "layers.#.blocks.#.mlp.norm.*": "stages.#.#.norm.*",
            "layers.#.blocks.#.mlp.fc1.*": "stages.#.#.widen.*",
            "layers.#.blocks.#.mlp.fc2.*": "stages.#.#.narrow.*",
            **_NECK,
        },
        dict.fromkeys(("norm_head.*", "head.*"), "MobileSAM keeps the head of the classifier that it was"),
    )
    convolutions = {
        "patch_embed.seq.0.": "stem.0.",
        "patch_embed.seq.2.": "stem.1.",
        "layers.#.blocks.#.local_conv.": "stages.#.#.local.",
        "layers.#.blocks.#.conv1.": "stages.#.#.widen.",
        "layers.#.blocks.#.conv2.": "stages.#.#.spread.",
        "layers.#.blocks.#.conv3.": "stages.#.#.narrow.",
        "layers.#.downsample.conv1.": "merges.#.widen.",
        "layers.#.downsample.conv2.": "merges.#.spread.",
        "layers.#.downsample.conv3.": "merges.#.mix.",
    }
    for theirs, ours in convolutions.items():
        keys |= _CONVOLUTION.under(theirs, ours)
    return keys


_STEPS = {
    "plain": ("conv1", "conv2"),
    "fused": ("spatial_conv", "point_conv"),
    "inverted": ("inverted_conv", "depth_conv", "point_conv"),
}
"""What EfficientViT calls the convolutions of its blocks."""


def _steps(kind: str) -> KeyMap:
    names = {
        f"{step}.{part}.*": f"steps.{index}.{part}.*"
        for index, step in enumerate(_STEPS[kind])
        for part in ("conv", "norm")
    }
    return KeyMap(names)


def _efficient_vit(config: EfficientVitConfig) -> KeyMap:
    attention = KeyMap(
        {
            "qkv.conv.*": "qkv.*",
            "aggreg.0.0.*": "around.*",
            "aggreg.0.1.*": "regroup.*",
            "proj.conv.*": "out.conv.*",
            "proj.norm.*": "out.norm.*",
        }
    )
    keys = KeyMap(
        {
            "backbone.stages.0.op_list.0.conv.*": "stem.conv.*",
            "backbone.stages.0.op_list.0.norm.*": "stem.norm.*",
            "neck.input_ops.#.op_list.0.conv.*": "inputs.#.conv.*",
            "neck.input_ops.#.op_list.0.norm.*": "inputs.#.norm.*",
            "neck.output_ops.0.op_list.0.conv.*": "out.*",
            "norm.*": "norm.*",
        }
    )
    keys |= _steps("fused").under("neck.middle.op_list.#.main.", "middle.#.main.")
    for stage, kind in enumerate(config.kinds):
        theirs, ours = f"backbone.stages.{stage}.op_list.", f"stages.{stage}."
        if stage:
            first = "fused" if kind == "fused" else "inverted"
            keys |= _steps(first).under(f"{theirs}0.main.", f"{ours}0.")
        for block in range(config.layers[stage]):
            place = bool(stage) + (2 * block if kind.startswith("attention") else block)
            if kind.startswith("attention"):
                keys |= attention.under(f"{theirs}{block + 1}.context_module.main.", f"{ours}{place}.main.")
                local = f"{theirs}{block + 1}.local_module.main."
                keys |= _steps("inverted").under(local, f"{ours}{place + 1}.main.")
            else:
                keys |= _steps(kind).under(f"{theirs}{block + 1}.main.", f"{ours}{place}.main.")
    return keys


def original_encoder_keys(config: VitConfig | TinyVitConfig | EfficientVitConfig) -> KeyMap:
    """Names that the network's first code gives its tensors.

    Source:
        facebookresearch/segment-anything and bowang-lab/MedSAM, segment_anything/modeling/image_encoder.py;
        bowang-lab/MedSAM and ChaoningZhang/MobileSAM, tiny_vit_sam.py; mit-han-lab/efficientvit,
        efficientvit/models (nn/ops.py, efficientvit/backbone.py, efficientvit/sam.py).
    """
    if isinstance(config, VitConfig):
        return _VIT
    return _tiny_vit() if isinstance(config, TinyVitConfig) else _efficient_vit(config)
