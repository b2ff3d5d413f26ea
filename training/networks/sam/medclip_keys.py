"""Names of the tensors of Swin, BERT and MedCLIP, which is made of both."""

from __future__ import annotations

from training.networks.sam.key_map import KeyMap

__all__ = ["BERT_KEYS", "MEDCLIP_KEYS", "SWIN_KEYS"]

_SWIN_BLOCK = KeyMap(
    {
        "layernorm_before.*": "before_attention.*",
        "attention.self.query.*": "attention.query.*",
        "attention.self.key.*": "attention.key.*",
        "attention.self.value.*": "attention.value.*",
        "attention.self.relative_position_bias_table": "attention.bias",
        "attention.output.dense.*": "attention.out.*",
        "layernorm_after.*": "before_mlp.*",
        "intermediate.dense.*": "widen.*",
        "output.dense.*": "narrow.*",
    },
    {"attention.self.relative_position_index": "follows from the size of a window"},
)

_SWIN = (
    KeyMap(
        {
            "embeddings.patch_embeddings.projection.*": "patches.*",
            "embeddings.norm.*": "patch_norm.*",
            "layernorm.*": "norm.*",
        }
    )
    | _SWIN_BLOCK.under("encoder.layers.#.blocks.#.", "stages.#.#.")
    | KeyMap({"norm.*": "norm.*", "reduction.*": "reduce.*"}).under(
        "encoder.layers.#.downsample.", "merges.#."
    )
)

SWIN_KEYS = _SWIN | _SWIN.under("swin.", "") | KeyMap({}, {"classifier.*": "what it once classified"})
"""Of a folder, with the head of a classifier or without."""

_BERT_LAYER = KeyMap(
    {
        "attention.self.query.*": "attention.query.*",
        "attention.self.key.*": "attention.key.*",
        "attention.self.value.*": "attention.value.*",
        "attention.output.dense.*": "attention.out.*",
        "attention.output.LayerNorm.gamma": "after_attention.weight",
        "attention.output.LayerNorm.beta": "after_attention.bias",
        "attention.output.LayerNorm.*": "after_attention.*",
        "intermediate.dense.*": "widen.*",
        "output.dense.*": "narrow.*",
        "output.LayerNorm.gamma": "after_mlp.weight",
        "output.LayerNorm.beta": "after_mlp.bias",
        "output.LayerNorm.*": "after_mlp.*",
    }
)

_BERT = KeyMap(
    {
        "embeddings.word_embeddings.*": "tokens.*",
        "embeddings.position_embeddings.*": "places.*",
        "embeddings.token_type_embeddings.*": "kinds.*",
        "embeddings.LayerNorm.gamma": "norm.weight",  # what the oldest checkpoints of BERT say
        "embeddings.LayerNorm.beta": "norm.bias",
        "embeddings.LayerNorm.*": "norm.*",
    },
    {
        "embeddings.position_ids": "0, 1, 2 …, a buffer of older versions",
        "pooler.dense.*": "MedCLIP pools hidden states instead",
    },
) | _BERT_LAYER.under("encoder.layer.#.", "layers.#.")

BERT_KEYS = _BERT | _BERT.under("bert.", "") | KeyMap({}, {"cls.**": "heads of BERT's own training"})
"""Of a folder, with the heads of its training or without."""

MEDCLIP_KEYS = (
    _SWIN.under("vision_model.model.", "vision.transformer.")
    | _BERT.under("text_model.model.", "text.transformer.")
    | KeyMap(
        {
            "vision_model.projection_head.weight": "vision.projection.weight",
            "text_model.projection_head.weight": "text.projection.weight",
        },
        {"logit_scale": "MedCLIP's own training only"},
    )
)
"""Source: RyanWangZf/MedCLIP, medclip/modeling_medclip.py (MedCLIPModel with MedCLIPVisionModelViT)."""
