"""A writer from end to end, tiny: trained, resumed, measured, exported, loaded by llama.cpp, and writing."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

import torch

from export import writer_proof
from export.gguf_writing import About, gguf_bytes
from export.writer_gguf import export_writer, main
from export.writer_proof import prove
from runtime.engines.llama.client import LlamaProcess
from runtime.engines.llama.gguf_header import read_header
from runtime.engines.llama.options import GenerationOptions, LlamaSettings
from runtime.engines.llama.prompts import EmbeddingPart, TextPart
from runtime.errors import BundleError, UsageError
from runtime.language.grammar import sentence_grammar
from runtime.language.instruction import Finding, Statement
from runtime.language.sentence import parse, write
from runtime.study import MODALITIES
from tests.constructed_head import store_heads
from training import evaluation, train
from training.config import read_config
from training.dataset import HELD_OUT
from training.evaluation import writer_series
from training.evaluation.writer import Author, evaluate_writer, open_author
from training.networks.writer_language import Kept, LanguageConfig, LanguageModel
from training.networks.writer_vision import VisionConfig, VisionEncoder
from training.tasks.writer import WriterTraining
from training.writer.sentences import VOCABULARY
from training.writer.words import PROMPT

pytestmark = [
    pytest.mark.torch,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # the exporter warns about itself
]

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

SIZE = {
    "vision": {"size": 32, "stem": [4, 8, 16], "width": 32, "layers": 2, "heads": 2, "hidden": 64},
    "width": 32,
    "layers": 2,
    "heads": 2,
    "hidden": 64,
}
STREAM = {
    "subjects": 2,
    "life": 4,
    "phantoms": 2,
    "phantom_share": 1.0,
    "body_share": 0.0,
    "cases": {"size": 32},
}
SCHEDULE = {"steps": 4, "batch": 4, "rate": 0.01, "warm_up": 1, "cool_down": 2, "average": 0.5}


def configured(folder: Path, **changes: Any) -> Path:
    made = {"name": "writer", "kind": "writer", "maps": "maps", "size": SIZE, "stream": STREAM}
    path = folder / f"{changes.get('name', 'writer')}.json"
    path.write_text(json.dumps({**made, "schedule": SCHEDULE, **changes}))
    return path


def run(path: Path, runs: Path, *options: str) -> int:
    store_heads(runs / "heads", ("phantom_001", "phantom_002"))
    given = ["--config", str(path), "--runs", str(runs), "--device", "cpu", "--workers", "0"]
    return train.main([*given, *options])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of one finished training."""
    folder = tmp_path_factory.mktemp("runs")
    assert run(configured(folder), folder) == 0
    store_heads(folder / "heads", (*HELD_OUT, "phantom_901", "phantom_902", "phantom_903"))
    return folder


@pytest.fixture(scope="module")
def config(runs: Path) -> WriterTraining:
    made = read_config(runs / "writer.json")
    assert isinstance(made, WriterTraining)
    return made


@pytest.fixture(scope="module")
def author(runs: Path, config: WriterTraining) -> Author:
    return open_author(config, Path(), runs)


def test_a_training_in_pieces_ends_with_the_same_weights(runs: Path, tmp_path: Path) -> None:
    path = configured(tmp_path)
    first = tmp_path / "writer"
    first.mkdir()
    (first / "tokenizer.json").write_bytes((runs / "writer" / "tokenizer.json").read_bytes())
    for step in range(1, 5):
        assert run(path, tmp_path, "--resume", "--minutes", "1e-9") == 0
        assert torch.load(first / "last.pt", weights_only=True)["step"] == step
    kept, wanted = (torch.load(folder / "last.pt", weights_only=True) for folder in (first, runs / "writer"))
    assert all(torch.equal(kept["network"][name], wanted["network"][name]) for name in wanted["network"])


def test_loss_falls(tmp_path: Path) -> None:
    schedule = {**SCHEDULE, "steps": 100, "batch": 8, "rate": 0.005, "warm_up": 10}
    assert run(configured(tmp_path, schedule=schedule), tmp_path) == 0
    first, last = (
        float(line.split(",")[1]) for line in (tmp_path / "writer" / "curve.csv").read_text().splitlines()
    )
    assert last < 0.7 * first


def test_a_writer_is_measured(
    runs: Path, config: WriterTraining, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation.writer, "_SUBJECTS", 8)
    monkeypatch.setattr(evaluation.writer, "_SCANS", 1)
    rows = evaluate_writer(config, tmp_path / "project", runs)
    measured = {row["measure"]: row for row in rows if row.get("on") == "heads"}
    assert {name for name, row in measured.items() if row["limit"]} == {
        *("modality", "plane", "lesion present or absent", "side")
    }
    assert 10 <= measured["modality"]["cases"] <= 16
    assert all(0 <= row["right"] <= 1 for row in measured.values() if row["cases"])
    swapped = [row for row in rows if "same answer" in row]
    assert swapped[1]["same answer"] == 1.0  # nothing but the image decides


def test_what_was_not_trained_is_named(config: WriterTraining, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"python -m training\.train --config writer"):
        open_author(config, Path(), tmp_path)


