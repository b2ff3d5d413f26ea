"""What a bundle says about its model: the nouns of `bundle.json` and the rules that they obey."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from runtime.schema import SchemaError
from runtime.structure import Code, Structure

__all__ = [
    "SCHEMA",
    "Channel",
    "FileEntry",
    "GoldenCase",
    "Manifest",
    "Measured",
    "ModelGrid",
    "Network",
    "Target",
    "Tensor",
    "check_manifest",
]

SCHEMA = "zeus-edge-bundle/1"
_FEATURES = 4096
_CLASSES = 255
_TILE_VOXELS = 1 << 26
_LARGEST_WEIGHT = 1e6
"""Of a condition vector: scores must stay far from the end of float32."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,31}")
_CODE_TEXT, _MEANING_TEXT = 16, 64  # DICOM's SH and LO


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
            `z_score`: of the voxels not stored as 0, the mean becomes 0 (`low`) and the mean plus one
            standard deviation 1 (`high`); voxels stored as 0 become 0.
            `percentile`: the percentiles `low`…`high` of all voxels become 0…1.
        low: See above.
        high: See above.
        clamp: Smallest and largest value after normalisation.
        required: Whether a study without it is refused.
    """

    modality: Literal["T1", "T1c", "T2", "FLAIR", "CT"]
    normalisation: Literal["window", "foreground_mean", "z_score", "percentile"]
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
    """`bundle.json`, whole. Names become file names; other text is shown to people, never interpreted.

    `connected` names structures of one piece: what lies apart from the largest piece is removed.
    """

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
    connected: tuple[str, ...] = field(default=())


def _require(true: bool, message: str) -> None:
    if not true:
        raise SchemaError(message)


def check_manifest(manifest: Manifest) -> None:
    """What types cannot say: names are unique and fit for files, references resolve, sizes are sane.

    Raises:
        SchemaError: A rule is broken; the message gives the path to it.
    """
    _require(bool(_NAME.fullmatch(manifest.name)), "$.name: use letters, digits, _ and -, 64 at most")
    _require(bool(_VERSION.fullmatch(manifest.version)), "$.version: use letters, digits, . and -")
    _check_structures(manifest.structures)
    names = {structure.name for structure in manifest.structures}
    _require(set(manifest.connected) <= names, "$.connected: a name is no structure")
    _check_targets(manifest)
    _check_channels(manifest.channels)
    _check_encoder(manifest)
    files = {entry.path for entry in manifest.files}
    _require(len(files) == len(manifest.files), "$.files: a path appears twice")
    for name in (manifest.encoder.file, manifest.golden.image, manifest.golden.features):
        _require(name in files, f"$.files: {name!r} is named but not listed")
    _require(manifest.golden.tolerance > 0, "$.golden: tolerance is not above 0")


def _check_structures(structures: tuple[Structure, ...]) -> None:
    names = [structure.name for structure in structures]
    values = [structure.value for structure in structures]
    _require(len(set(names)) == len(names) > 0, "$.structures: names are not unique")
    _require(len(set(values)) == len(values), "$.structures: values are not unique")
    _require(all(1 <= value <= 255 for value in values), "$.structures: a value is outside 1…255")
    single = {structure.name for structure in structures if not structure.union_of}
    for structure in structures:
        name, parts = structure.name, structure.union_of
        # A union is written to a file of its name beside labels.nii.gz.
        fits = _NAME.fullmatch(name) is not None and name.lower() != "labels"
        _require(fits, f"$.structures: {name!r} cannot name a file; use letters, digits, _ and -")
        _require(set(parts) <= single, f"$.structures: {name} is made of unknown parts")
        _require(len(set(parts)) == len(parts), f"$.structures: a part of {name} appears twice")
        _require(all(0 <= c <= 255 for c in structure.colour), f"$.structures: colour of {name}")
        for code in (structure.category, structure.kind):
            _require(_is_code(code), f"$.structures: a code of {name} is empty or too long for DICOM")
    _require("brain" in names, '$.structures: none is called "brain", by which a scan is known for a head')


def _is_code(code: Code) -> bool:
    short = all(0 < len(text) <= _CODE_TEXT for text in (code.value, code.scheme))
    return short and 0 < len(code.meaning) <= _MEANING_TEXT


def _check_targets(manifest: Manifest) -> None:
    single = {structure.name for structure in manifest.structures if not structure.union_of}
    names = [target.structure for target in manifest.targets]
    _require(len(set(names)) == len(names), "$.targets: a structure has two vectors")
    _require(names[:1] == [""], "$.targets: the first one must be the background")
    _require(set(names[1:]) == single, "$.targets: not one vector for every structure")
    _require(len(names) <= _CLASSES, f"$.targets: more than {_CLASSES}")
    features = {len(target.vector) for target in manifest.targets}
    _require(len(features) == 1 and 0 < min(features) <= _FEATURES, "$.targets: vectors differ in length")
    for target in manifest.targets:
        largest = max(abs(value) for value in (*target.vector, target.bias))
        _require(largest <= _LARGEST_WEIGHT, f"$.targets: a number of {target.structure!r} is absurd")


def _check_channels(channels: tuple[Channel, ...]) -> None:
    modalities = [channel.modality for channel in channels]
    _require(len(set(modalities)) == len(modalities) > 0, "$.channels: a modality appears twice")
    for channel in channels:
        _require(channel.clamp[0] < channel.clamp[1], f"$.channels: clamp of {channel.modality} is empty")
        _require(channel.high > channel.low, f"$.channels: range of {channel.modality} is empty")
        if channel.normalisation == "percentile":
            credible = channel.low >= 0 and channel.high <= 100
            _require(credible, f"$.channels: percentiles of {channel.modality} are outside 0…100")
        if channel.normalisation == "z_score":
            standard = (channel.low, channel.high) == (0, 1)
            _require(standard, f"$.channels: z_score of {channel.modality} needs low 0 and high 1")


def _check_encoder(manifest: Manifest) -> None:
    grid, network = manifest.grid, manifest.encoder
    _require(all(0.1 <= s <= 20 for s in grid.spacing_mm), "$.grid: spacing outside 0.1…20 mm")
    voxels = grid.tile_voxels[0] * grid.tile_voxels[1] * grid.tile_voxels[2]
    _require(min(grid.tile_voxels) > 0 and voxels <= _TILE_VOXELS, "$.grid: absurd tile size")
    _require(0 <= grid.overlap < 1, "$.grid: overlap outside 0…1")
    _require(0 < network.multiple_of <= 256, "$.encoder: multiple_of outside 1…256")
    _require(all(n % network.multiple_of == 0 for n in grid.tile_voxels), "$.grid: tile is not a multiple")
    _require(len(network.inputs) == len(network.outputs) == 1, "$.encoder: one input and one output")
    channels, features = len(manifest.channels), len(manifest.targets[0].vector)
    _require(network.inputs[0].shape == (1, channels, 0, 0, 0), "$.encoder: input shape")
    _require(network.outputs[0].shape == (1, features, 0, 0, 0), "$.encoder: output shape")
