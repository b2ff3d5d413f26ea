"""Names of the tensors of SAM's prompt encoder and mask decoder, in the first code and in folders."""

from __future__ import annotations

from training.networks.sam.key_map import KeyMap
from training.networks.sam.mask_decoder import SamDecoderConfig

__all__ = ["DECODER_KEYS", "PROMPT_KEYS", "decoder_folder_keys", "prompt_folder_keys"]

_NOT_ASKED = "points, boxes and masks are not asked for here"


def _attention(theirs: str, ours: str) -> KeyMap:
    return KeyMap(
        {"q_proj.*": "query.*", "k_proj.*": "key.*", "v_proj.*": "value.*", "out_proj.*": "out.*"}
    ).under(theirs, ours)


_TRANSFORMER = (
    KeyMap(
        {
            "iou_token.weight": "quality_token",
            "mask_tokens.weight": "mask_tokens",
            "transformer.layers.#.mlp.lin1.*": "layers.#.mlp.layers.0.*",
            "transformer.layers.#.mlp.lin2.*": "layers.#.mlp.layers.1.*",
        }
    )
    | _attention("transformer.layers.#.self_attn.", "layers.#.among.")
    | _attention("transformer.layers.#.cross_attn_token_to_image.", "layers.#.to_map.")
    | _attention("transformer.layers.#.cross_attn_image_to_token.", "layers.#.to_tokens.")
    | _attention("transformer.final_attn_token_to_image.", "last.")
)

PROMPT_KEYS = KeyMap(
    {"pe_layer.positional_encoding_gaussian_matrix": "frequencies", "no_mask_embed.weight": "no_mask"},
    dict.fromkeys(("point_embeddings.**", "not_a_point_embed.*", "mask_downscaling.**"), _NOT_ASKED),
)
"""Source: facebookresearch/segment-anything, segment_anything/modeling/prompt_encoder.py."""

DECODER_KEYS = _TRANSFORMER | KeyMap(
    {
        **{f"transformer.layers.#.norm{n + 1}.*": f"layers.#.norms.{n}.*" for n in range(4)},
        "transformer.norm_final_attn.*": "norm.*",
        "output_upscaling.0.*": "up_first.*",
        "output_upscaling.1.*": "up_norm.*",
        "output_upscaling.3.*": "up_second.*",
        "output_hypernetworks_mlps.#.layers.#.*": "vectors.#.layers.#.*",
        "iou_prediction_head.layers.#.*": "quality.layers.#.*",
    }
)
"""Source: facebookresearch/segment-anything, segment_anything/modeling/mask_decoder.py and transformer.py."""


def prompt_folder_keys() -> KeyMap:
    """Names in a folder; those of the prompt encoder and of the positions that it shares with the image."""
    names = {
        "shared_image_embedding.positional_embedding": "frequencies",
        "prompt_encoder.no_mask_embed.weight": "no_mask",
    }
    unused = {
        "prompt_encoder.point_embed.**": _NOT_ASKED,
        "prompt_encoder.not_a_point_embed.*": _NOT_ASKED,
        "prompt_encoder.mask_embed.**": _NOT_ASKED,
        "prompt_encoder.shared_embedding.positional_embedding": "a second name of the shared positions",
    }
    return KeyMap(names, unused)


def decoder_folder_keys(config: SamDecoderConfig) -> KeyMap:
    """Names in a folder, whose small networks call their first and last layer apart from those between."""
    keys = _TRANSFORMER | KeyMap(
        {
            **{f"transformer.layers.#.layer_norm{n + 1}.*": f"layers.#.norms.{n}.*" for n in range(4)},
            "transformer.layer_norm_final_attn.*": "norm.*",
            "upscale_conv1.*": "up_first.*",
            "upscale_layer_norm.*": "up_norm.*",
            "upscale_conv2.*": "up_second.*",
        }
    )
    keys |= _between(3).under("output_hypernetworks_mlps.#.", "vectors.#.")
    return keys | _between(config.quality_layers).under("iou_prediction_head.", "quality.")


def _between(layers: int) -> KeyMap:
    names = {f"layers.{n}.*": f"layers.{n + 1}.*" for n in range(layers - 2)}
    return KeyMap({"proj_in.*": "layers.0.*", **names, "proj_out.*": f"layers.{layers - 1}.*"})
