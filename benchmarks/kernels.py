"""How fast every kernel is beside other people's: checked for agreement first, then timed in turns.

    python -m benchmarks.kernels                         # full size: long, and gigabytes
    python -m benchmarks.kernels --quick                 # small arrays: only that it runs and agrees
    python -m benchmarks.kernels --only "label C=14" --peers torch

Peers come from benchmarks/requirements-peers.txt; one that is not installed is named and left out.

The clock starts before a call and stops when its result is there, allocation included; making and
wrapping the input is outside. ratio: the peer's median over ours. MB: peak resident memory above what
was there before the call, result included. copy: bytes that have to move (inputs read once, results
written once) over our median, as a share of this machine's copy bandwidth in the same run.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

from benchmarks.comparison import CannotRunError, Case, CaseMaker, Peer, Setting
from benchmarks.environment import fingerprint
from benchmarks.kernel_cases import (
    blend,
    components,
    label,
    normalise,
    pack,
    prepare,
    run_length,
    statistics,
)
from benchmarks.measure import Effort, available_bytes, copy_bytes_per_s, extra_bytes, interleaved
from runtime.console import quiet_libraries
from runtime.errors import ZeusEdgeError
from runtime.kernels import open_kernels

__all__ = ["main"]

Row = dict[str, Any]

_FULL = Effort(repeats=20, seconds=15.0, copied_bytes=1 << 28)
_QUICK = Effort(repeats=2, seconds=1.0, copied_bytes=1 << 25)
_KERNELS = (prepare, normalise, statistics, label, blend, components, pack, run_length)
_WIDTHS = (8, 10, 11, 8, 7, 8, 7)
_NAMES = {"cc3d": "cc3d", "monai": "MONAI", "nnunetv2": "nnU-Net", "torch": "torch", "scipy": "SciPy"}
_DISTRIBUTIONS = (
    *("connected-components-3d", "monai", "nnunetv2", "scipy", "torch"),
    *("SimpleITK", "highdicom", "pydicom"),
)


class Benchmark:
    """One run of the command: what was asked for, and what went wrong.

    Attributes:
        failed: Whether a peer broke, or disagrees that should agree.
    """

    def __init__(self, options: argparse.Namespace, setting: Setting) -> None:
        chosen = _QUICK if options.quick else _FULL
        self._effort = Effort(options.repeats or chosen.repeats, chosen.seconds, chosen.copied_bytes)
        self._only, self._peers = options.only.lower(), options.peers.lower()
        self._setting = setting
        self._bandwidth = copy_bytes_per_s(self._effort.copied_bytes, setting.kernels.threads)
        self._told: set[str] = set()
        self.failed = False

    def rows(self) -> Iterator[Row]:
        """One row for each case and peer, as each is done."""
        for kernel in _KERNELS:
            for maker in kernel.cases(self._setting):
                if self._only in maker.name.lower():
                    yield from self._case(maker)

    def _case(self, maker: CaseMaker) -> Iterator[Row]:
        self._progress(f"{maker.name}: making the input")
        case = maker.make()
        result = case.ours()
        peak = extra_bytes(case.ours)
        for peer in case.peers:
            if self._peers not in peer.name.lower() or self._left_out(maker.name, peer):
                continue
            self._progress(f"{maker.name}: {peer.name}")
            try:
                row = self._row(case, peer, result)
            except CannotRunError as error:
                self._notice(f"{maker.name}: {peer.name}: not run: {error}")
                continue
            except Exception as error:  # one broken peer must not take the others' rows with it
                self._notice(f"{maker.name}: {peer.name}: failed: {type(error).__name__}: {error}")
                self.failed = True
                continue
            yield {"case": maker.name, "peer": peer.name, "peak_bytes": peak, **row}

    def _left_out(self, case: str, peer: Peer) -> bool:
        if find_spec(peer.module) is None:
            self._notice(f"{_NAMES.get(peer.module, peer.module)} is not installed: not run")
            return True
        available = available_bytes()
        if available is not None and peer.needs_bytes > available:
            needed, had = peer.needs_bytes / 1e9, available / 1e9
            self._notice(f"{case}: {peer.name}: needs {needed:.1f} GB, {had:.1f} GB are free: not run")
            return True
        return False

    def _row(self, case: Case, peer: Peer, result: Any) -> Row:
        theirs = peer.open()
        difference = case.difference(result, theirs())
        agree = peer.agreement is not None and difference <= peer.agreement.limit
        self.failed |= peer.agreement is not None and not agree
        peer_peak = extra_bytes(theirs)
        mine, other = interleaved(case.ours, theirs, self._effort)
        return {
            "agree": agree,
            "difference": difference if math.isfinite(difference) else None,
            "difference_is": case.difference_is,
            "limit": peer.agreement.limit if peer.agreement else None,
            "limit_reason": peer.agreement.reason if peer.agreement else "",
            "note": peer.note,
            "median_s": mine.median,
            "min_s": mine.least,
            "peer_median_s": other.median,
            "peer_min_s": other.least,
            "ratio": other.median / mine.median,
            "repeats": len(mine.rounds),
            "peer_peak_bytes": peer_peak,
            "moved_bytes": case.moved_bytes,
            "copy_bytes_per_s": self._bandwidth,
            "bandwidth_fraction": case.moved_bytes / mine.median / self._bandwidth,
            "kernels": self._setting.kernels.name,
            "threads": self._setting.kernels.threads,
            "quick": self._setting.quick,
        }

    def _notice(self, text: str) -> None:
        """Tell once."""
        if text not in self._told:
            self._told.add(text)
            self._progress("")
            print(text, file=sys.stderr, flush=True)

    def _progress(self, text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _megabytes(count: int | None) -> str:
    return "?" if count is None else f"{count / 1e6:.0f}"


def _print(row: Row, case: str) -> None:
    """One line of the table, under the name of its case when that is a new one."""
    if row["case"] != case:
        print(row["case"])
    verdict = "agrees" if row["agree"] else "differs"
    cells = (
        verdict,
        f"{row['median_s'] * 1e3:.2f}",
        f"{row['peer_median_s'] * 1e3:.2f}",
        f"{row['ratio']:.1f}",
        _megabytes(row["peak_bytes"]),
        _megabytes(row["peer_peak_bytes"]),
        f"{row['bandwidth_fraction']:.1%}",
    )
    print(f"  {row['peer']:<38}" + "".join(map(str.rjust, cells, _WIDTHS)), flush=True)


def _run(benchmark: Benchmark, lines: TextIO | None) -> int:
    """Print rows, and write them, as each is done; returns how many there were."""
    titles = ("", "ours ms", "peer ms", "ratio", "MB", "peer MB", "copy")
    print(f"  {'peer':<38}" + "".join(map(str.rjust, titles, _WIDTHS)))
    case, count, about = "", 0, fingerprint(distributions=_DISTRIBUTIONS)
    for row in benchmark.rows():
        _print(row, case)
        case, count = row["case"], count + 1
        if lines is not None:
            lines.write(json.dumps({**row, **about}, allow_nan=False) + "\n")
            lines.flush()
    return count


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 1 where a peer broke or disagrees that should agree, or where nothing ran."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kernels",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="small arrays: only that it runs and agrees")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose name contains TEXT")
    parser.add_argument("--peers", default="", metavar="TEXT", help="peers whose name contains TEXT")
    parser.add_argument("--repeats", type=int, metavar="N", help="most rounds a row (default: 20, quick: 2)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of both sides (default: 2)")
    parser.add_argument("--kernels", default="cpu", metavar="NAME", help="ours (default: the fastest here)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write one JSON line a row")
    options = parser.parse_args(argv)
    if options.repeats is not None and options.repeats < 1:
        parser.error(f"--repeats is {options.repeats}; use 1 or more")
    if options.json is not None and not options.json.parent.is_dir():
        parser.error(f"--json {options.json}: there is no folder {options.json.parent}; make it first")
    try:
        kernels = open_kernels(options.kernels, options.threads)
    except ZeusEdgeError as error:
        parser.error(str(error))
    with quiet_libraries(), tempfile.TemporaryDirectory() as folder:
        benchmark = Benchmark(options, Setting(options.quick, kernels, Path(folder)))
        if options.json is None:
            count = _run(benchmark, None)
        else:
            part = options.json.with_name(options.json.name + ".part")  # keeps the rows of a run cut short
            with part.open("w", encoding="utf-8") as lines:
                count = _run(benchmark, lines)
            part.replace(options.json)
    if count == 0:
        print("no row: install a peer, or ask for other cases with --only", file=sys.stderr)
    return 1 if benchmark.failed or count == 0 else 0


if __name__ == "__main__":
    raise SystemExit(main())
