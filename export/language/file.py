"""Write a language model as a GGUF file, one tensor in memory at a time, with every key that would default.

Source: the keys of llama.cpp's loaders (`llm_load_hparams`, `llm_load_vocab`).
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from export.language.config import LanguageConfig
from export.language.tokens import Vocabulary
from export.language.weights import Weights
from runtime.errors import BundleError

__all__ = ["Plain", "write_gguf"]

Plain = Literal["F32", "F16", "BF16"]
"""Types that are written here; the others are llama.cpp's own quantiser's."""

_LARGEST_HALF = 65504.0
_ROTARY = "rope_freqs.weight"


def write_gguf(path: Path, name: str, weights: Weights, vocabulary: Vocabulary, precision: Plain) -> None:
    """Write a file.

    Args:
        path: It.
        name: Of the model.
        weights: Of it.
        vocabulary: As many tokens as the embedding has rows.
        precision: Of matrices; vectors stay float32.

    Raises:
        BundleError: A weight is not finite, or too large for `precision`.
    """
    from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, quantize

    kinds = {
        "F32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
        "F16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
        "BF16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16),
    }
    kind, file_type = kinds[precision]
    config = weights.config
    writer = GGUFWriter(path, config.architecture)
    writer.add_type("model")
    writer.add_name(name)
    writer.add_file_type(int(file_type))
    writer.add_quantization_version(2)
    _add_sizes(writer, config)
    _add_vocabulary(writer, vocabulary)
    stored = {name: kind if len(shape) == 2 else GGMLQuantizationType.F32 for name, shape in _shapes(weights)}
    for name, shape in _shapes(weights):
        size = int(np.prod(shape)) * (4 if stored[name] == GGMLQuantizationType.F32 else 2)
        writer.add_tensor_info(name, shape, np.dtype(np.float32), size, raw_dtype=stored[name])
    with closing(writer):
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for name, _ in _shapes(weights):
            values = _values(weights, name)
            if precision == "F16" and not np.abs(values).max() <= _LARGEST_HALF:
                raise BundleError(
                    f"{weights.names.get(name, name)} holds {np.abs(values).max():.3g}, which F16 cannot; "
                    "use --type BF16 or F32"
                )
            writer.write_tensor_data(quantize(values, stored[name]))


def _shapes(weights: Weights) -> list[tuple[str, tuple[int, ...]]]:
    """Every tensor of the file, rows first."""
    config = weights.config
    made = [(name, tuple(weights.tensors[theirs].shape)) for name, theirs in weights.names.items()]
    return [(_ROTARY, (config.head_width // 2,)), *made] if config.rotary.kind == "llama3" else made


def _values(weights: Weights, name: str) -> NDArray[np.float32]:
    if name == _ROTARY:
        return np.array(weights.config.rotary.divisors(weights.config.head_width), np.float32)
    return np.asarray(weights.stored(name).numpy(), np.float32)


def _add_sizes(writer: Any, config: LanguageConfig) -> None:
    from gguf import RopeScalingType

    writer.add_context_length(config.context)
    writer.add_embedding_length(config.width)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.hidden)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.key_heads)
    writer.add_key_length(config.head_width)
    writer.add_value_length(config.head_width)
    writer.add_layer_norm_rms_eps(config.epsilon)
    writer.add_rope_freq_base(config.rotary.base)
    writer.add_rope_dimension_count(config.head_width)
    writer.add_vocab_size(config.vocabulary)
    if config.rotary.kind == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(config.rotary.factor)


def _add_vocabulary(writer: Any, vocabulary: Vocabulary) -> None:
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_token_list([token.encode() for token in vocabulary.tokens])
    writer.add_token_types(list(vocabulary.kinds))
    if vocabulary.model == "llama":
        writer.add_token_scores(list(vocabulary.scores))
    else:
        writer.add_tokenizer_pre(vocabulary.pre)
        writer.add_token_merges([merge.encode() for merge in vocabulary.merges])
    for number, add in (
        (vocabulary.begin, writer.add_bos_token_id),
        (vocabulary.end, writer.add_eos_token_id),
        (vocabulary.turn_end, writer.add_eot_token_id),
        (vocabulary.unknown, writer.add_unk_token_id),
        (vocabulary.padding, writer.add_pad_token_id),
    ):
        if number is not None:
            add(number)
    writer.add_add_bos_token(vocabulary.adds_begin)
    writer.add_add_eos_token(vocabulary.adds_end)
    writer.add_add_space_prefix(vocabulary.adds_space)
    if vocabulary.chat_template is not None:
        writer.add_chat_template(vocabulary.chat_template)
