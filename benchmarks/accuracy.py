"""Dice, HD95 and volume error of a bundle against every reference there is.

python -m benchmarks.accuracy                       # phantom, synthetic heads, real cases
python -m benchmarks.accuracy --phantom demo/study demo/result
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import DATA, Case, Reference, real_cases
from runtime import Session
from runtime.bundle import Bundle, open_bundle
from runtime.errors import ZeusEdgeError
from runtime.result import Result
from runtime.volume import Labels
from training.metrics import compare, labels_on

__all__ = ["main", "score_labels"]

Row = dict[str, Any]
DEEP = ("thalamus", "caudate", "putamen_pallidum", "hippocampus_amygdala")


def score_labels(
    case: str, labels: Labels, bundle: Bundle, reference: Reference, channel: str
) -> Iterator[Row]:
    """One row for every structure of a reference.

    Args:
        case: Name for the rows.
        labels: The whole label map, every structure of the bundle.
        bundle: Says what unions are made of.
        reference: The truth.
        channel: Modality whose grid the labels lie on.
    """
    world = reference.world.get(channel)
    found = labels_on(labels, reference.grid, world)
    dices: dict[str, float] = {}
    for name, truth in reference.masks.items():
        mask = np.isin(found, bundle.parts(bundle.structure(name)))
        score = compare(mask, truth, reference.grid)
        dices[name] = score.dice
        yield {
            "case": case,
            "structure": name,
            "dice": round(score.dice, 4),
            "hd95_mm": round(score.hd95_mm, 2),
            "volume_error_percent": round(score.volume_error_percent, 1),
            "reference_ml": round(score.reference_ml, 1),
        }
    if deep := [dices[name] for name in DEEP if name in dices]:
        yield _mean_row(case, "mean of deep structures", deep)
    single = [dices[name] for name in dices if not bundle.structure(name).union_of]
    if len(single) > 1:
        yield _mean_row(case, "mean of structures", single)


def _mean_row(case: str, name: str, dices: Sequence[float]) -> Row:
    return {
        "case": case,
        "structure": name,
        "dice": round(float(np.nanmean(dices)), 4),
        "hd95_mm": math.nan,
        "volume_error_percent": math.nan,
        "reference_ml": math.nan,
    }


def _run(case: Case, session: Session) -> Iterator[Row]:
    try:
        result: Result = session.segment(case.sources)
    except ZeusEdgeError as error:
        print(f"{case.name}: {error}", file=sys.stderr)
        for name in case.reference.masks:
            yield _mean_row(case.name, name, [0.0])
        return
    (channel,) = [item.modality for item in result.report.channels if item.is_reference]
    yield from score_labels(case.name, result.labels, session.bundle, case.reference, channel)


def _phantom_rows(study: Path, result: Path, bundle: Bundle) -> Iterator[Row]:
    """Rows of a finished demo run: its label map against the phantom's truth."""
    from benchmarks.phantom_truth import phantom_reference, read_labels

    report = json.loads((result / "report.json").read_text(encoding="utf-8"))
    (channel,) = [item["modality"] for item in report["channels"] if item["is_reference"]]
    reference = phantom_reference(study / "truth" / f"{channel}.nii.gz")
    yield from score_labels(
        "phantom", read_labels(result / "labels.nii.gz", bundle), bundle, reference, channel
    )


def _cases(options: argparse.Namespace, work: Path) -> Iterator[Case]:
    from benchmarks.phantom_truth import phantom_cases

    if options.quick:
        yield next(phantom_cases(work))
        return
    if "phantom".startswith(options.only[:7]):
        yield from phantom_cases(work)
    if not options.data.is_dir():
        print(f"{options.data} is not there: synthetic heads and real cases not run", file=sys.stderr)
        return
    from benchmarks.synthetic_heads import synthetic_cases

    if "synthetic".startswith(options.only[:9]):
        yield from synthetic_cases(options.data, work)
    yield from real_cases(options.data, work)


def _all_rows(options: argparse.Namespace, session: Session) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name:
        for case in _cases(options, Path(name)):
            if options.only in case.name:
                yield from _run(case, session)


def _show(rows: Iterator[Row], file: Path | None) -> None:
    print(f"{'case':<40}{'structure':<26}{'Dice':>7}{'HD95 mm':>9}{'volume %':>10}{'ref ml':>9}")
    lines = []
    for row in rows:
        figures = [row["hd95_mm"], row["volume_error_percent"], row["reference_ml"]]
        text = [f"{value:.1f}" if math.isfinite(value) else "-" for value in figures]
        print(
            f"{row['case']:<40}{row['structure']:<26}{row['dice']:>7.3f}{text[0]:>9}{text[1]:>10}{text[2]:>9}",
            flush=True,
        )
        finite = {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in row.items()}
        lines.append(json.dumps(finite))
    if file is not None:
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 0 when every case ran."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--bundle", type=Path, help="model bundle (default: zeus-nano-head)")
    parser.add_argument("--data", type=Path, default=DATA, help="data folder (default: %(default)s)")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose name contains this")
    parser.add_argument("--phantom", nargs=2, type=Path, metavar=("STUDY", "RESULT"), help="score a demo run")
    parser.add_argument("--quick", action="store_true", help="the phantom only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write one JSON line a row")
    options = parser.parse_args(argv)
    if options.phantom:
        study, result = options.phantom
        _show(_phantom_rows(study, result, open_bundle(options.bundle)), options.json)
        return 0
    with Session(options.bundle) as session:
        _show(_all_rows(options, session), options.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
