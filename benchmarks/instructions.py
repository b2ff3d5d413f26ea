"""How safe instructions are: unseen wordings asked of the product itself, on a study with a known truth.

python -m benchmarks.instructions --bundle DIR
python -m benchmarks.instructions --json rows.jsonl
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environment import fingerprint
from benchmarks.phantom_truth import phantom_cases
from runtime import Result, Session
from runtime.errors import InstructionError
from training.instructions import NO_TARGET, Instruction, Writer
from training.metrics import dice, labels_on

__all__ = ["main"]

_REQUESTED = ("cerebral_white_matter", "lateral_ventricles", "thalamus", "cerebellum", "lesion")
"""Whose masks are compared between wordings."""


def _answer(session: Session, text: Instruction) -> Result | None:
    """What the kept study answers; None where the text is refused as unclear."""
    try:
        return session.segment(instruction=text.text)
    except InstructionError:
        return None


def _asked(session: Session, texts: int) -> list[dict[str, Any]]:
    """How many texts of every target, and of none, were taken for what they ask for."""
    random, writer = np.random.default_rng(2024), Writer("evaluation")
    right, unclear, wrong = 0, 0, []
    for _ in range(texts):
        text = writer.write(random)
        result = _answer(session, text)
        if result is None:
            unclear += 1
            continue
        found = result.report.instructions[0]
        if found.target == text.target:
            right += 1
        else:
            wrong.append(f"{text.target or 'nothing'} taken for {found.target or 'nothing'}")
    for line in sorted(set(wrong)):
        print(f"wrong: {line} ({wrong.count(line)})", file=sys.stderr)
    row = {"measure": "right target, unseen wordings", "texts": texts, "right": right / texts}
    return [{**row, "wrong": len(wrong) / texts, "refused as unclear": unclear / texts}]


def _spread(session: Session, wordings: int, case: Any) -> list[dict[str, Any]]:
    """DSC of one request's mask over its wordings, and over the bank's answer."""
    rows = []
    for target in _REQUESTED:
        random, writer, scores = np.random.default_rng(50), Writer("evaluation"), []
        truth = case.reference.masks[target]
        bank = session.segment(targets=[target]).mask(target)
        where = case.reference.grid
        answered = 0
        while answered < wordings:
            result = _answer(session, writer.write(random, target))
            if result is None:
                continue
            answered += 1
            if [item.name for item in result.structures] == [target]:  # others count as wrong above
                scores.append(dice(labels_on(result.mask(target), where) > 0, truth))
        rows.append(
            {
                "measure": f"DSC of {target}",
                "wordings": len(scores),
                "bank": dice(labels_on(bank, where) > 0, truth),
                "lowest": min(scores),
                "highest": max(scores),
                "spread": max(scores) - min(scores),
            }
        )
    return rows


def _foreign(session: Session, texts: int) -> list[dict[str, Any]]:
    """What a request for something else gets: how often nothing, and what presence is reported."""
    random, writer = np.random.default_rng(7), Writer("evaluation")
    empty, unclear, presence = 0, 0, []
    for _ in range(texts):
        result = _answer(session, writer.write(random, NO_TARGET))
        if result is None:
            unclear += 1
            continue
        empty += not result.labels.voxels.any()
        presence.append(result.report.instructions[0].presence)
    return [
        {
            "measure": "requests for what is not there",
            "texts": texts,
            "empty masks": empty / texts,
            "refused as unclear": unclear / texts,
            "largest presence": max(presence, default=float("nan")),
        }
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table; 0 when it was measured, 2 when the bundle takes no instructions."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.instructions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="model bundle (default: the shipped one)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: every usable CPU)")
    parser.add_argument("--texts", type=int, default=200, help="unseen texts (default: 200)")
    parser.add_argument("--wordings", type=int, default=50, help="of each request (default: 50)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write one JSON line a row")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name, Session(options.bundle, "cpu", options.threads) as session:
        if session.bundle.manifest.instructions is None:
            parser.error(f"{session.bundle.identity.name} takes no instructions")
        case = next(iter(phantom_cases(Path(name))))
        session.segment(list(case.sources))
        rows = [
            *_asked(session, options.texts),
            *_spread(session, options.wordings, case),
            *_foreign(session, options.wordings),
        ]
        known = fingerprint(session.bundle)
    for row in rows:
        print(
            "  ".join(
                f"{key} {value:.4g}" if isinstance(value, float) else f"{value}" for key, value in row.items()
            )
        )
    if options.json:
        options.json.write_text(
            "".join(json.dumps({**row, **known}) + "\n" for row in rows), encoding="utf-8"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
