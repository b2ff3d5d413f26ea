"""A language model of ours as a GGUF file for llama.cpp, with every key that would default in silence.

Source: the keys and tensor names of llama.cpp's LLaMA architecture; our rotary positions turn neighbouring
pairs, as it does, so nothing is permuted.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from training.networks.writer_language import LanguageModel
from training.writer.words import BEGIN, END, SPECIAL

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["PRECISIONS", "About", "Precision", "gguf_bytes"]

Precision = Literal["F32", "F16", "Q8_0"]

PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True)
class About:
    """What a file says of itself.

    Attributes:
        name: Of the model.
        version: Of it.
        steps: Of its training.
        command: That made it.
    """

    name: str
    version: str
    steps: int
    command: str


def gguf_bytes(
    language: LanguageModel, tokenizer: Tokenizer, about: About, precision: Precision, folder: Path
) -> bytes:
    """The file's content.

    Args:
        language: The model.
        tokenizer: Byte-level pairs, with the special tokens first.
        about: What the file says of itself.
        precision: Of matrices; norms stay float32.
        folder: For the file, while it is written.
    """
    from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, quantize

    kinds = {
        "F32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
        "F16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
        "Q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    }
    kind, file_type = kinds[precision]
    path = folder / f"{precision}.gguf"
    writer = GGUFWriter(path, "llama")
    _add_about(writer, about, int(file_type))
    _add_sizes(writer, language)
    _add_tokenizer(writer, tokenizer)
    for name, values in _tensors(language).items():
        stored = kind if values.ndim == 2 else GGMLQuantizationType.F32
        writer.add_tensor(name, quantize(values, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def _tensors(language: LanguageModel) -> dict[str, NDArray[np.float32]]:
    """Weights by the names that llama.cpp gives them; ours are the same."""
    return {
        name: np.ascontiguousarray(value.detach().float().cpu().numpy())
        for name, value in language.state_dict().items()
    }


def _add_about(writer: Any, about: About, file_type: int) -> None:
    writer.add_type("model")
    writer.add_name(about.name)
    writer.add_version(about.version)
    writer.add_description("Writes the instruction for a series of a head scan from its pictures.")
    writer.add_license("apache-2.0")
    writer.add_languages(["en"])
    writer.add_file_type(file_type)
    writer.add_quantization_version(2)
    writer.add_uint32("zeus.training.steps", about.steps)
    writer.add_string("zeus.training.command", about.command)
    writer.add_string("zeus.training.data", "synthetic images only, from label maps and an analytic phantom")


def _add_sizes(writer: Any, language: LanguageModel) -> None:
    config = language.config
    writer.add_context_length(config.context)
    writer.add_embedding_length(config.width)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.hidden)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.heads)
    writer.add_layer_norm_rms_eps(config.epsilon)
    writer.add_rope_freq_base(config.rope_base)
    writer.add_rope_dimension_count(config.width // config.heads)
    writer.add_vocab_size(config.vocabulary)


def _add_tokenizer(writer: Any, tokenizer: Tokenizer) -> None:
    described = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(described["vocab"], key=described["vocab"].__getitem__)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in described["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in SPECIAL else 1 for token in tokens])  # control, or words
    writer.add_token_merges(merges)
    writer.add_bos_token_id(BEGIN)
    writer.add_eos_token_id(END)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
