"""How long a whole head takes: warm, cold, and the command's own start.

    python -m benchmarks.latency
    python -m benchmarks.latency --quick

Input: a whole-head T1 of the analytic phantom, 256 x 256 x 256 voxels of 1 mm, int16 NIfTI.
Warm is read + segment + save in a process that has done it before; cold is the whole process.
Peak memory is the largest resident set of the warm process.

With a bundle that takes instructions also, in that warm process and without saving: a first instruction
(read, encode, answer), a further one on the study that is kept, for every structure in turn, and how many
times longer the first one takes.
"""

from __future__ import annotations

import argparse
import contextlib
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
from runtime.errors import InstructionError
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


def _warm(image: str, bundle: Path | None, threads: int) -> None:
    """Runs in a process of its own: one whole run for every line that comes in, one line of JSON out."""
    with tempfile.TemporaryDirectory() as name, Session(bundle, threads=threads) as session:
        for repeat, _ in enumerate(sys.stdin):
            started = time.perf_counter()
            result = session.segment(f"T1={image}")
            result.save(Path(name) / str(repeat))
            seconds = time.perf_counter() - started
            report = json.loads((Path(name) / str(repeat) / "report.json").read_text(encoding="utf-8"))
            answer = {"seconds": seconds, "stages": report["seconds"], "peak_bytes": peak_bytes()}
            if session.bundle.manifest.instructions is not None:
                answer |= _instructed(session, image)
            print(json.dumps(answer), flush=True)


def _instructed(session: Session, image: str) -> dict[str, Any]:
    """Seconds of a first instruction and of further ones: each structure is asked for by its name.

    Names that the model finds unclear are left out: a refusal is no answer.
    """
    named = session.bundle.manifest.structures
    further: dict[str, float] = {}
    for text in (item.name.replace("_", " ") for item in named if not item.union_of):
        with contextlib.suppress(InstructionError):
            further[text] = _ask(session, text)
    if not further:
        raise SystemExit("the model takes no structure's name for an instruction; train it on")
    first = _ask(session, next(iter(further)), f"T1={image}")
    return {"first": first, "further": list(further.values()), "peak_bytes": peak_bytes()}


def _ask(session: Session, text: str, study: str | None = None) -> float:
    started = time.perf_counter()
    session.segment(study, instruction=text)
    return time.perf_counter() - started


class _WarmProcess:
    """A process that has done it before."""

    def __init__(self, image: Path, options: argparse.Namespace) -> None:
        command = [sys.executable, "-m", "benchmarks.latency", "--warm", str(image)]
        command += ["--threads", str(options.threads), *_bundle_option(options)]
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


def _bundle_option(options: argparse.Namespace) -> list[str]:
    return [] if options.bundle is None else ["--bundle", str(options.bundle)]


def _child(arguments: Sequence[str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def _row(measure: str, values: Sequence[float], unit: str = "_s", **more: Any) -> dict[str, Any]:
    """Seconds, or with the unit "" a ratio."""
    ordered = sorted(values)
    return {
        "measure": measure,
        f"median{unit}": round(statistics.median(ordered), 3),
        f"min{unit}": round(ordered[0], 3),
        f"max{unit}": round(ordered[-1], 3),
        "repeats": len(ordered),
        **more,
    }


def _measure(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    side, repeats = (96, 2) if options.quick else (256, options.repeats)
    image = folder / "head.nii.gz"
    _write_head(image, side)
    infer = ["-m", "runtime.infer", f"T1={image}", "--quiet", "--threads", str(options.threads)]
    infer += [*_bundle_option(options), "--out"]
    process = _WarmProcess(image, options)
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
    return [*rows, _row("cold minus warm, pairs", extra), *_instruction_rows(warm)]


def _instruction_rows(warm: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """None where the bundle takes no instructions; of further ones the median and the slowest count."""
    if "first" not in warm[0]:
        return []
    ratios = [run["first"] / statistics.median(run["further"]) for run in warm]
    least = [run["first"] / max(run["further"]) for run in warm]
    return [
        _row("first instruction", [run["first"] for run in warm]),
        _row("further instruction", [seconds for run in warm for seconds in run["further"]]),
        _row("first / further", ratios, unit=""),
        _row("first / slowest further", least, unit=""),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.latency",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="model bundle (default: the shipped one)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: every usable CPU)")
    parser.add_argument("--quick", action="store_true", help="a small head, twice: only that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write one JSON line a row")
    parser.add_argument("--warm", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.warm:
        _warm(options.warm, options.bundle, options.threads)
        return 0
    with tempfile.TemporaryDirectory() as name:
        rows = _measure(options, Path(name))
    print(f"{'measure':<28}{'median s':>10}{'min s':>8}{'max s':>8}{'peak MB':>9}")
    for row in rows:
        peak = f"{row['peak_bytes'] / 1e6:.0f}" if "peak_bytes" in row else ""
        middle, low, high = (row.get(f"{n}_s", row.get(n, "")) for n in ("median", "min", "max"))
        print(f"{row['measure']:<28}{middle:>10}{low:>8}{high:>8}{peak:>9}")
    print("stages of the last warm run: " + ", ".join(f"{k} {v:.2f}" for k, v in rows[0]["stages"].items()))
    if options.json:
        about = fingerprint(open_bundle(options.bundle))
        options.json.write_text(
            "".join(json.dumps({**row, **about}) + "\n" for row in rows), encoding="utf-8"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
