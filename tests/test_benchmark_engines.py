"""The comparison of engines verifies what it times, and names what could not run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.engines import main
from runtime.engines.kinds import KINDS
from tests.tiny_bundle import make_bundle


@pytest.mark.slow
def test_engines_benchmark_compares_what_runs_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no network")
    file = tmp_path / "rows.jsonl"
    assert main(["--quick", "--threads", "1", "--precision", f"int8={broken}", "--json", str(file)]) == 0
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert {row["engine"] for row in rows} == {kind.name for kind in KINDS}
    ran = {(row["engine"], row["precision"]): row for row in rows if "not_run" not in row}
    assert {("onnxruntime-cpu", "fp32"), ("openvino-cpu", "fp32")} <= set(ran)
    assert ran["onnxruntime-cpu", "fp32"]["error"] == 0
    assert 0 < ran["openvino-cpu", "fp32"]["error"] <= 1e-4
    for row in ran.values():
        assert row["min_s"] <= row["median_s"] <= row["max_s"]
        assert row["peak_bytes"] > row["file_bytes"]
        assert row["commit"]
    refused = {row["engine"]: row["not_run"] for row in rows if row.get("precision") == "int8"}
    assert "broken.onnx cannot be loaded" in refused["openvino-cpu"]
    shown = capsys.readouterr().out
    assert all(kind.name in shown for kind in KINDS)


@pytest.mark.slow
def test_engines_benchmark_lowers_precision_and_compares_masks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bundle, file = make_bundle(tmp_path / "tiny"), tmp_path / "rows.jsonl"
    options = ["--bundle", str(bundle), "--repeats", "2", "--side", "16", "--threads", "1"]
    assert main([*options, "--json", str(file)]) == 0
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    ran = {(row["engine"], row["precision"]): row["dice"] for row in rows if "not_run" not in row}
    assert ran["onnxruntime-cpu", "fp32"] == 1
    assert 0.99 < ran["onnxruntime-cpu", "fp16"] <= 1
    (refused,) = [row["not_run"] for row in rows if row.get("precision") == "int8"]
    assert "too few convolutions" in refused
    assert "1.0000" in capsys.readouterr().out