@pytest.fixture(scope="module")
def exported(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported")
    given = ["--config", str(runs / "writer.json"), "--runs", str(runs), "--out", str(out)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            writer_proof, "_SAME", 0.0
        )  # after four steps, the likeliest of equal words is anyone's
        assert main(given) == 0
    return out


def test_an_exported_writer_keeps_to_the_grammar(exported: Path, author: Author) -> None:
    import onnxruntime

    header = read_header(exported / "writer.gguf")
    assert (header.architecture, header.tokenizer, header.precision) == ("llama", "gpt2", "Q8_0")
    pictures = np.random.default_rng(0).random((2, 6, 32, 32), np.float32)
    session = onnxruntime.InferenceSession(exported / "vision.onnx", providers=["CPUExecutionProvider"])
    tokens = session.run(["tokens"], {"views": pictures})[0]
    assert tokens.shape == (2, author.network.vision.config.tokens, 32)
    before, after = (exported / "writer_prompt.txt").read_text().split("{image}")
    assert before + "{image}" + after == PROMPT
    options = GenerationOptions(grammar=sentence_grammar(VOCABULARY), temperature=1.0, max_tokens=200)
    with LlamaProcess(exported / "writer.gguf", LlamaSettings(context_tokens=256)) as model:
        for rows in tokens:
            prompt = (TextPart(before, True), EmbeddingPart(rows), TextPart(after, True))
            answer = model.generate(prompt, options)
            assert answer.is_whole
            assert parse(answer.text, VOCABULARY).modality in MODALITIES
            assert answer.prompt_tokens == 3 + len(rows)  # begin, image start, image end


def test_a_file_of_other_weights_is_refused(author: Author, runs: Path, tmp_path: Path) -> None:
    made = export_writer(author, "F16")
    assert made.proofs == ()
    assert made.model.most_tokens > 50
    language = copy.deepcopy(author.network.language)
    with torch.no_grad():
        language.output.weight *= 1.01
    about = About("other", "0", 1, "none")
    other = gguf_bytes(language, author.task.tokenizer, about, "F32", tmp_path)
    models = {"exact": other, "stored": other}
    with pytest.raises(BundleError, match="logits differ"):
        prove(author, models, made.files["vision.onnx"], runs / "heads", tmp_path)


def test_sizes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="pixels along a side"):
        read_config(configured(tmp_path, name="a", stream={**STREAM, "cases": {"size": 64}}))
    with pytest.raises(UsageError, match="not divisible by 32"):
        read_config(configured(tmp_path, name="b", size={**SIZE, "vision": {"size": 40}}))
    with pytest.raises(ValueError, match="divisible by 32"):
        LanguageConfig(100, width=40)


def test_pictures_are_told_apart_by_their_place_in_the_series() -> None:
    torch.manual_seed(0)
    encoder = VisionEncoder(VisionConfig(size=32, width=32, layers=2, heads=2, hidden=64), 32).eval()
    pictures = torch.rand(1, 6, 32, 32)
    with torch.inference_mode():
        straight, turned = encoder(pictures), encoder(pictures.flip(1))
        alone, pair = encoder(pictures), encoder(torch.cat([torch.rand(1, 6, 32, 32), pictures]))[1:]
    assert straight.shape == (1, 6, 32)
    assert (straight - turned.flip(1)).abs().max() > 1e-3
    torch.testing.assert_close(alone, pair)


def test_words_see_only_what_is_before_them() -> None:
    torch.manual_seed(0)
    model = LanguageModel(LanguageConfig(50, 32, 2, 2, 64)).eval()
    rows = torch.randn(1, 9, 32)
    changed = rows.clone()
    changed[:, 6:] += 1
    with torch.inference_mode():
        one, other = model(rows, 9), model(changed, 9)
    torch.testing.assert_close(one[:, :6], other[:, :6])
    assert (one[:, 6:] - other[:, 6:]).abs().max() > 1e-3


def test_one_token_after_another_gives_what_all_at_once_give() -> None:
    torch.manual_seed(0)
    model = LanguageModel(LanguageConfig(50, 32, 2, 2, 64)).eval()
    rows = torch.randn(2, 9, 32)
    kept: list[Kept] = [[], []]
    with torch.inference_mode():
        pieces = [model(rows[:, :4], 4, kept), *(model(rows[:, n : n + 1], 1, kept) for n in range(4, 9))]
        torch.testing.assert_close(torch.cat(pieces, 1), model(rows, 9))


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is absent")
def test_every_real_series_is_read() -> None:
    said = Statement("T1", "axial", "thin", (), ("brain",), (Finding("small", "bright", "left"),))

    rows = writer_series.evaluate_series(lambda volume: write(said, VOCABULARY), DATA)
    judged = [row for row in rows if row.get("series") and row["right"] != ""]
    known = {row["known"] for row in judged}
    assert known == {"T1", "T1c", "T2", "FLAIR", "CT"}
    assert all(bool(row["right"]) == (row["known"] == "T1") for row in judged)
    assert any("noise" in row["note"] for row in rows if row.get("series"))
    assert [row["limit"] for row in rows if "share" in row] == [0.95, 0.95]
