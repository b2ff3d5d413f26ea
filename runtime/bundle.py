"""The model bundle: a directory that says everything about a model, and is not believed.

`bundle.json` is the only entry point. Every file it names is inside the directory, has the
stated size and the stated SHA-256; nothing else is read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from runtime.errors import BundleError
from runtime.manifest import (
    SCHEMA,
    Channel,
    FileEntry,
    GoldenCase,
    Manifest,
    Measured,
    ModelGrid,
    Network,
    Target,
    Tensor,
    check_manifest,
)
from runtime.schema import SchemaError, build
from runtime.structure import ModelIdentity, Structure
from runtime.version import __version__

__all__ = [
    "Bundle",
    "Channel",
    "FileEntry",
    "GoldenCase",
    "Manifest",
    "Measured",
    "ModelGrid",
    "Network",
    "Target",
    "Tensor",
    "default_bundle",
    "dump_manifest",
    "open_bundle",
]

_MANIFEST_BYTES = 4 << 20
_FILE_BYTES = 8 << 30
_CHUNK_BYTES = 1 << 20
_COPY_AGAIN = "copy the bundle again"


@dataclass(frozen=True)
class Bundle:
    """A checked bundle.

    Attributes:
        folder: Where it lies.
        manifest: What it says.
        identity: Name, version and hash, for every result.
    """

    folder: Path
    manifest: Manifest
    identity: ModelIdentity

    def path(self, name: str) -> Path:
        """Path of a file of the bundle by its name in the manifest."""
        return self.folder / PurePosixPath(name)

    def structure(self, name: str) -> Structure:
        """The structure called `name`; KeyError when there is none."""
        return {structure.name: structure for structure in self.manifest.structures}[name]

    def parts(self, structure: Structure) -> tuple[int, ...]:
        """Label values that make up a structure: its own, or those of its parts."""
        if not structure.union_of:
            return (structure.value,)
        return tuple(self.structure(name).value for name in structure.union_of)


def default_bundle() -> Path:
    """Folder of the bundle that ships with the product."""
    return Path(__file__).parent / "bundles" / "zeus-nano-head"


def open_bundle(folder: Path | str | None = None) -> Bundle:
    """Read and check a bundle, every hash included.

    Args:
        folder: The bundle's directory; the shipped `zeus-nano-head` when absent.

    Raises:
        BundleError: Anything is missing, damaged, hostile or of another schema.
    """
    folder = Path(folder) if folder is not None else default_bundle()
    text = _read_manifest(folder)
    path = folder / "bundle.json"
    try:
        document = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not JSON ({error}); {_COPY_AGAIN}") from None
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise BundleError(
            f"{path} has schema {str(schema)[:80]!r}, this version reads {SCHEMA!r}; export it again"
        )
    try:
        manifest = build(Manifest, document)
        check_manifest(manifest)
    except (SchemaError, RecursionError) as error:
        raise BundleError(f"{path}: {error}; export or copy the bundle again") from None
    for entry in manifest.files:
        _check_file(folder, entry)
    digest = hashlib.sha256(text).hexdigest()
    return Bundle(folder, manifest, ModelIdentity(manifest.name, manifest.version, digest, __version__))


def dump_manifest(manifest: Manifest) -> bytes:
    """The bytes of `bundle.json` for a manifest: what `open_bundle` reads back.

    Raises:
        SchemaError: The manifest contradicts itself.
    """
    check_manifest(manifest)
    document = dataclasses.asdict(manifest)
    return (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object whose keys are unique; of two equal keys Python would silently take the last."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return made


def _read_manifest(folder: Path) -> bytes:
    path = folder / "bundle.json"
    try:
        if not path.is_file():
            raise BundleError(f"{folder} has no bundle.json; give the folder of a model bundle")
        with path.open("rb") as file:
            text = file.read(_MANIFEST_BYTES + 1)
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}); check the path") from None
    if len(text) > _MANIFEST_BYTES:
        raise BundleError(
            f"{path} is larger than {_MANIFEST_BYTES >> 20} MiB, too large for a manifest; {_COPY_AGAIN}"
        )
    return text


def _check_file(folder: Path, entry: FileEntry) -> None:
    pure = PurePosixPath(entry.path)
    path = folder / pure
    escapes = pure.is_absolute() or ".." in pure.parts or "\\" in entry.path or not pure.parts
    try:
        if escapes or not path.resolve().is_relative_to(folder.resolve()):
            raise BundleError(
                f"{folder}: file {entry.path[:200]!r} points outside the bundle; do not use this bundle"
            )
        if not path.is_file():
            raise BundleError(f"{path} is missing; {_COPY_AGAIN}")
        size = path.stat().st_size
        if size > _FILE_BYTES:
            raise BundleError(f"{path} has {size} bytes, more than {_FILE_BYTES}; do not use this bundle")
        if size != entry.bytes:
            raise BundleError(f"{path} has {size} bytes, its manifest says {entry.bytes}; {_COPY_AGAIN}")
        found = _sha256(path)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        raise BundleError(
            f"{folder}: file {entry.path[:200]!r} cannot be read ({type(error).__name__}); {_COPY_AGAIN}"
        ) from None
    if found != entry.sha256:
        raise BundleError(f"{path} does not have the SHA-256 its manifest states; {_COPY_AGAIN}")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
