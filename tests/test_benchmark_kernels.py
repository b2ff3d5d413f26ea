"""The comparison with peers: it runs, its rows are whole, and it says so when a peer disagrees."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pydicom
import pytest

from benchmarks import kernels as command
from benchmarks.comparison import (
    Agreement,
    CannotRunError,
    Case,
    CaseMaker,
    Peer,
    Setting,
    largest_difference,
    share_that_differs,
)
from benchmarks.kernel_cases import components, pack, run_length
from benchmarks.kernel_inputs import scores
from benchmarks.measure import Effort, extra_bytes, interleaved
from runtime.kernels import open_kernels
from tests.command import ROOT

KEYS = {
    *("case", "peer", "agree", "difference", "difference_is", "limit", "limit_reason", "note"),
    *(
        "median_s",
        "min_s",
        "peer_median_s",
        "peer_min_s",
        "ratio",
        "repeats",
        "peak_bytes",
        "peer_peak_bytes",
    ),
    *("moved_bytes", "copy_bytes_per_s", "bandwidth_fraction", "kernels", "threads", "quick"),
    *("commit", "version", "processor", "system", "python", "numpy"),
}
ALWAYS_THERE = {"numpy", "scipy", "SimpleITK", "highdicom"}
"""First words of the peers that the tests' own requirements bring."""


def made(*peers: Peer) -> types.SimpleNamespace:
    """A kernel with one case, whose result is three zeros."""
    case = Case(lambda: np.zeros(3), peers, 24, largest_difference, "largest absolute difference")
    return types.SimpleNamespace(cases=lambda setting: [CaseMaker("made of zeros", lambda: case)])


def peer(value: float = 0.0, **more: object) -> Peer:
    fields = {"name": "peer", "module": "numpy", "agreement": Agreement(0.5, "made"), **more}
    return Peer(open=fields.pop("open", lambda: lambda: np.full(3, value)), **fields)


@pytest.fixture
def quick_rows(tmp_path, monkeypatch, capsys):
    """Run the command on made-up kernels: exit code, rows and notices."""

    def ran(*kernels, arguments=()):
        monkeypatch.setattr(command, "_KERNELS", kernels)
        file = tmp_path / "rows.jsonl"
        code = command.main(["--quick", "--threads", "1", "--json", str(file), *arguments])
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        assert list(tmp_path.iterdir()) == [file]
        return code, rows, capsys.readouterr().err

    return ran


def test_peer_that_agrees_has_a_row(quick_rows):
    code, rows, notices = quick_rows(made(peer(0.4)))
    assert (code, notices) == (0, "")
    assert [(row["case"], row["peer"], row["agree"]) for row in rows] == [("made of zeros", "peer", True)]
    assert rows[0].keys() >= KEYS
    assert rows[0]["difference"] == 0.4
    assert rows[0]["ratio"] == rows[0]["peer_median_s"] / rows[0]["median_s"]
    assert rows[0]["bandwidth_fraction"] == pytest.approx(
        24 / rows[0]["median_s"] / rows[0]["copy_bytes_per_s"]
    )


def test_peer_that_disagrees_fails_the_command(quick_rows):
    code, rows, _ = quick_rows(made(peer(0.6)))
    assert (code, rows[0]["agree"]) == (1, False)


def test_peer_of_another_shape_disagrees(quick_rows):
    code, rows, _ = quick_rows(made(peer(open=lambda: lambda: np.zeros(4))))
    assert (code, rows[0]["agree"], rows[0]["difference"]) == (1, False, None)


def test_peer_with_other_maths_may_differ_but_never_agrees(quick_rows):
    code, rows, _ = quick_rows(made(peer(0.0, agreement=None, note="cubic")))
    assert (code, rows[0]["agree"], rows[0]["note"]) == (0, False, "cubic")


def test_peer_that_is_not_installed_is_named_once(quick_rows):
    absent = peer(module="no_such_library")
    code, rows, notices = quick_rows(made(absent, peer(), absent))
    assert (code, len(rows), notices) == (0, 1, "no_such_library is not installed: not run\n")


def test_peer_that_breaks_takes_no_other_row_along(quick_rows):
    def broken():
        raise RuntimeError("it broke")

    code, rows, notices = quick_rows(made(peer(name="first", open=broken), peer()))
    assert (code, [row["peer"] for row in rows]) == (1, ["peer"])
    assert "first: failed: RuntimeError: it broke" in notices


def test_peer_that_cannot_is_left_out(quick_rows):
    def cannot():
        raise CannotRunError("too many values")

    code, rows, notices = quick_rows(made(peer(open=cannot), peer(needs_bytes=1 << 60), peer()))
    assert (code, len(rows)) == (0, 1)
    assert "not run: too many values" in notices
    assert "GB are free: not run" in notices


