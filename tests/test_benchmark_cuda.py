"""The benchmark of the device path: its rows are whole, it checks bits first, and it says what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import cuda_path, device_rows
from runtime.kernels import Kernels, open_kernels
from tests.cuda_emulated_driver import EmulatedDriver
from tests.cuda_emulator import build_emulator, emulated_table, real_table

MEASURES = {
    *("copy inside the device", "copy to the device", "copy from the device"),
    *("prepare int16 to float16", "label C=14 float16", "argmax C=14 float16", "blend_add C=14"),
    *("blend_normalise C=14", "histogram int16, with its wait", "whole path, on the device"),
    *("the two copies alone, host to host", "whole path, host to host"),
    *("start, compiles", "start, from the cache"),
}


@pytest.fixture
def emulated(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> EmulatedDriver:
    """A device that the benchmark opens, and starts that take a tenth of a second."""
    driver = EmulatedDriver(build_emulator(tmp_path_factory))
    table = emulated_table(driver, monkeypatch)
    monkeypatch.setattr(
        cuda_path, "open_kernels", lambda name: Kernels(table, 1) if name == "cuda" else open_kernels(name, 1)
    )
    monkeypatch.setattr(cuda_path, "_start_seconds", lambda environment: 0.1)
    return driver


def test_cuda_benchmark_writes_whole_rows(
    emulated: EmulatedDriver, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cuda_path.main(["--quick", "--json", str(tmp_path / "rows.jsonl")]) == 0
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    by_name = {row["measure"]: row for row in rows}
    assert set(by_name) == MEASURES
    for row in rows:
        assert row["median_s"] >= row["min_s"] > 0
        assert (row["device"], row["kernels"], row["quick"]) == ("Emulated", "cuda_sm_90", True)
        assert row["image_bits_equal"] == row["labels_bits_equal"] == "True"
        assert {"commit", "processor", "python", "repeats", "clock"} <= set(row)
    assert by_name["copy inside the device"]["bandwidth_fraction"] == pytest.approx(1)
    path = by_name["whole path, host to host"]
    assert path["ratio"] == pytest.approx(
        path["median_s"] / by_name["the two copies alone, host to host"]["median_s"]
    )
    assert by_name["whole path, on the device"]["bits_equal"] is True
    told = capsys.readouterr().out
    assert all(name in told for name in MEASURES)
    assert "image: bits equal, labels: bits equal" in told
    emulated.check_guards()


def test_cuda_benchmark_moves_the_bytes_it_says(emulated: EmulatedDriver) -> None:
    size = cuda_path._QUICK
    rows = device_rows.DeviceRows(size, cuda_path.open_kernels("cuda"), open_kernels("cpu", 1)).rows()
    moved = {row["measure"]: row["moved_bytes"] for row in rows}
    scan, grid = 18 * 40 * 44, 12 * 19 * 21  # 0.7 mm to 1.5 mm
    assert moved["prepare int16 to float16"] == 2 * scan + 2 * grid
    assert moved["label C=14 float16"] == 14 * 2 * grid + scan
    assert moved["whole path, on the device"] == 2 * scan + 2 * grid + 14 * 2 * grid + scan
    assert moved["whole path, host to host"] == 3 * scan
    assert moved["copy inside the device"] == 2 * moved["copy to the device"] == 2 * size.copied_bytes


def test_cuda_benchmark_fails_where_bits_differ(
    emulated: EmulatedDriver, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = device_rows.label
    monkeypatch.setattr(device_rows, "label", lambda *given: wrong(*given) + 1)
    assert cuda_path.main(["--quick"]) == 1
    assert "image: bits equal, labels: bits DIFFER" in capsys.readouterr().out


def test_cuda_benchmark_without_a_device_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(
        "cuda.bindings.driver.cuInit", lambda _: (EmulatedDriver.CUresult.CUDA_ERROR_NO_DEVICE,)
    )
    assert cuda_path.main(["--json", str(tmp_path / "rows.jsonl")]) == 5
    told = capsys.readouterr()
    assert told.out == ""
    assert "no CUDA device is visible; look at nvidia-smi" in told.err
    assert list(tmp_path.iterdir()) == []


def test_cuda_benchmark_times_starts_in_processes_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        cuda_path,
        "_START",
        "import os, time; cache = os.environ['XDG_CACHE_HOME']; "
        "a = time.perf_counter() - 100 * (7 + len(os.listdir(cache))); open(cache + '/kept', 'w').close()",
    )
    compiles, cached = cuda_path._start_rows(2)
    assert (compiles["repeats"], cached["repeats"]) == (1, 2)
    assert 700 <= compiles["median_s"] < 800 <= cached["min_s"] <= cached["median_s"] < 900


@pytest.mark.gpu
def test_cuda_benchmark_runs_on_a_device() -> None:
    real_table()
    assert cuda_path.main(["--quick"]) == 0
