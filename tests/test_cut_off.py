"""Runs that are cut off by a full disk or a signal leave nothing half-written, and an older result whole."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runtime.infer import main
from runtime.result import Result
from tests.command import ROOT, Run


def test_full_disk_is_exit_code_7_and_leaves_nothing(
    study: Path, bundle: Path, tiny_disk: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tiny_disk / "deep" / "result"
    assert main([str(study), "--out", str(out), "--bundle", str(bundle)]) == 7
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"error: {out}: the disk is full")
    assert "free some space or choose another destination" in shown.err
    assert list(tiny_disk.iterdir()) == []


def test_full_disk_keeps_the_older_result(
    run: Run, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(study)[0] == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out" / "result").iterdir()}

    def full(self: Result, path: Path) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Result, "_write_preview", full)
    code, out, err = run(study, "--force")
    assert (code, out) == (7, "")
    assert "the disk is full" in err
    assert {path.name: path.read_bytes() for path in (tmp_path / "out" / "result").iterdir()} == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["result"]


_SLOW = """
import signal, sys, time
from pathlib import Path
from runtime.infer import main

# A shell starts background jobs with some of these ignored, and the tests may run in one.
for number in (signal.SIGHUP, signal.SIGTERM):
    signal.signal(number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
import runtime.engines.onnx_runtime as engine
import runtime.result as result

def wait(*arguments, **options):
    Path(sys.argv[1]).touch()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(0.01)

if sys.argv[2] == "encode":
    engine.OnnxRuntimeEngine.run = wait
else:
    result.Result._write_preview = wait
raise SystemExit(main(sys.argv[3:]))
"""


@pytest.mark.parametrize(
    ("number", "stage", "older"),
    [
        (signal.SIGINT, "encode", False),
        (signal.SIGINT, "write", False),
        (signal.SIGINT, "write", True),
        (signal.SIGTERM, "encode", False),
        (signal.SIGTERM, "write", False),
        (signal.SIGHUP, "write", False),
    ],
)
def test_interrupted_run_is_exit_code_130_and_leaves_nothing(
    run: Run, study: Path, bundle: Path, tmp_path: Path, number: int, stage: str, older: bool
) -> None:
    if older:
        assert run(study, "--format", "json")[0] == 0
    out, marker = tmp_path / "out" / "result", tmp_path / "marker"
    line = [str(marker), stage, str(study), "--out", str(out), "--bundle", str(bundle), "--force"]
    command = [sys.executable, "-c", _SLOW, *line]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=pipe, stderr=pipe) as process:
        deadline = time.monotonic() + 60
        while not marker.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        if stage == "write":
            (half,) = [path.name for path in out.parent.iterdir() if path != out]
            assert half.startswith(".result.")
        process.send_signal(number)
        shown, errors = process.communicate(timeout=60)
    assert (process.returncode, shown, errors) == (130, "", "interrupted; nothing was written\n")
    if older:
        assert [path.name for path in out.parent.iterdir()] == ["result"]
        assert [path.name for path in out.iterdir()] == ["report.json"]
    else:
        assert not out.parent.exists()
