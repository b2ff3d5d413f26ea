"""Tiny random language models as transformers writes them, with tokenizers trained here; LoRA as peft's."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything of the kind is imported

import pytest

torch = pytest.importorskip("torch", reason="torch is installed for training only (make check installs it)")
transformers = pytest.importorskip("transformers", reason="it is installed beside torch (make check)")

from safetensors.torch import save_file  # noqa: E402
from tokenizers import (  # noqa: E402  # noqa: E402
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

KINDS = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}
SPECIAL = ("<|begin|>", "<|end|>", "<|turn|>")
WORDS = [
    "the lesion in the left frontal lobe of the brain is bright on T2 and FLAIR and dark on T1 1234",
    "It's can't we'll they're outline segment caf\u00e9 \u5de6\u80ba\u7d50\u7bc0 \u043b\u0435\u0433",
]
ATTENTION = {"model.layers.0.self_attn.q_proj": (64, 64), "model.layers.1.self_attn.q_proj": (64, 64)}
VALUES = {f"model.layers.{layer}.self_attn.v_proj": (32, 64) for layer in range(2)}
"""Modules that an adapter changes, and the shapes of their matrices."""
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CUTS = {
    "llama-bpe": (CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + REST, True),
    "smaug-bpe": (CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + REST, False),
    "qwen2": (CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + REST, False),
}
"""Expressions of LLaMA 3 and Qwen 2, and whether words that are tokens are taken whole."""


def cutter(pre: str) -> Any:
    """What cuts text before pairs are merged."""
    if pre in CUTS:
        last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(CUTS[pre][0]), "isolated"), last])
    last = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if pre == "smollm":
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), last])
    return last


def write_tokenizer(folder: Path, pre: str = "llama-bpe", begins: bool = True) -> int:
    """Train a byte-level tokenizer and write it; returns how many tokens it has."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=CUTS.get(pre, ("", False))[1]))
    tokenizer.pre_tokenizer = cutter(pre)
    tokenizer.decoder = decoders.ByteLevel()
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(WORDS * 4, trainer)
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.add_tokens([AddedToken("<box>", special=False, normalized=False)])
    if begins:
        number = tokenizer.token_to_id(SPECIAL[0])
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{SPECIAL[0]} $A", special_tokens=[(SPECIAL[0], number)]
        )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"bos_token": SPECIAL[0] if begins else None, "eos_token": {"content": SPECIAL[1]}}
    settings |= {"chat_template": "{{ messages }}"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    turns = [tokenizer.token_to_id(token) for token in SPECIAL[1:]]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": turns}))
    return int(tokenizer.get_vocab_size())


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    data = bytearray()
    while value > 127:
        data.append(value & 127 | 128)
        value >>= 7
    return bytes([*data, value])


def write_pieces(folder: Path, **trainer: int) -> int:
    """Write a SentencePiece file as LLaMA 2 has it; returns how many pieces it has."""
    made = ["\u2581" + word for word in ("the", "les", "lesion", "in", "scan")]
    parts = [
        "\u2581t",
        "he",
        "\u2581l",
        "es",
        "\u2581les",
        "io",
        "ion",
        "\u2581i",
        "\u2581s",
        "can",
        "an",
        "ca",
        "\u2581in",
    ]
    words = list(dict.fromkeys(parts + made))
    letters = ["\u2581", *(chr(code) for code in range(0x21, 0x7F)), "\u00e9"]
    rows = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)]
    rows += [(f"<0x{byte:02X}>", 0.0, 6) for byte in range(256)]
    rows += [(word, -float(number), 1) for number, word in enumerate(words + letters)]
    data = b""
    for text, score, kind in rows:
        piece = _field(1, text.encode()) + _varint(2 << 3 | 5) + struct.pack("<f", score)
        data += _field(1, piece + _varint(3 << 3) + _varint(kind))
    settings = {3: 2, 35: 1} | {int(name[1:]): value for name, value in trainer.items()}
    data += _field(2, b"".join(_varint(number << 3) + _varint(value) for number, value in settings.items()))
    normaliser = _field(1, b"identity") + b"".join(
        _varint(n << 3) + _varint(v) for n, v in ((3, 1), (4, 0), (5, 1))
    )
    (folder / "tokenizer.model").write_bytes(data + _field(3, normaliser))
    settings_of = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings_of))
    return len(rows)


def language_folder(
    folder: Path, kind: str = "llama", pre: str = "llama-bpe", pad: int = 6, **changes: Any
) -> tuple[Path, Any]:
    """A folder with a random model of transformers and a tokenizer ("" is none); and the model."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = changes.pop("max_shard_size", "5GB")
    begins = not kind.startswith("qwen")
    if pre == "sentencepiece":
        tokens = write_pieces(folder)
    else:
        tokens = write_tokenizer(folder, pre, begins) if pre else 300
    written = {path.name: path.read_bytes() for path in folder.iterdir()}
    settings = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    settings |= {"num_key_value_heads": 2, "max_position_embeddings": 256}
    settings |= {"head_dim": 32} if kind == "qwen3" else {}
    settings |= changes
    settings["initializer_range"] = settings["hidden_size"] ** -0.5  # logits then spread by about 1
    config = getattr(transformers, f"{KINDS[kind]}Config")(vocab_size=tokens + pad, **settings)
    torch.manual_seed(5)
    model = getattr(transformers, f"{KINDS[kind]}ForCausalLM")(config)
    for parameter in model.parameters():  # norms of one and biases of zero hide what is not connected
        if parameter.ndim == 1:
            parameter.data += 0.2 * torch.randn(parameter.shape)
    model.eval().save_pretrained(folder, max_shard_size=shards)
    for name, data in written.items():
        (folder / name).write_bytes(data)
    return folder, model


def write_lora(
    folder: Path, modules: dict[str, tuple[int, int]], inner: str = "", **settings: Any
) -> dict[str, Any]:
    """An adapter as peft writes it; returns what each module's matrix gains."""
    folder.mkdir()
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "use_rslora": False, "bias": "none"}
    config |= {
        "target_modules": sorted({name.rpartition(".")[2] for name in modules}),
        "fan_in_fan_out": False,
    }
    config |= {
        "lora_dropout": 0.05,
        "modules_to_save": None,
        "task_type": "CAUSAL_LM",
        "use_dora": False,
    } | settings
    (folder / "adapter_config.json").write_text(json.dumps(config))
    torch.manual_seed(6)
    rank, tensors, gains = config["r"], {}, {}
    scale = config["lora_alpha"] / (rank**0.5 if config["use_rslora"] else rank)
    for name, (rows, columns) in modules.items():
        down, up = 0.3 * torch.randn(rank, columns), 0.3 * torch.randn(rows, rank)
        tensors[f"base_model.model.{name}.lora_A{inner}.weight"] = down
        tensors[f"base_model.model.{name}.lora_B{inner}.weight"] = up
        gains[name] = scale * up @ down
    save_file(tensors, folder / "adapter_model.safetensors")
    return gains
