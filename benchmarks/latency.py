"""How long a whole head takes: warm, cold, and the command's own start.

    python -m benchmarks.latency
    python -m benchmarks.latency --quick

Input: a whole-head T1 of the analytic phantom, 256 x 256 x 256 voxels of 1 mm, int16 NIfTI.
Warm is read + segment + save in a process that has done it before; cold is the whole process.
Peak memory is the largest resident set of the warm process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environment import fingerprint
from runtime.bundle import open_bundle
from runtime.report import peak_bytes
from runtime.session import Session
from runtime.volume import Grid

__all__ = ["main"]


def _write_head(path: Path, side: int) -> None:
    """A painted phantom head in a cube of 256 mm."""
    import nibabel

    from training.phantom import HeadParameters, sample_labels
    from training.phantom.scanner import paint

    spacing = 256.0 / side
    affine = np.diag([spacing] * 3 + [1.0])
    affine[:3, 3] = (-128.0, -120.0, -130.0)
    grid = Grid((side, side, side), affine)
    labels = sample_labels(HeadParameters(), grid)
    image = paint([labels], grid, "T1", np.random.default_rng(0))
    nibabel.save(nibabel.Nifti1Image(np.rint(image).astype(np.int16), affine), path)


def _warm(image: str, threads: int) -> None:
    """Runs in a process of its own: one whole run for every line that comes in, one line of JSON out."""
    with tempfile.TemporaryDirectory() as name, Session(threads=threads) as session:
        for repeat, _ in enumerate(sys.stdin):
            started = time.perf_counter()
            result = session.segment(f"T1={image}")
            result.save(Path(name) / str(repeat))
            seconds = time.perf_counter() - started
            report = json.loads((Path(name) / str(repeat) / "report.json").read_text(encoding="utf-8"))
            answer = {"seconds": seconds, "stages": report["seconds"], "peak_bytes": peak_bytes()}
            print(json.dumps(answer), flush=True)


class _WarmProcess:
    """A process that has done it before."""

    def __init__(self, image: Path, threads: int) -> None:
        command = [sys.executable, "-m", "benchmarks.latency", "--warm", str(image)]
        command += ["--threads", str(threads)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self) -> dict[str, Any]:
        """Seconds, stages and peak memory of one more run."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"the warm process ended with exit code {self._process.wait()}")
        found: dict[str, Any] = json.loads(answer)
        return found

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def _child(arguments: Sequence[str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def _row(measure: str, seconds: Sequence[float], **more: Any) -> dict[str, Any]:
    ordered = sorted(seconds)
    return {
        "measure": measure,
        "median_s": round(statistics.median(ordered), 3),
        "min_s": round(ordered[0], 3),
        "max_s": round(ordered[-1], 3),
        "repeats": len(ordered),
        **more,
    }


def _measure(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    side, repeats = (96, 2) if options.quick else (256, options.repeats)
    image = folder / "head.nii.gz"
    _write_head(image, side)
    infer = ["-m", "runtime.infer", f"T1={image}", "--quiet", "--threads", str(options.threads), "--out"]
    process = _WarmProcess(image, options.threads)
    try:
        process.run()
        warm, cold, starts = [], [], []
        for repeat in range(repeats):  # in turns: the machine is never quite idle
            warm.append(process.run())
            cold.append(_child([*infer, str(folder / f"cold{repeat}")]))
            starts.append(_child(["-m", "runtime.infer", "--version"]))
    finally:
        process.close()
    rows = [
        _row(
            f"warm whole head T1 {side}^3",
            [run["seconds"] for run in warm],
            peak_bytes=warm[-1]["peak_bytes"],
            stages=warm[-1]["stages"],
        ),
        _row("cold whole process", cold),
        _row("cold --version", starts),
    ]
    extra = [slow - run["seconds"] for slow, run in zip(cold, warm, strict=True)]
    return [*rows, _row("cold minus warm, pairs", extra)]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.latency",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: every usable CPU)")
    parser.add_argument("--quick", action="store_true", help="a small head, twice: only that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write one JSON line a row")
    parser.add_argument("--warm", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.warm:
        _warm(options.warm, options.threads)
        return 0
    with tempfile.TemporaryDirectory() as name:
        rows = _measure(options, Path(name))
    print(f"{'measure':<28}{'median s':>10}{'min s':>8}{'max s':>8}{'peak MB':>9}")
    for row in rows:
        peak = f"{row['peak_bytes'] / 1e6:.0f}" if "peak_bytes" in row else ""
        low, high = row.get("min_s", ""), row.get("max_s", "")
        print(f"{row['measure']:<28}{row['median_s']:>10}{low:>8}{high:>8}{peak:>9}")
    print("stages of the last warm run: " + ", ".join(f"{k} {v:.2f}" for k, v in rows[0]["stages"].items()))
    if options.json:
        about = fingerprint(open_bundle())
        options.json.write_text(
            "".join(json.dumps({**row, **about}) + "\n" for row in rows), encoding="utf-8"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
