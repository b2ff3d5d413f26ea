"""Make a bundle's encoder in another precision, in a process of its own, and keep it in the user's cache."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from runtime.bundle import Bundle, file_sha256
from runtime.engines.kinds import OnnxRuntimeCpu
from runtime.errors import DeviceError
from runtime.trust.document import FileFacts
from runtime.trust.network_files import made_networks
from runtime.user_data import read_own, write_own

__all__ = ["Lowered", "NotTriedError", "lowered"]

_LIMIT_S = 600.0
_RECIPE = "2"
"""Counted up when the converter writes something else for the same names."""
_MOST_BYTES = 2 << 30
_INSTALL = 'pip install "onnx>=1.17"'


class NotTriedError(DeviceError):
    """A precision cannot be tried here, for reasons that say nothing about the device's arithmetic."""


@dataclass(frozen=True)
class Lowered:
    """A network that was made.

    Attributes:
        path: Of the file.
        facts: Of the file, for the passport.
        nodes: What the precision changes, in the order in which it runs.
        seconds: It took to make; 0 where it was kept from before.
    """

    path: Path
    facts: FileFacts
    nodes: tuple[str, ...] = field(repr=False)
    seconds: float


def lowered(
    bundle: Bundle,
    precision: Literal["fp16", "int8"],
    kept: Sequence[str],
    tiles: Sequence[NDArray[Any]],
) -> Lowered:
    """The encoder of a bundle in another precision.

    Args:
        bundle: With an encoder in FP32.
        precision: Wanted.
        kept: Names of nodes that stay in FP32.
        tiles: What int8 is calibrated on; they are gone from the disk when this returns.

    Raises:
        NotTriedError: There is no `onnx` here, or the bundle's network cannot be converted.
        DeviceError: The cache cannot be written.
    """
    encoder = bundle.manifest.encoder
    if encoder.precision != "fp32":
        raise NotTriedError(f"the bundle's network is {encoder.precision} already; export it in fp32 too")
    if encoder.weights:
        raise NotTriedError("the bundle's network has its weights in a file of its own, too large to convert")
    source = bundle.path(encoder.file)
    made_of = [_RECIPE, *_converters(), file_sha256(source), precision, *sorted(kept)]
    key = hashlib.sha256("\0".join(made_of).encode())
    for tile in tiles if precision == "int8" else ():
        key.update(np.ascontiguousarray(tile).tobytes())
    name = key.hexdigest()
    try:
        folder = made_networks()
        path, about = folder / f"{name}.onnx", folder / f"{name}.json"
        known = _known(path, about)
        if known is not None:
            return known
        started = time.perf_counter()
        with TemporaryDirectory(prefix="zeus-edge-") as work:
            nodes, data = _convert(source, precision, kept, tiles, Path(work))
        write_own(path, data)
        write_own(about, json.dumps({"nodes": nodes, "sha256": hashlib.sha256(data).hexdigest()}).encode())
    except OSError as error:
        raise DeviceError(
            f"{error.filename or 'the cache'} cannot be written ({error.strerror}); free some space"
        ) from None
    return _made(path, nodes, hashlib.sha256(data).hexdigest(), time.perf_counter() - started)


def _converters() -> list[str]:
    """Versions of what converts; asked of the installed packages, for onnx is not imported here."""
    versions = [OnnxRuntimeCpu().version()]
    with suppress(metadata.PackageNotFoundError):
        versions.append(metadata.version("onnx"))
    return versions


def _made(path: Path, nodes: Sequence[str], sha256: str, seconds: float) -> Lowered:
    facts = FileFacts("encoder", "cache", f"{path.parent.name}/{path.name}", sha256)
    return Lowered(path, facts, tuple(nodes), seconds)


def _known(path: Path, about: Path) -> Lowered | None:
    """What was made before; None where it is absent or not what it was."""
    try:
        said = json.loads(read_own(about, _MOST_BYTES))
        if hashlib.sha256(read_own(path, _MOST_BYTES)).hexdigest() != said["sha256"]:
            return None
        return _made(path, [str(name) for name in said["nodes"]], said["sha256"], 0.0)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _convert(
    source: Path,
    precision: Literal["fp16", "int8"],
    kept: Sequence[str],
    tiles: Sequence[NDArray[Any]],
    work: Path,
) -> tuple[list[str], bytes]:
    """Nodes and bytes of the new network."""
    out, keep, shown = work / "network.onnx", work / "keep.json", work / "tiles.npz"
    keep.write_text(json.dumps(list(kept)), encoding="utf-8")
    np.savez(shown, **{f"tile_{n}": tile for n, tile in enumerate(tiles)})  # type: ignore[arg-type]
    command = [sys.executable, "-m", "export.lower_network", source.resolve(), "--out", out]
    options = ["--precision", precision, "--keep", keep, "--tiles", shown]
    # From an empty folder of our own: `-m` looks for modules in the current one first.
    home = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths}
    try:
        done = subprocess.run(
            [*map(str, command), *map(str, options)],
            cwd=work,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotTriedError(f"making it took more than {_LIMIT_S:.0f} s") from None
    last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1][:300]
    if "No module named" in last:
        raise NotTriedError(f"making it needs onnx ({last.removeprefix('error: ')}); {_INSTALL}")
    if done.returncode != 0:
        raise NotTriedError(last.removeprefix("error: "))
    nodes: list[str] = json.loads(done.stdout.splitlines()[-1])["nodes"]
    return nodes, out.read_bytes()
