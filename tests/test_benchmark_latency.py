"""The latency benchmark runs, and has rows for instructions where a bundle takes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import latency
from tests.tiny_bundle import make_bundle
from tests.tiny_promptable import make_promptable

ORDINARY = ["warm whole head T1 96^3", "cold whole process", "cold --version", "cold minus warm, pairs"]
INSTRUCTED = ["first instruction", "further instruction", "first / further", "first / slowest further"]


@pytest.mark.parametrize(
    ("make", "expected"),
    [(make_promptable, ORDINARY + INSTRUCTED), (make_bundle, ORDINARY)],
    ids=["instructions", "none"],
)
def test_latency_has_rows_for_instructions_where_the_bundle_takes_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: object, expected: list[str]
) -> None:
    assert callable(make)
    bundle, written = make(tmp_path / "bundle"), tmp_path / "rows.jsonl"
    line = ["--quick", "--threads", "1", "--bundle", str(bundle), "--json", str(written)]
    assert latency.main(line) == 0
    rows = {row["measure"]: row for row in map(json.loads, written.read_text().splitlines())}
    assert list(rows) == expected
    shown = capsys.readouterr().out
    assert all(name in shown for name in expected)
    assert all(
        row["median_s"] > 0 for row in rows.values() if "median_s" in row and "minus" not in row["measure"]
    )
    if "first instruction" in rows:
        assert rows["further instruction"]["repeats"] == 2 * 3  # runs, structures
        assert rows["first / further"]["median"] >= rows["first / slowest further"]["min"] > 0
        assert "median_s" not in rows["first / further"]