def test_cases_and_peers_are_chosen_by_name(quick_rows):
    code, rows, notices = quick_rows(made(peer()), arguments=("--only", "ONES"))
    assert (code, rows) == (1, [])
    assert "no row" in notices
    assert quick_rows(made(peer()), arguments=("--only", "of Zeros"))[0] == 0
    code, rows, _ = quick_rows(made(peer()), arguments=("--peers", "nobody"))
    assert (code, rows) == (1, [])
    name = peer().name
    assert len(quick_rows(made(peer()), arguments=("--peers", name.upper()))[1]) > 0


@pytest.mark.parametrize(
    "arguments", [["--kernels", "none"], ["--repeats", "0"], ["--threads", "-1"], ["--json", "absent/x"]]
)
def test_wrong_arguments_are_usage_errors(arguments, capsys):
    with pytest.raises(SystemExit) as refused:
        command.main(["--quick", *arguments])
    assert refused.value.code == 2
    assert arguments[-1].partition("/")[0] in capsys.readouterr().err


def test_rounds_take_turns_and_stop_after_the_seconds():
    order = []
    effort = Effort(repeats=5, seconds=0.0, copied_bytes=0)
    mine, other = interleaved(lambda: order.append("ours"), lambda: order.append("theirs"), effort)
    assert order == ["ours", "theirs"] * 3
    assert len(mine.rounds) == len(other.rounds) == 3
    assert mine.least <= mine.median <= max(mine.rounds)


def test_extra_bytes_sees_memory_that_is_freed_before_the_end():
    size = 64 << 20

    def freed():
        np.ones(size, np.uint8)

    for run in (freed, lambda: np.ones(size, np.uint8)):
        # VmHWM is counted in batches of pages on each processor: a mebibyte or two of slack.
        assert size - (4 << 20) < extra_bytes(run) < size + (16 << 20)
    assert extra_bytes(lambda: None) < 4 << 20


def test_differences_are_counted():
    ones = np.ones((2, 5), np.uint8)
    assert share_that_differs(ones, np.array([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]])) == pytest.approx(0.1)
    assert share_that_differs(ones, ones[:1]) == float("inf")
    assert largest_difference(np.zeros((2, 2)), np.array([[0, 1.5], [-2.5, 0]])) == 2.5
    assert largest_difference(np.zeros((2, 2)), np.array([[0, 1.5], [np.nan, 0]])) == float("inf")


@pytest.mark.parametrize("classes", [2, 14, 105])
def test_scores_are_sure_except_along_surfaces(classes):
    made = scores(classes, (32, 28, 28), "float32").reshape(classes, -1)
    lead = np.diff(np.partition(made, -2, axis=0)[-2:], axis=0)
    assert (lead > 5).mean() > 0.6  # what no white noise has
    assert len(np.unique(made.argmax(axis=0))) == classes
    assert np.array_equal(made, scores(classes, (32, 28, 28), "float32").reshape(classes, -1))


def test_components_case_notices_a_stray_piece(quick_rows, monkeypatch):
    code, rows, _ = quick_rows(components, arguments=("--only", "C=14"))
    assert code == 0
    assert {row["peer"].split()[0] for row in rows} >= {"scipy", "SimpleITK"}
    monkeypatch.setattr(components, "keep_largest", lambda labels, values, kernels: {})
    code, rows, _ = quick_rows(components, arguments=("--only", "C=14"))
    assert (code, any(row["agree"] for row in rows)) == (1, False)


def test_decoded_seg_shows_a_changed_bit(tmp_path):
    setting = Setting(True, open_kernels("cpu", 1), tmp_path)
    case = next(iter(pack.cases(setting))).make()
    path = case.ours()
    assert case.difference(path, path) == 0
    changed = pydicom.dcmread(path)
    pixels = bytearray(changed.PixelData)
    pixels[len(pixels) // 2] ^= 1
    changed.PixelData = bytes(pixels)
    changed.save_as(tmp_path / "changed.dcm")
    assert case.difference(path, tmp_path / "changed.dcm") > 0


def test_decoded_rle_shows_a_changed_byte(tmp_path):
    case = next(iter(run_length.cases(Setting(True, open_kernels("cpu", 1), tmp_path)))).make()
    frames = list(case.ours())
    assert case.difference(frames, frames) == 0
    changed = bytearray(frames[7])
    changed[65] ^= 1
    assert case.difference(frames, [*frames[:7], changed, *frames[8:]]) > 0


@pytest.mark.slow
def test_quick_run_agrees_with_every_peer_here(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    arguments = ["-m", "benchmarks.kernels", "--quick", "--threads", "1", "--json", file]
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert all(row.keys() >= KEYS for row in rows)
    assert {row["case"].split()[0] for row in rows} == {
        *("prepare", "statistics", "label", "label_features", "argmax", "blend", "components", "pack"),
        *("label_window", "run_length"),
    }
    assert {row["peer"].split()[0] for row in rows} >= ALWAYS_THERE
    assert [(row["case"], row["peer"]) for row in rows if row["limit"] is not None and not row["agree"]] == []
    assert all(row["peer"] in done.stdout for row in rows)
    for row in rows:
        assert min(row["median_s"], row["peer_median_s"], row["bandwidth_fraction"]) > 0
        assert min(row["peak_bytes"], row["peer_peak_bytes"]) >= 0
