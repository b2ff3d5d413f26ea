"""The model bundle: a directory that says everything about a model, and is not believed.

`bundle.json` is the only entry point. Every file it names is inside the directory, has the
stated size and the stated SHA-256; nothing else is read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from runtime.errors import BundleError
from runtime.manifest import (
    SCHEMA,
    Channel,
    FileEntry,
    FindingWords,
    GoldenCase,
    Instructions,
    Manifest,
    Measured,
    ModelGrid,
    Network,
    Recipe,
    Target,
    Tensor,
    TextEncoder,
    Vocabulary,
    WriterModel,
)
from runtime.manifest_rules import check_manifest
from runtime.schema import SchemaError, build
from runtime.structure import ModelIdentity, Structure
from runtime.version import __version__

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "Bundle",
    "Channel",
    "FileEntry",
    "FindingWords",
    "GoldenCase",
    "Instructions",
    "Manifest",
    "Measured",
    "ModelGrid",
    "Network",
    "Recipe",
    "Target",
    "Tensor",
    "TextEncoder",
    "Vocabulary",
    "WriterModel",
    "default_bundle",
    "dump_manifest",
    "file_sha256",
    "open_bundle",
]

_MANIFEST_BYTES = 4 << 20
_FILE_BYTES = 8 << 30
_CHUNK_BYTES = 1 << 20
_UNIT_TOLERANCE = 1e-3
"""Of a vector's length: float16 on the way there rounds to half of that."""

_COPY_AGAIN = "copy the bundle again"


@dataclass(frozen=True)
class Bundle:
    """A checked bundle.

    Attributes:
        folder: Where it lies.
        manifest: What it says.
        identity: Name, version and hash, for every result.
        bank: Condition vector of each (channel, row of `instructions.asked`), (M, A, C) float32 of length 1;
            None without instructions.
    """

    folder: Path
    manifest: Manifest
    identity: ModelIdentity
    bank: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)

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

    def covered(self, targets: Sequence[Structure]) -> frozenset[str]:
        """Names of structures that are nothing but these and their parts: what may be said of them."""
        values = {value for target in targets for value in self.parts(target)}
        known = self.manifest.structures
        return frozenset(item.name for item in known if set(self.parts(item)) <= values)


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
    identity = ModelIdentity(manifest.name, manifest.version, digest, __version__)
    return Bundle(folder, manifest, identity, _read_bank(folder, manifest))


def dump_manifest(manifest: Manifest) -> bytes:
    """The bytes of `bundle.json` for a manifest: what `open_bundle` reads back.

    Raises:
        SchemaError: The manifest contradicts itself.
    """
    check_manifest(manifest)
    document = dataclasses.asdict(manifest)
    for section in ("instructions", "recipe", "vocabulary", "writer"):
        if document[section] is None:
            del document[section]  # such bundles are what they were before there were any
    for network in _networks(document):
        if (network["precision"], network["weights"]) == ("fp32", ""):
            del network["precision"], network["weights"]  # so are these
    return (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _networks(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every network of a manifest as JSON has it."""
    yield document["encoder"]
    if given := document.get("instructions"):
        yield from (given["decoder"], given["text"]["network"])
    if writer := document.get("writer"):
        yield writer["vision"]


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


def _read_bank(folder: Path, manifest: Manifest) -> NDArray[np.float32] | None:
    """The bank of a bundle with instructions; a lying header costs no memory."""
    if manifest.instructions is None:
        return None
    import numpy as np

    given = manifest.instructions
    wanted = len(manifest.channels), len(given.asked), given.text.network.outputs[0].shape[-1]
    path = folder / PurePosixPath(given.bank)
    again = "export the bundle again"
    try:
        with path.open("rb") as file:
            if file.read(6) != b"\x93NUMPY":
                raise ValueError("not an array")
        # Mapped: NumPy then compares the header with the size of the file before it takes memory.
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header may raise nearly anything
        raise BundleError(f"{path} is no array of numbers ({type(error).__name__}); {again}") from None
    if (mapped.shape, mapped.dtype) != (wanted, np.dtype("<f4")):
        raise BundleError(f"{path} is not float32 of shape {wanted}; {again}")
    bank: NDArray[np.float32] = np.array(mapped, np.float32, order="C")
    if not (np.abs(np.linalg.norm(bank.astype(np.float64), axis=2) - 1) <= _UNIT_TOLERANCE).all():
        raise BundleError(f"{path} has a vector whose length is not 1; {again}")
    return bank


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
        found = file_sha256(path)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        raise BundleError(
            f"{folder}: file {entry.path[:200]!r} cannot be read ({type(error).__name__}); {_COPY_AGAIN}"
        ) from None
    if found != entry.sha256:
        raise BundleError(f"{path} does not have the SHA-256 its manifest states; {_COPY_AGAIN}")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file of any size, in hexadecimal digits.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
