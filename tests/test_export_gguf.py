"""Language models of folders as GGUF: llama.cpp answers as transformers does, or nothing is written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is installed for training only (make check installs it)")

import numpy as np  # noqa: E402
from gguf import GGUFReader  # noqa: E402

from export.__main__ import main  # noqa: E402
from export.language.config import read_config  # noqa: E402
from export.language.forward import reference_logits  # noqa: E402
from export.language.lora import merged  # noqa: E402
from export.language.native import ask_logits  # noqa: E402
from export.language.weights import read_weights  # noqa: E402
from runtime.bundle import file_sha256  # noqa: E402
from runtime.engines.llama.gguf_header import read_header  # noqa: E402
from tests.language_folder import ATTENTION, VALUES, language_folder, write_lora  # noqa: E402
from training.networks.sam.tensor_files import read_tensors  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.slow]
Capture = pytest.CaptureFixture[str]
LONG = {
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
LLAMA3 = {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, **LONG}}
LINEAR = {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}}
CASES = {
    "llama3": ("llama", "llama-bpe", LLAMA3),
    "linear": ("llama", "sentencepiece", LINEAR),
    "tied": ("llama", "smollm", {"tie_word_embeddings": True}),
    "mistral": ("mistral", "gpt-2", {"sliding_window": 128}),
    "qwen2": ("qwen2", "qwen2", {"max_shard_size": "100KB"}),
    "qwen3": ("qwen3", "smaug-bpe", {"num_key_value_heads": 1}),
}


def theirs(model: Any, tokens: np.ndarray[Any, Any]) -> Any:
    """Logits of transformers after each token."""
    with torch.inference_mode():
        return model(torch.from_numpy(tokens)[None]).logits[0].float()


@pytest.mark.parametrize("case", CASES)
def test_llama_cpp_answers_as_transformers_does(case: str, tmp_path: Path, capsys: Capture) -> None:
    kind, pre, changes = CASES[case]
    folder, model = language_folder(tmp_path / "source", kind, pre, **changes)
    assert main([str(folder), "--out", str(tmp_path / "model.gguf")]) == 0
    said = capsys.readouterr().out
    assert "texts and" in said
    assert "greedy tokens are the same" in said
    header = read_header(tmp_path / "model.gguf")
    assert header.precision == "F16"
    assert header.context_tokens == (128 if case == "mistral" else 256)
    prompt = [int(number) for number in np.random.default_rng(1).integers(0, 200, 120 - 64)]
    answer = ask_logits(tmp_path / "model.gguf", prompt, 64, tmp_path)
    tokens = np.concatenate([prompt, answer.tokens[:-1]])
    wanted = theirs(model, tokens)[len(prompt) - 1 :].numpy()
    assert np.abs(answer.logits - wanted).max() <= 2e-2
    assert (answer.logits.argmax(axis=1) == wanted.argmax(axis=1)).mean() >= 0.98
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "answer.npz",
        "model.gguf",
        "request.json",
        "source",
    ]


@pytest.mark.parametrize("case", CASES)
def test_reference_is_that_of_transformers(case: str, tmp_path: Path) -> None:
    kind, _, changes = CASES[case]
    folder, model = language_folder(tmp_path / "source", kind, "", **changes)
    config = read_config(folder)
    weights = read_weights(config, read_tensors(folder), folder)
    tokens = np.random.default_rng(2).integers(0, 300, 120)
    found = reference_logits(weights, torch.from_numpy(tokens), first=10)
    torch.testing.assert_close(found, theirs(model, tokens)[10:], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("precision", "stored"),
    [("F32", "F32"), ("BF16", "BF16"), ("Q8_0", "Q8_0"), ("Q6_K", "Q6_K"), ("Q4_K_M", "Q4_K")],
)
def test_types_are_kept_with_their_figures(
    precision: str, stored: str, tmp_path: Path, capsys: Capture
) -> None:
    folder, _ = language_folder(tmp_path / "source", pad=0, hidden_size=256, intermediate_size=256)
    out = tmp_path / "made"
    assert main([str(folder), "--out", str(out), "--type", precision]) == 0
    assert read_header(out / "model.gguf").precision == stored
    assert sorted(path.name for path in out.iterdir()) == ["export.json", "model.gguf"]
    record = json.loads((out / "export.json").read_text())
    assert record["files"]["model.gguf"]["sha256"] == file_sha256(out / "model.gguf")
    said = capsys.readouterr().out
    assert all(text in said for text in record["proofs"])
    assert f"{precision}: " in said
    assert ("nats a token from the source" in said) == (precision != "F32")


def test_keys_are_written_that_would_default_in_silence(tmp_path: Path) -> None:
    folder, _ = language_folder(tmp_path / "source", **LLAMA3)
    assert main([str(folder), "--out", str(tmp_path / "model.gguf")]) == 0
    fields = GGUFReader(tmp_path / "model.gguf").fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    found = {name.rpartition(".")[2]: field.contents() for name, field in fields.items()}
    assert found["pre"] == "llama-bpe"
    assert found["chat_template"] == "{{ messages }}"
    assert found["freq_base"] == 5e5
    assert found["add_bos_token"] is True
    named = {name: tokens[found[f"{name}_token_id"]] for name in ("bos", "eos", "eot")}
    assert named == {"bos": "<|begin|>", "eos": "<|end|>", "eot": "<|turn|>"}
    assert tokens[-6:] == [f"[PAD{number}]" for number in range(len(tokens) - 6, len(tokens))]
    kinds = dict(zip(tokens, fields["tokenizer.ggml.token_type"].contents(), strict=True))
    assert [kinds[token] for token in ("<|turn|>", "<box>", tokens[-1], "e")] == [3, 4, 5, 1]


@pytest.mark.parametrize("inner", ["", ".default"])
@pytest.mark.parametrize("stabilised", [False, True])
def test_lora_is_merged(inner: str, stabilised: bool, tmp_path: Path) -> None:
    folder, model = language_folder(tmp_path / "source")
    gains = write_lora(tmp_path / "lora", ATTENTION | VALUES, inner, use_rslora=stabilised)
    weights = merged(read_weights(read_config(folder), read_tensors(folder), folder), tmp_path / "lora")
    for name, gain in gains.items():
        model.get_submodule(name).weight.data += gain
    tokens = np.random.default_rng(3).integers(0, 300, 40)
    found = reference_logits(weights, torch.from_numpy(tokens))
    torch.testing.assert_close(found, theirs(model, tokens), atol=1e-4, rtol=1e-4)


def test_lora_is_in_the_file(tmp_path: Path) -> None:
    folder, model = language_folder(tmp_path / "source")
    gains = write_lora(tmp_path / "lora", ATTENTION | VALUES, target_modules=r".*\.[qv]_proj")
    out = tmp_path / "model.gguf"
    assert main([str(folder), "--lora", str(tmp_path / "lora"), "--out", str(out), "--type", "F32"]) == 0
    for name, gain in gains.items():
        model.get_submodule(name).weight.data += gain
    answer = ask_logits(out, [5, 6, 7], 1, tmp_path)
    assert np.abs(answer.logits[0] - theirs(model, np.array([5, 6, 7]))[-1].numpy()).max() <= 2e-3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return language_folder(tmp_path / "source")[0]


def test_gguf_file_is_taken_as_it_is(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    first, copy = tmp_path / "first.gguf", tmp_path / "copy.gguf"
    assert main([str(folder), "--out", str(first)]) == 0
    capsys.readouterr()
    assert main([str(first), "--out", str(copy)]) == 0
    said = capsys.readouterr().out
    assert f"sha256 of the file: {file_sha256(first)}" in said
    assert "compared with nothing" in said
    assert copy.read_bytes() == first.read_bytes()
    assert main([str(first), "--out", str(copy)]) == 7
    assert main([str(first), "--out", str(copy), "--force"]) == 0
    assert main([str(first), "--out", str(tmp_path / "other.gguf"), "--type", "Q8_0"]) == 2
    first.write_bytes(first.read_bytes()[:-100])
    assert main([str(first), "--out", str(tmp_path / "other.gguf")]) == 4
    (tmp_path / "words.gguf").write_text("words")
    assert main([str(copy), "--out", str(tmp_path / "words.gguf"), "--force"]) == 7
    assert not (tmp_path / "other.gguf").exists()


def test_options_of_other_sources_are_refused(folder: Path, tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "out")]
    assert main([str(folder), *out, "--precision", "int8"]) == 2
    assert main([str(tmp_path / "absent.gguf"), *out]) == 2
    shutil.copyfile(folder / "config.json", tmp_path / "model.onnx")
    assert main([str(tmp_path / "model.onnx"), *out, "--type", "F16"]) == 2
