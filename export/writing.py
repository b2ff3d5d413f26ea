"""What every exported bundle needs: files with their hashes, a golden case, all or nothing on the disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.bundle import (
    Bundle,
    FileEntry,
    GoldenCase,
    Manifest,
    dump_manifest,
    file_sha256,
    open_bundle,
)
from runtime.errors import BundleError
from runtime.formats.output_folder import output_folder
from runtime.schema import SchemaError

__all__ = [
    "ANSWER_FILE",
    "IMAGE_FILE",
    "MANIFEST",
    "Content",
    "golden_entry",
    "place_bundle",
    "stage_bundle",
]

_GOLDEN_TOLERANCE = 2e-3
"""Of the largest golden feature: float16, in which they are stored, rounds to a quarter of that."""

MANIFEST, IMAGE_FILE, ANSWER_FILE = "bundle.json", "golden_image.npy", "golden_features.npy"

Content = bytes | NDArray[Any] | Path
"""Of a file of a bundle."""


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


def _entry(path: Path) -> FileEntry:
    return FileEntry(path.name, path.stat().st_size, file_sha256(path))
