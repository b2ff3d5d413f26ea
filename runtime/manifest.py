"""What a bundle says about its model: the nouns of `bundle.json`. Their rules are in `manifest_rules`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from runtime.recipe import Recipe
from runtime.structure import Structure

__all__ = [
    "SCHEMA",
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
]

SCHEMA = "zeus-edge-bundle/1"


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
    dtype: Literal["float32", "float16", "int64", "bool"]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Network:
    """One network.

    Attributes:
        file: Its ONNX file.
        inputs: Input tensors, batch first.
        outputs: Output tensors.
        multiple_of: Free axes must be divisible by this.
        precision: Of most of its arithmetic, as the file has it.
        weights: File of weights that are too large for the ONNX file; "" where there is none.
    """

    file: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    multiple_of: int
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    weights: str = ""


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
            With a recipe only: `mean_std`: of all voxels, the mean becomes 0 (`low`) and the mean plus one
            standard deviation 1 (`high`). `body_z_score`: the same of the voxels inside what is not 0 in
            any channel, holes filled; the others stay. `min_max`: the smallest voxel becomes `low`, the
            largest `high`. There `z_score` goes by values that are 0, stored so or not.
        low: See above.
        high: See above.
        clamp: Smallest and largest value after normalisation.
        required: Whether a study without it is refused.
    """

    modality: Literal["T1", "T1c", "T2", "FLAIR", "CT"]
    normalisation: Literal[
        "window", "foreground_mean", "z_score", "percentile", "mean_std", "body_z_score", "min_max"
    ]
    low: float
    high: float
    clamp: tuple[float, float]
    required: bool = False


@dataclass(frozen=True)
class ModelGrid:
    """The grid the encoder sees: axes R, A, S; voxel size; tiles and their overlap.

    With a recipe: its axes; a spacing of 0 is the scan's own; every tile has just this size.
    """

    spacing_mm: tuple[float, float, float]
    tile_voxels: tuple[int, int, int]
    overlap: float


@dataclass(frozen=True)
class Target:
    """What one mask vector stands for; `structure` "" is the background.

    In a bundle with instructions all others are empty, with bias 0: they are decoded for each study.
    In one with a recipe all may be empty, with bias 0: the network then answers with scores.
    """

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
    """A small input and the features the FP32 network gave, to prove an engine by; perhaps a study, too.

    Attributes:
        image: float16 `.npy`, (1, channels, I, J, K).
        features: float16 `.npy`, (1, features, I, J, K).
        tolerance: Largest absolute difference an FP32 engine may have.
        study: Modality to a NIfTI file: what masks of other engines and precisions are compared on.
    """

    image: str
    features: str
    tolerance: float
    study: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TextEncoder:
    """What turns an instruction into one condition vector.

    Attributes:
        network: ids (1, L) int64, 0 being padding, to condition (1, C) float32 of length 1.
        tokenizer: File of the `tokenizers` library.
        most_tokens: Largest L; what is longer is cut.
    """

    network: Network
    tokenizer: str
    most_tokens: int


@dataclass(frozen=True)
class Instructions:
    """What a bundle needs to be told in words what to segment.

    The encoder then has a second output, `bottom` (1, B, I/m, J/m, K/m), m its `multiple_of`.

    Attributes:
        decoder: bottom, condition (1, M, T, C) and present (1, M) bool to vectors (1, T, F), biases (1, T)
            and presence (1, T), log-odds; M are the bundle's channels.
        text: The text encoder.
        bank: `.npy` float32 (M, len(asked), C) of unit vectors: what stands in for a text.
        asked: What each row of the bank asks for: structures, unions included, and last "", which asks
            for nothing that this bundle can segment.
        least_similarity: Cosine of a text to the nearest row, below which it is unclear.
        least_margin: Lead over the next row, below which it is unclear.
        own_similarity: From here on a clear text's own vector conditions the decoder, below it the row does.
        called: Structure to names that people have for it: a text that names two says so in the report.
    """

    decoder: Network
    text: TextEncoder
    bank: str
    asked: tuple[str, ...]
    least_similarity: float
    least_margin: float
    own_similarity: float
    called: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class FindingWords:
    """What a finding is called ("lesion"), and the structure that it is, a union perhaps ("whole_lesion")."""

    structure: str
    spoken: str


@dataclass(frozen=True)
class Vocabulary:
    """The words that written instructions are made of, and no others. See `runtime/language/sentence.py`.

    Attributes:
        modalities: Modality of every channel to words, e.g. "T1-weighted MRI".
        spoken: Structure to words, e.g. "lateral ventricles"; for all that `visible` and `targets` name.
        visible: Structures that can be called visible, in the order of the bundle.
        targets: Structures and unions that can be asked for, in the order in which they are said.
        finding: What is looked for; None where nothing is.
    """

    modalities: dict[str, str]
    spoken: dict[str, str]
    visible: tuple[str, ...]
    targets: tuple[str, ...]
    finding: FindingWords | None = None


@dataclass(frozen=True)
class WriterModel:
    """A language model that writes an instruction from the views of a series.

    Attributes:
        model: GGUF file.
        vision: views (S, V, H, W) float32, those of `runtime/language/views.py`, to tokens (S, N, E) float32,
            E being the model's width; S and N may be free.
        prompt: UTF-8 file with one "{image}", where the tokens go.
        most_tokens: Of an instruction.
    """

    model: str
    vision: Network
    prompt: str
    most_tokens: int


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
    instructions: Instructions | None = None
    recipe: Recipe | None = None
    vocabulary: Vocabulary | None = None
    writer: WriterModel | None = None
