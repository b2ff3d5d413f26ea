"""The model bundle: a directory that says everything about a model, and is not believed.

`bundle.json` is the only entry point. Every file it names is inside the directory, has the
stated size and the stated SHA-256; nothing else is read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from runtime.errors import BundleError
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
    "open_bundle",
]

SCHEMA = "zeus-edge-bundle/1"
_MANIFEST_BYTES = 4 << 20
_FILE_BYTES = 8 << 30
_FEATURES = 4096
_TILE_VOXELS = 1 << 26


@dataclass(frozen=True)
class FileEntry:
    """One file of the bundle: POSIX path relative to `bundle.json`, size and hash."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Tensor:
    """One input or output: name, numpy dtype, and shape with 0 for a free axis."""

    name: str
    dtype: Literal["float32", "float16"]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Network:
    """One network.

    Attributes:
        file: Its ONNX file.
        inputs: Input tensors, batch first.
        outputs: Output tensors.
        multiple_of: Free axes must be divisible by this.
    """

    file: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    multiple_of: int


@dataclass(frozen=True)
class Channel:
    """One input channel of the encoder, in order.

    Attributes:
        modality: What it shows.
        normalisation: `window`: `low`…`high` (rescaled units, HU for CT) become 0…1.
            `foreground_mean`: the mean above Otsu's threshold becomes `high`; `low` is unused.
        low: See above.
        high: See above.
        clamp: Smallest and largest value after normalisation.
        required: Whether a study without it is refused.
    """

    modality: Literal["T1", "T1c", "T2", "FLAIR", "CT"]
    normalisation: Literal["window", "foreground_mean"]
    low: float
    high: float
    clamp: tuple[float, float]
    required: bool = False


@dataclass(frozen=True)
class ModelGrid:
    """The grid the encoder sees: axes R, A, S; voxel size; tiles and their overlap."""

    spacing_mm: tuple[float, float, float]
    tile_voxels: tuple[int, int, int]
    overlap: float


@dataclass(frozen=True)
class Target:
    """What one condition vector stands for; `structure` "" is the background."""

    structure: str
    vector: tuple[float, ...]
    bias: float


@dataclass(frozen=True)
class Measured:
    """One accuracy figure, as printed by `command` when the bundle was made."""

    case: str
    structure: str
    dice: float
    command: str


@dataclass(frozen=True)
class GoldenCase:
    """A small input and the features the FP32 network gave, to prove an engine by.

    Attributes:
        image: float16 `.npy`, (1, channels, I, J, K).
        features: float16 `.npy`, (1, features, I, J, K).
        tolerance: Largest absolute difference an FP32 engine may have.
    """

    image: str
    features: str
    tolerance: float


@dataclass(frozen=True)
class Manifest:
    """`bundle.json`, whole. Text fields are shown to people and never interpreted."""

    schema: str
    name: str
    version: str
    description: str
    licence: str
    provenance: dict[str, str]
    body_part: str
    encoder: Network
    channels: tuple[Channel, ...]
    grid: ModelGrid
    structures: tuple[Structure, ...]
    targets: tuple[Target, ...]
    files: tuple[FileEntry, ...]
    golden: GoldenCase
    accuracy: tuple[Measured, ...] = field(default=())


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
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{folder / 'bundle.json'} is not JSON ({error}); copy the bundle again") from None
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise BundleError(f"{folder} has schema {schema!r}, this version reads {SCHEMA!r}; export it again")
    try:
        manifest = build(Manifest, document)
        _check(manifest)
    except SchemaError as error:
        raise BundleError(f"{folder / 'bundle.json'}: {error}") from None
    for entry in manifest.files:
        _check_file(folder, entry)
    digest = hashlib.sha256(text).hexdigest()
    return Bundle(folder, manifest, ModelIdentity(manifest.name, manifest.version, digest, __version__))


def dump_manifest(manifest: Manifest) -> bytes:
    """The bytes of `bundle.json` for a manifest: what `open_bundle` reads back.

    Raises:
        SchemaError: The manifest contradicts itself.
    """
    _check(manifest)
    return (json.dumps(dataclasses.asdict(manifest), indent=1, ensure_ascii=False) + "\n").encode()


