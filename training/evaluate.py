"""Measure what was trained on cases and texts that training never saw.

python -m training.evaluate --config hippocampus-unet --config hippocampus-zeus-text
python -m training.evaluate --config zeus-text-head --json rows.jsonl
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from runtime.errors import UsageError
from training.config import Training, read_config
from training.evaluation.heads import evaluate_heads
from training.evaluation.labelled import evaluate_labelled
from training.evaluation.text import evaluate_text
from training.evaluation.writer import evaluate_writer
from training.tasks.labelled import LabelledTraining
from training.tasks.text import TextTraining
from training.tasks.writer import WriterTraining
from training.tasks.zeus_heads import ZeusHeadTraining
from training.train import HERE, ROOT

__all__ = ["main"]


def _rows(config: Training, runs: Path, threads: int) -> list[dict[str, Any]]:
    if isinstance(config, LabelledTraining):
        return evaluate_labelled(config, ROOT, runs, threads)
    if isinstance(config, TextTraining):
        return evaluate_text(config, runs)
    if isinstance(config, ZeusHeadTraining):
        return evaluate_heads(config, ROOT, runs)
    if isinstance(config, WriterTraining):
        return evaluate_writer(config, ROOT, runs)
    raise UsageError(f"{config.name}: a plain network of heads is measured by python -m benchmarks.accuracy")


def _table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows of one kind under each other, a kind being what they have columns for."""
    lines: list[str] = []
    columns: list[str] = []
    for row in rows:
        if list(row) != columns:
            columns = list(row)
            lines += ["", "  ".join(f"{name:>{_width(name)}}" for name in columns)]
        cells = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values())
        lines.append("  ".join(f"{cell:>{_width(name)}}" for name, cell in zip(columns, cells, strict=True)))
    return "\n".join(lines[1:])


def _width(name: str) -> int:
    wide = {"run": 26, "measure": 28, "series": 44, "on": 15}
    return wide.get(name, max(9, len(name)))


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table; 0 when done, 2 when something was not trained."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", action="append", required=True, help="may be given again")
    parser.add_argument("--runs", type=Path, default=HERE / "runs", help="folder of trainings")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads, for the latency (default: 2)")
    parser.add_argument("--json", type=Path, help="also write the rows here, one line each")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    try:
        rows = [
            row for name in options.config for row in _rows(read_config(name), options.runs, options.threads)
        ]
    except UsageError as error:
        parser.error(str(error))
    print(_table(rows))
    if options.json:
        options.json.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
