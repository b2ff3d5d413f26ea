"""How fast a CUDA device does all that happens around the network, and whether it gives the bits of the CPU.

    python -m benchmarks.cuda_path                 # without a CUDA device it exits with 5 and says why
    python -m benchmarks.cuda_path --quick         # small arrays: only that it runs and agrees
    python -m benchmarks.cuda_path --json FILE     # also one JSON line a row

Input: a made CT, int16; 14 made scores of float16 on a 1.5 mm grid. Verified first, then timed.

device: between events on the stream, of a recorded graph that runs alone. host: from the call until its
result is there; "the two copies alone" runs in turns with the whole path, from and to the same pinned memory.
start: a whole open_table in a process of its own, with an empty cache (compiles) and with a filled one.
copy: bytes that have to move (inputs read once, results written once) per second, as a share of what a copy
inside the device moves in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.device_rows import DeviceRows, Row, Size
from benchmarks.environment import fingerprint
from benchmarks.measure import Effort, Seconds
from runtime.errors import ZeusEdgeError
from runtime.kernels import open_kernels

__all__ = ["main"]

_FULL = Size((300, 512, 512), (128, 128, 128), 1 << 29, Effort(50, 20.0, 0))
_QUICK = Size((18, 40, 44), (8, 8, 8), 1 << 20, Effort(3, 1.0, 0))
_START = "import time; a = time.perf_counter(); from runtime.cuda.table import open_table; open_table()"


def _start_rows(repeats: int) -> Iterator[Row]:
    """Cold and warm starts of the table, each in a process of its own."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "XDG_CACHE_HOME": cache}
        for name, count in (("start, compiles", 1), ("start, from the cache", repeats)):
            seconds = Seconds(tuple(_start_seconds(environment) for _ in range(count)))
            yield {
                "measure": name, "clock": "start", "median_s": seconds.median, "min_s": seconds.least,
                "repeats": count,
            }  # fmt: skip


def _start_seconds(environment: dict[str, str]) -> float:
    program = f"{_START}; print(time.perf_counter() - a)"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True
    )
    return float(done.stdout)


def _print(row: Row) -> None:
    cells = [f"{row['median_s'] * 1e3:.3f}", f"{row['min_s'] * 1e3:.3f}"]
    if "bytes_per_s" in row:
        cells.append(f"{row['bytes_per_s'] / 1e9:.1f}")
    if "bandwidth_fraction" in row:
        cells.append(f"{row['bandwidth_fraction']:.1%}")
    notes = []
    if "wanted_s" in row:
        notes.append(f"wanted: at most {row['wanted_s'] * 1e3:g} ms")
    if "ratio" in row:
        notes.append(f"{row['ratio']:.2f} x the copies alone; wanted: at most {row['wanted_ratio']:g}")
    print(f"{row['measure']:<36}" + "".join(f"{cell:>11}" for cell in cells), *notes, sep="  ", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 1 where bits differ, 5 where there is no CUDA device."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cuda_path",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="small arrays: only that it runs and agrees")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write one JSON line a row")
    options = parser.parse_args(argv)
    if options.json is not None and not options.json.parent.is_dir():
        parser.error(f"--json {options.json}: there is no folder {options.json.parent}; make it first")
    size = _QUICK if options.quick else _FULL
    rows: list[Row] = []
    try:
        kernels = open_kernels("cuda")
        benchmark = DeviceRows(size, kernels, open_kernels("cpu"))
        device = benchmark.path.stream.device
        print(f"{device.name}, {device.architecture}, driver for CUDA {device.driver_version / 1000:.2f}")
        verdicts = {True: "bits equal", False: "bits DIFFER"}
        print(", ".join(f"{name}: {verdicts[same]}" for name, same in benchmark.equal.items()))
        titles = ("median ms", "min ms", "GB/s", "of copy")
        print(f"{'measure':<36}" + "".join(f"{title:>11}" for title in titles))
        for source in (benchmark.rows(), _start_rows(size.effort.repeats)):
            for row in source:
                _print(row)
                rows.append(row)
    except ZeusEdgeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if options.json is not None:
        about = fingerprint(distributions=("cuda-bindings", "nvidia-cuda-nvrtc"))
        about |= {"device": device.name, "kernels": kernels.name, "driver": str(device.driver_version)}
        about |= {f"{name}_bits_equal": str(same) for name, same in benchmark.equal.items()}
        lines = [json.dumps({**row, **about, "quick": options.quick}, allow_nan=False) + "\n" for row in rows]
        part = options.json.with_name(options.json.name + ".part")
        part.write_text("".join(lines), encoding="utf-8")
        part.replace(options.json)
    return 0 if all(benchmark.equal.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
