"""Language models that cannot be exported: each with its reason, and nothing is left on the disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is installed for training only (make check installs it)")

from safetensors.torch import load_file, save_file  # noqa: E402

from export.__main__ import main  # noqa: E402
from export.language.tokens import read_vocabulary  # noqa: E402
from runtime.errors import BundleError  # noqa: E402
from tests.language_folder import (  # noqa: E402
    ATTENTION,
    VALUES,
    language_folder,
    write_lora,
    write_tokenizer,
)

pytestmark = [pytest.mark.torch, pytest.mark.slow]
Capture = pytest.CaptureFixture[str]


def refused(folder: Path, capsys: Capture, *options: str) -> str:
    """The error of an export that leaves nothing behind."""
    before = sorted(folder.parent.iterdir())
    assert main([str(folder), "--out", str(folder.parent / "out" / "model.gguf"), *options]) == 4
    assert sorted(folder.parent.iterdir()) == before
    return capsys.readouterr().err


LORA_FAULTS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "unused": (ATTENTION | {"model.layers.9.self_attn.q_proj": (64, 64)}, {}, "is used by no target"),
    "no target": (ATTENTION | VALUES, {"target_modules": ["q_proj"]}, "is used by no target"),
    "absent": ({"model.layers.0.self_attn.q_proj": (64, 64)}, {}, "has no tensors"),
    "shape": (ATTENTION | {"model.layers.1.self_attn.q_proj": (64, 32)}, {}, "expected"),
    "dora": (ATTENTION, {"use_dora": True}, "merge the adapter with peft first"),
    "more": (ATTENTION, {"modules_to_save": ["lm_head"]}, "modules_to_save is not supported"),
}


@pytest.mark.parametrize("fault", LORA_FAULTS)
def test_adapter_that_does_not_fit_is_refused(fault: str, tmp_path: Path, capsys: Capture) -> None:
    modules, settings, message = LORA_FAULTS[fault]
    folder, _ = language_folder(tmp_path / "source")
    write_lora(tmp_path / "lora", modules, **settings)
    assert message in refused(folder, capsys, "--lora", str(tmp_path / "lora"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return language_folder(tmp_path / "source")[0]


def change_tensors(folder: Path, **changed: Any) -> None:
    tensors = load_file(folder / "model.safetensors") | changed
    save_file(
        {name: value for name, value in tensors.items() if value is not None}, folder / "model.safetensors"
    )


NORM = "model.norm.weight"
TENSOR_FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "unmapped": ({"model.layers.0.self_attn.o_proj.bias": torch.zeros(64)}, "no place for"),
    "missing": ({NORM: None}, "nothing fills 'output_norm.weight'"),
    "shape": ({NORM: torch.ones(65)}, "expected floats of shape (64,)"),
    "integers": ({NORM: torch.ones(64, dtype=torch.int32)}, "expected floats"),
    "nan": ({NORM: torch.full((64,), float("nan"))}, "holds NaN or infinity"),
    "too large": ({"model.layers.0.mlp.up_proj.weight": torch.full((96, 64), 7e4)}, "use --type BF16 or F32"),
    "rotary": ({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}, "rotary positions"),
}


@pytest.mark.parametrize("fault", TENSOR_FAULTS)
def test_tensors_that_do_not_fit_are_refused(fault: str, folder: Path, capsys: Capture) -> None:
    changed, message = TENSOR_FAULTS[fault]
    change_tensors(folder, **changed)
    assert message in refused(folder, capsys)


CONFIG_FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "architecture": ({"model_type": "gpt_neox"}, "expected one of llama, mistral, qwen2, qwen3"),
    "scaling": ({"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, "rope_type"),
    "activation": ({"hidden_act": "gelu"}, "hidden_act"),
    "heads": ({"num_attention_heads": 3}, "heads"),
    "tied": ({"tie_word_embeddings": True}, "but it differs"),
    "vocabulary": ({"vocab_size": 9}, "the tokenizer of another model"),
}


@pytest.mark.parametrize("fault", CONFIG_FAULTS)
def test_configurations_that_are_not_known_are_refused(fault: str, folder: Path, capsys: Capture) -> None:
    changed, message = CONFIG_FAULTS[fault]
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    assert message in refused(folder, capsys)


def test_tokenizers_that_are_not_known_are_refused(folder: Path, capsys: Capture) -> None:
    path = folder / "tokenizer.json"
    document = json.loads(path.read_text())
    faults: list[tuple[dict[str, Any], str]] = [
        ({"model": {"type": "WordLevel"}}, "not BPE"),
        (
            {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}},
            "llama.cpp would guess",
        ),
        ({"pre_tokenizer": None}, "llama.cpp would guess"),
        ({"normalizer": {"type": "Lowercase"}}, "llama.cpp would guess"),
        ({"model": document["model"] | {"byte_fallback": True}}, "copy tokenizer.model beside it"),
    ]
    for changed, message in faults:
        path.write_text(json.dumps(document | changed))
        assert message in refused(folder, capsys)
    path.unlink()
    assert "has neither tokenizer.json nor tokenizer.model" in refused(folder, capsys)


def test_tokens_that_llama_cpp_splits_otherwise_are_refused(folder: Path, capsys: Capture) -> None:
    path = folder / "tokenizer.json"
    document = json.loads(path.read_text())
    merges = document["model"][
        "merges"
    ]  # a pair that is there twice: the library counts the last, llama.cpp the first
    document["model"]["merges"] = [*merges, merges[0]]
    path.write_text(json.dumps(document))
    assert "llama.cpp splits" in refused(folder, capsys)


def test_sentence_pieces_that_normalise_are_refused(tmp_path: Path, capsys: Capture) -> None:
    folder, _ = language_folder(tmp_path / "source", pre="sentencepiece")
    path = folder / "tokenizer.model"
    whole = path.read_bytes()
    for data, message in (
        (whole.replace(b"\x20\x00\x28\x01", b"\x20\x01\x28\x01"), "normalises text"),
        (whole.replace(b"\x18\x02\x98\x02\x01", b"\x18\x01\x98\x02\x01"), "no byte-pair model"),
        (whole[:-9], "no SentencePiece file"),
        (b"", "no SentencePiece file"),
    ):
        path.write_bytes(data)
        assert message in refused(folder, capsys)


def test_wrong_weights_are_found_by_the_proof(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.language.weights.interleaved", lambda tensor, heads: tensor)
    assert "logits differ from the source" in refused(folder, capsys)
    assert main([str(folder), "--out", str(folder.parent / "out")]) == 4
    assert [path.name for path in folder.parent.iterdir()] == ["source"]


def test_pickles_are_tensors_only(folder: Path, capsys: Capture) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors | {"step": Path("x")}, folder / "pytorch_model.bin")
    assert "is refused" in refused(folder, capsys)
    torch.save(tensors, folder / "pytorch_model.bin")
    assert main([str(folder), "--out", str(folder.parent / "model.gguf")]) == 0


def test_tokens_beyond_the_embedding_are_refused(tmp_path: Path, capsys: Capture) -> None:
    folder, _ = language_folder(tmp_path / "source", pre="", pad=0)
    write_tokenizer(folder)
    with pytest.raises(BundleError, match="the tokenizer of another model"):
        read_vocabulary(folder, 300)
