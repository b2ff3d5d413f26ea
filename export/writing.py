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
from runtime.errors import BundleError
from runtime.formats.output_folder import output_folder
from runtime.schema import SchemaError

__all__ = [
    "ANSWER_FILE",
    "IMAGE_FILE",
    "Arrays",
    "Content",
    "Golden",
    "check_agreement",
    "golden_case",
    "golden_entry",
    "place_bundle",
    "put_bundle",
    "run_onnx",
    "stage_bundle",
]

_SIDE = 32
_TOLERANCE = 2e-2
"""Of the largest value: weights are rounded to float16, which each answer sums over hundreds."""
_GOLDEN_TOLERANCE = 2e-3
"""Of the largest golden feature: float16, in which they are stored, rounds to a quarter of that."""

_CHUNK_BYTES = 1 << 20
MANIFEST, IMAGE_FILE, ANSWER_FILE = "bundle.json", "golden_image.npy", "golden_features.npy"

Arrays = Mapping[str, NDArray[Any]]
Content = bytes | NDArray[Any] | Path
"""Of a file of a bundle."""


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


def golden_entry(expected: NDArray[Any], found: NDArray[Any]) -> GoldenCase:
    """What the manifest says of a golden case: room for twice what was seen, and for float16 in the file."""
    largest = max(1.0, float(np.abs(expected).max()))
    seen = float(np.abs(found - expected).max())
    return GoldenCase(IMAGE_FILE, ANSWER_FILE, round(2 * seen + _GOLDEN_TOLERANCE * largest, 4))


def stage_bundle(
    files: Mapping[str, Content], make: Callable[[tuple[FileEntry, ...]], Manifest], folder: Path
) -> Bundle:
    """Write a bundle where nobody looks yet, and read it back.

    Args:
        files: Content by name; arrays become `.npy`, files are copied.
        make: The manifest for the files as they lie on the disk.
        folder: Made anew.

    Raises:
        BundleError: The manifest contradicts itself.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file, content in files.items():
        if isinstance(content, bytes):
            (folder / file).write_bytes(content)
        elif isinstance(content, Path):
            shutil.copyfile(content, folder / file)
        else:
            np.save(folder / file, content)
    manifest = make(tuple(_entry(path) for path in sorted(folder.iterdir())))
    try:
        text = dump_manifest(manifest)
    except SchemaError as error:
        raise BundleError(
            f"the bundle would contradict itself ({error}); correct what is said of it"
        ) from None
    (folder / MANIFEST).write_bytes(text)
    return open_bundle(folder)


def place_bundle(folder: Path, out: Path, force: bool) -> Bundle:
    """Put a staged bundle where it shall be, whole or not at all.

    Raises:
        DestinationError: `out` is there and is not to be replaced, or is no bundle.
    """
    with output_folder(out, force, MANIFEST) as work:
        shutil.copytree(folder, work, dirs_exist_ok=True)
        work.chmod(0o755)  # unlike a result it holds no patient data
    return open_bundle(out)


def put_bundle(
    files: Mapping[str, Content], make: Callable[[tuple[FileEntry, ...]], Manifest], out: Path
) -> Bundle:
    """Stage a bundle and put it in place of what is there; see those."""
    with tempfile.TemporaryDirectory(prefix="zeus-edge-") as name:
        folder = Path(name) / "bundle"
        stage_bundle(files, make, folder)
        return place_bundle(folder, out, force=True)


def _entry(path: Path) -> FileEntry:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return FileEntry(path.name, path.stat().st_size, digest.hexdigest())
