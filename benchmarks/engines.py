"""How fast every engine of this machine runs a bundle's encoder, and how near it comes to the reference.

    python -m benchmarks.engines
    python -m benchmarks.engines --quick
    python -m benchmarks.engines --precision fp16=other.onnx --json engines.jsonl    # another network's file

Each engine and precision runs in a process of its own, so that its peak memory is its own; all have run
before, then they run in turns on the same image, whose size is the bundle's largest tile but at most --side.
"load" is what opening took, a build included; "file" is the ONNX file. "error" is the largest difference from
FP32 on ONNX Runtime's CPU engine over the largest value of an output, on the bundle's golden tile. "Dice" is
that of the worst structure against FP32 on ONNX Runtime's CPU engine, on the bundle's golden study, or its
tile where it brings none. Lower precisions are made as a passport makes them; what cannot be made or used is
named with the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.environment import fingerprint
from export.proof import relative_error
from runtime.bundle import Bundle, open_bundle
from runtime.engines.choose import open_engine
from runtime.engines.kinds import KINDS, EngineKind, OnnxRuntimeCpu
from runtime.engines.shapes import input_ranges
from runtime.errors import ZeusEdgeError
from runtime.kernels import open_kernels
from runtime.qualify.cases import GoldenCases, guarded, own_studies
from runtime.qualify.lowered import NotTriedError, lowered
from runtime.report import peak_bytes
from runtime.trust.network_files import network_files
from runtime.trust.running import on_kind, reference

__all__ = ["main"]


def _image(bundle: Bundle, side: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Noise of the encoder's largest tile, or of at most `side` voxels an axis."""
    manifest = bundle.manifest
    multiple = manifest.encoder.multiple_of
    sides = [min(length, side) // multiple * multiple for length in manifest.grid.tile_voxels]
    return np.random.default_rng(0).random((1, len(manifest.channels), *sides), np.float32)


def _error(bundle: Bundle, engine: Any) -> float:
    """Largest relative difference from the reference on the golden tile."""
    manifest = bundle.manifest
    image = np.load(bundle.path(manifest.golden.image)).astype(np.float32)
    inputs = {manifest.encoder.inputs[0].name: image}
    with open_engine(bundle.path(manifest.encoder.file), "cpu", 1, kind=OnnxRuntimeCpu()) as reference:
        expected = reference.run(inputs)
    found = engine.run(inputs)
    return max(relative_error(found[name], value) for name, value in expected.items())


def _serve(options: argparse.Namespace) -> None:
    """In a process of its own: open, run once, then one run for every line that comes in."""
    bundle = open_bundle(options.bundle)
    manifest = bundle.manifest
    (kind,) = [kind for kind in KINDS if kind.name == options.serve]
    ranges = input_ranges(manifest, manifest.encoder)
    precision, file = options.precision[0]
    started = time.perf_counter()
    try:
        engine = open_engine(Path(file), "auto", options.threads, None, precision, kind, ranges)
        loaded = time.perf_counter() - started
        with engine:
            inputs = {manifest.encoder.inputs[0].name: _image(bundle, options.side)}
            engine.run(inputs)
            _say(
                {"load_s": loaded, "reason": engine.description.reason, "version": engine.description.version}
            )
            for _ in sys.stdin:
                started = time.perf_counter()
                engine.run(inputs)
                _say({"seconds": time.perf_counter() - started, "peak_bytes": peak_bytes()})
            _say({"error": _error(bundle, engine)})
    except ZeusEdgeError as error:
        _say({"refused": str(error)})


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


class _Runner:
    """The process of one engine and precision."""

    def __init__(self, kind: EngineKind, precision: tuple[str, str], options: argparse.Namespace) -> None:
        given = ["--bundle", str(options.bundle)] if options.bundle else []
        given += ["--threads", str(options.threads), "--side", str(options.side)]
        self.kind, self.precision, self.seconds = kind, precision, list[float]()
        self.dice: float | None = None
        given += ["--precision", "=".join(precision)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.engines", "--serve", kind.name, *given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.facts = self._answer()

    def run(self) -> None:
        """One more run."""
        assert self._process.stdin is not None
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        answer = self._answer()
        self.seconds.append(answer["seconds"])
        self.facts["peak_bytes"] = answer["peak_bytes"]

    def finish(self) -> None:
        """Ask for the error, and end it."""
        if "refused" in self.facts:
            self._process.communicate()
            return
        output, _ = self._process.communicate()
        self.facts |= json.loads(output.splitlines()[-1])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.kind.name} ended with exit code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def row(self, shape: Sequence[int]) -> dict[str, Any]:
        """What is known of it."""
        precision, file = self.precision
        about = {"engine": self.kind.name, "precision": precision, "file_bytes": Path(file).stat().st_size}
        if "refused" in self.facts:
            return {**about, "not_run": self.facts["refused"]}
        return {
            **about,
            "engine_version": self.facts["version"],
            "shape": list(shape),
            "load_s": round(self.facts["load_s"], 3),
            "median_s": round(statistics.median(self.seconds), 4),
            "min_s": round(min(self.seconds), 4),
            "max_s": round(max(self.seconds), 4),
            "repeats": len(self.seconds),
            "peak_bytes": self.facts["peak_bytes"],
            "error": self.facts["error"],
            "dice": self.dice,
        }


def _golden(bundle: Bundle, threads: int) -> GoldenCases:
    base = reference(bundle, "the reference")
    return GoldenCases(bundle, base, own_studies(bundle), open_kernels("cpu", threads), lambda text: None)


def _lower(options: argparse.Namespace, bundle: Bundle, golden: GoldenCases) -> list[dict[str, Any]]:
    """Add the precisions that nobody gave a file for; rows of those that cannot be made."""
    rows, given = [], {name for name, _ in options.precision}
    lower: tuple[Literal["fp16", "int8"], ...] = ("fp16", "int8")
    for precision in lower:
        if precision not in given:
            try:
                made = lowered(bundle, precision, (), golden.tiles)
            except NotTriedError as error:
                rows.append({"engine": "every engine", "precision": precision, "not_run": str(error)})
            else:
                options.precision.append((precision, str(made.path)))
    return rows


def _dice(golden: GoldenCases, bundle: Bundle, runner: _Runner) -> float | None:
    """Of the worst structure; None where an engine's answer is no answer."""
    precision, file = runner.precision
    own = network_files(bundle)["encoder"]
    running = on_kind(runner.kind, bundle, replace(own, path=Path(file), precision=precision))
    limits: Literal["fp32", "fp16", "int8"] = "int8"  # the least, so that no study is left out
    measured, _ = guarded(lambda: golden.measure(running, limits), limits)
    cases = () if measured is None else measured.cases
    return min((item.dice for case in cases for item in case.structures), default=None)


def _measure(options: argparse.Namespace, bundle: Bundle) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    golden = None
    if not options.quick:
        golden = _golden(bundle, options.threads)
        rows += _lower(options, bundle, golden)
    runners: list[_Runner] = []
    for kind in KINDS:
        if why_not := kind.why_not():
            rows.append({"engine": kind.name, "not_run": why_not})
            continue
        runners += [_Runner(kind, precision, options) for precision in options.precision]
    ready = [runner for runner in runners if "refused" not in runner.facts]
    for _ in range(options.repeats):  # in turns: the machine is never quite idle
        for runner in ready:
            runner.run()
    for runner in runners:
        runner.finish()
    if golden is not None:
        for runner in ready:
            runner.dice = _dice(golden, bundle, runner)
    shape = _image(bundle, options.side).shape
    return [runner.row(shape) for runner in runners] + rows


def _show(rows: Sequence[dict[str, Any]]) -> None:
    print("engine            precision  file MB  load s  median s   min s   max s  peak MB    error   Dice")
    for row in rows:
        name = f"{row['engine']:<17} {row.get('precision', ''):<9}"
        if "not_run" in row:
            print(f"{name}  not run: {row['not_run']}")
            continue
        seconds = f"{row['load_s']:7.2f} {row['median_s']:9.3f} {row['min_s']:7.3f} {row['max_s']:7.3f}"
        memory, error = f"{row['peak_bytes'] / 1e6:8.0f}", f"{row['error']:8.1e}"
        dice = "     -" if row["dice"] is None else f"{row['dice']:6.4f}"
        print(f"{name} {row['file_bytes'] / 1e6:8.1f} {seconds} {memory} {error} {dice}")


def _precision(text: str) -> tuple[str, str]:
    name, _, file = text.partition("=")
    if name not in ("fp32", "fp16", "int8") or not file:
        raise argparse.ArgumentTypeError(f"{text!r} is not like fp16=encoder_fp16.onnx")
    return name, file


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.engines",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="model bundle (default: the shipped one)")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: every usable CPU)")
    parser.add_argument("--side", type=int, default=128, help="longest side of the image in voxels")
    parser.add_argument("--quick", action="store_true", help="a small image, twice: only that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write one JSON line a row")
    parser.add_argument(
        "--precision", type=_precision, action="append", metavar="NAME=FILE",
        help="a lowered copy of the encoder to run, too",
    )  # fmt: skip
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    options.threads = options.threads or len(os.sched_getaffinity(0))
    if options.quick:
        options.side, options.repeats = 32, 2
    if options.serve:
        _serve(options)
        return 0
    bundle = open_bundle(options.bundle)
    file = bundle.path(bundle.manifest.encoder.file)
    options.precision = [(bundle.manifest.encoder.precision, str(file)), *(options.precision or [])]
    rows = _measure(options, bundle)
    about = fingerprint(bundle)
    _show(rows)
    print("; ".join(f"{key} {value}" for key, value in about.items()))
    if options.json:
        lines = [json.dumps({**row, **about}) for row in rows]
        options.json.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