def _read_manifest(folder: Path) -> bytes:
    path = folder / "bundle.json"
    if not path.is_file():
        raise BundleError(f"{folder} has no bundle.json; give the folder of a model bundle")
    if path.stat().st_size > _MANIFEST_BYTES:
        raise BundleError(f"{path} is larger than {_MANIFEST_BYTES >> 20} MiB; it is not a bundle manifest")
    return path.read_bytes()


def _require(true: bool, message: str) -> None:
    if not true:
        raise SchemaError(message)


def _check(manifest: Manifest) -> None:
    """What types cannot say: names are unique, references resolve, sizes are sane."""
    names = [structure.name for structure in manifest.structures]
    values = [structure.value for structure in manifest.structures]
    _require(len(set(names)) == len(names) > 0, "$.structures: names are not unique")
    _require(len(set(values)) == len(values), "$.structures: values are not unique")
    _require(all(1 <= value <= 255 for value in values), "$.structures: a value is outside 1…255")
    single = {structure.name for structure in manifest.structures if not structure.union_of}
    for structure in manifest.structures:
        _require(
            set(structure.union_of) <= single, f"$.structures: {structure.name} is made of unknown parts"
        )
        _require(all(0 <= c <= 255 for c in structure.colour), f"$.structures: colour of {structure.name}")
    targets = [target.structure for target in manifest.targets]
    _require(len(set(targets)) == len(targets), "$.targets: a structure has two vectors")
    _require(targets[:1] == [""], "$.targets: the first one must be the background")
    _require(set(targets[1:]) == single, "$.targets: not one vector for every structure")
    features = {len(target.vector) for target in manifest.targets}
    _require(len(features) == 1 and 0 < min(features) <= _FEATURES, "$.targets: vectors differ in length")
    channels = [channel.modality for channel in manifest.channels]
    _require(len(set(channels)) == len(channels) > 0, "$.channels: a modality appears twice")
    for channel in manifest.channels:
        _require(channel.clamp[0] < channel.clamp[1], f"$.channels: clamp of {channel.modality} is empty")
        _require(channel.high > channel.low, f"$.channels: range of {channel.modality} is empty")
    grid, network = manifest.grid, manifest.encoder
    _require(all(0.1 <= s <= 20 for s in grid.spacing_mm), "$.grid: spacing outside 0.1…20 mm")
    voxels = grid.tile_voxels[0] * grid.tile_voxels[1] * grid.tile_voxels[2]
    _require(min(grid.tile_voxels) > 0 and voxels <= _TILE_VOXELS, "$.grid: absurd tile size")
    _require(0 <= grid.overlap < 1, "$.grid: overlap outside 0…1")
    _require(0 < network.multiple_of <= 256, "$.encoder: multiple_of outside 1…256")
    _require(all(n % network.multiple_of == 0 for n in grid.tile_voxels), "$.grid: tile is not a multiple")
    _require(len(network.inputs) == len(network.outputs) == 1, "$.encoder: one input and one output")
    _require(network.inputs[0].shape == (1, len(channels), 0, 0, 0), "$.encoder: input shape")
    _require(network.outputs[0].shape == (1, *features, 0, 0, 0), "$.encoder: output shape")
    files = {entry.path for entry in manifest.files}
    _require(len(files) == len(manifest.files), "$.files: a path appears twice")
    for name in (network.file, manifest.golden.image, manifest.golden.features):
        _require(name in files, f"$.files: {name!r} is named but not listed")


def _check_file(folder: Path, entry: FileEntry) -> None:
    pure = PurePosixPath(entry.path)
    escapes = pure.is_absolute() or ".." in pure.parts or "\\" in entry.path or "\0" in entry.path
    path = folder / pure
    if escapes or not pure.parts or not path.resolve().is_relative_to(folder.resolve()):
        raise BundleError(f"{folder}: file {entry.path!r} points outside the bundle; do not use this bundle")
    if not path.is_file():
        raise BundleError(f"{folder}: {entry.path} is missing; copy the bundle again")
    size = path.stat().st_size
    if size != entry.bytes or size > _FILE_BYTES:
        raise BundleError(f"{path} has {size} bytes, its manifest says {entry.bytes}; copy the bundle again")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256") if hasattr(hashlib, "file_digest") else None
        found = digest.hexdigest() if digest else hashlib.sha256(file.read()).hexdigest()
    if found != entry.sha256:
        raise BundleError(f"{path} does not have the SHA-256 its manifest states; copy the bundle again")
