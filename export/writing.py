"""What every exported bundle needs: files with their hashes, a golden case, all or nothing on the disk."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from runtime.bundle import Bundle, FileEntry, GoldenCase, Manifest, dump_manifest, open_bundle

__all__ = ["Arrays", "Golden", "check_agreement", "golden_case", "put_bundle", "run_onnx"]

_SIDE = 32
_TOLERANCE = 2e-2
"""Of the largest value: weights are rounded to float16, which each answer sums over hundreds."""
_GOLDEN_TOLERANCE = 2e-3
"""Of the largest golden feature: float16, in which they are stored, rounds to a quarter of that."""

Arrays = Mapping[str, NDArray[Any]]


def run_onnx(model: bytes, inputs: Arrays) -> dict[str, NDArray[Any]]:
    """Every output of a model by name, from ONNX Runtime on the CPU."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def check_agreement(what: str, found: NDArray[Any], expected: NDArray[Any]) -> None:
    """Compare ONNX Runtime with torch.

    Raises:
        SystemExit: They differ by more than rounded weights explain.
    """
    error = float(np.abs(found - expected).max())
    if found.shape != expected.shape or not error <= _TOLERANCE * max(1.0, float(np.abs(expected).max())):
        raise SystemExit(f"the exported {what} differs from torch by {error:.4g}; nothing was written")
    print(f"{what}: largest difference from torch {error:.2g}", file=sys.stderr)


@dataclass(frozen=True)
class Golden:
    """A small random input and what the exported encoder gives for it.

    Attributes:
        image: (1, channels, 32, 32, 32) float16.
        features: (1, features, 32, 32, 32) float16.
    """

    image: NDArray[np.float16]
    features: NDArray[np.float16]

    @property
    def files(self) -> dict[str, NDArray[Any]]:
        """Its arrays by file."""
        return {"golden_image.npy": self.image, "golden_features.npy": self.features}

    @property
    def entry(self) -> GoldenCase:
        """What the manifest says of it."""
        largest = float(np.abs(self.features).max())
        tolerance = round(_GOLDEN_TOLERANCE * max(1.0, largest), 4)
        return GoldenCase("golden_image.npy", "golden_features.npy", tolerance)


def golden_case(model: bytes, channels: int, expected: Callable[[NDArray[np.float32]], Arrays]) -> Golden:
    """Make a golden case, after ONNX Runtime agreed with torch on every output.

    Args:
        model: The encoder; its output `features` is kept.
        channels: Of its input `image`.
        expected: What torch answers, by output.

    Raises:
        SystemExit: They disagree.
    """
    shape = (1, channels, _SIDE, _SIDE, _SIDE)
    image = np.random.default_rng(0).random(shape, np.float32).astype(np.float16)
    found, wanted = run_onnx(model, {"image": image.astype(np.float32)}), expected(image.astype(np.float32))
    for name, values in found.items():
        check_agreement(f"encoder's {name}", values, wanted[name])
    return Golden(image, found["features"].astype(np.float16))


def put_bundle(
    files: Mapping[str, bytes | NDArray[Any]], make: Callable[[tuple[FileEntry, ...]], Manifest], out: Path
) -> Bundle:
    """Write a bundle to a temporary folder, read it back, and only then replace `out`.

    Args:
        files: Content by name; arrays become `.npy`.
        make: The manifest for the files as they lie on the disk.
        out: The bundle's folder.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as name:
        folder = Path(name) / "bundle"
        folder.mkdir()
        for file, content in files.items():
            if isinstance(content, bytes):
                (folder / file).write_bytes(content)
            else:
                np.save(folder / file, content)
        manifest = make(tuple(_entry(path) for path in sorted(folder.iterdir())))
        (folder / "bundle.json").write_bytes(dump_manifest(manifest))
        open_bundle(folder)
        if out.exists():
            shutil.rmtree(out)
        folder.rename(out)
    return open_bundle(out)


def _entry(path: Path) -> FileEntry:
    data = path.read_bytes()
    return FileEntry(path.name, len(data), hashlib.sha256(data).hexdigest())
