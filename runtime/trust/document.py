"""The passport: what was compared on a device, with what outcome; the nouns of its JSON file."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal

from runtime.errors import DeviceError
from runtime.schema import SchemaError, build

__all__ = [
    "SCHEMA",
    "BundleFacts",
    "CaseResult",
    "CudaFacts",
    "DeviceFacts",
    "Entry",
    "FileFacts",
    "Passport",
    "Precision",
    "StructureMatch",
    "Try",
    "canonical",
    "decode_document",
    "passport_of",
]

SCHEMA = "zeus-edge-passport/1"

Precision = Literal["fp32", "fp16", "int8"]


@dataclass(frozen=True)
class CudaFacts:
    """A CUDA device, and the driver's version as its maker writes it."""

    name: str
    compute_capability: str
    driver: str


@dataclass(frozen=True)
class DeviceFacts:
    """The device a passport is for.

    Attributes:
        processor: Model of the CPU.
        instruction_sets: Those that arithmetic may use.
        cores: CPUs that were usable; a note, not a condition: it changes seconds, not masks.
        power_mode: Of `nvpmodel`, or the CPU's governor; "" where unknown. A note too.
        cuda: None where no engine of the passport runs on a CUDA device.
    """

    processor: str
    instruction_sets: tuple[str, ...]
    cores: int
    power_mode: str
    cuda: CudaFacts | None = None


@dataclass(frozen=True)
class BundleFacts:
    """The bundle a passport is for."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True)
class FileFacts:
    """One file that an engine was made of.

    Attributes:
        role: Which network of the bundle.
        place: Whose file `name` is: the bundle's, or one of the user's cache, with its folder there.
        name: Path below that.
        sha256: Of the file.
    """

    role: Literal["encoder", "decoder"]
    place: Literal["bundle", "cache"]
    name: str
    sha256: str


@dataclass(frozen=True)
class StructureMatch:
    """One structure beside the reference's; None where the figure has no meaning (a side is empty)."""

    structure: str
    dice: float
    hd95_mm: float | None
    volume_difference_percent: float | None
    reference_ml: float


@dataclass(frozen=True)
class CaseResult:
    """One golden case.

    Attributes:
        case: "tile", or "study" and its number; nothing that says whose it is.
        error: Largest difference of a score; None where scores were not compared (studies).
        relative_error: The same over the largest score of the reference.
        structures: Those that either side has.
    """

    case: str
    error: float | None
    relative_error: float | None
    structures: tuple[StructureMatch, ...]


@dataclass(frozen=True)
class Try:
    """One attempt at a lower precision: how many nodes stayed in FP32, and what came of it."""

    kept: int
    passed: bool
    reason: str


@dataclass(frozen=True)
class Entry:
    """One engine at one precision.

    Attributes:
        engine: Name of its kind.
        device: Where that runs.
        precision: Of the encoder; the decoder always is FP32.
        library_version: Of the engine.
        verdict: "reference" is what the others are compared with.
        reason: Why.
        files: Networks and engines, by what they were when they were compared.
        kept_nodes: Nodes of the encoder that had to stay in FP32, beside those that always do.
        tries: How these were found.
        build_seconds: Of making the network in this precision, all tries; 0 where it was made before.
        load_seconds: Of opening the engine, building it included.
        latency_seconds: Median of the golden tile, warm; 0 where it did not run.
        peak_bytes: Largest resident memory of the host while it ran.
        least_dice: The limit for each structure.
        most_relative_error: The limit for scores of the tile; None for lower precisions.
        cases: What was compared.
    """

    engine: str
    device: str
    precision: Precision
    library_version: str
    verdict: Literal["reference", "passed", "failed", "not tried"]
    reason: str
    files: tuple[FileFacts, ...] = ()
    kept_nodes: tuple[str, ...] = ()
    tries: tuple[Try, ...] = ()
    build_seconds: float = 0.0
    load_seconds: float = 0.0
    latency_seconds: float = 0.0
    peak_bytes: int = 0
    least_dice: float = 0.0
    most_relative_error: float | None = None
    cases: tuple[CaseResult, ...] = ()

    @property
    def is_qualified(self) -> bool:
        """Whether it may run."""
        return self.verdict in ("reference", "passed")


@dataclass(frozen=True)
class Passport:
    """The whole file but for its signature: no patient data, not even names of golden studies.

    Attributes:
        libraries: Version of each library that took part, by name.
        entries: In the order in which they were tried.
        issued: UTC.
        public_key: Ed25519, of whoever signed it, 64 hexadecimal digits.
    """

    bundle: BundleFacts
    device: DeviceFacts
    libraries: dict[str, str]
    entries: tuple[Entry, ...]
    issued: str
    product_version: str
    public_key: str
    schema: str = SCHEMA

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        made: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self), allow_nan=False))
        return made


def canonical(document: dict[str, Any]) -> bytes:
    """The bytes that are signed: keys sorted, nothing between, ASCII."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def decode_document(text: bytes) -> dict[str, Any]:
    """JSON of a passport's file.

    Raises:
        ValueError: It is no JSON object, or a key appears twice.
    """
    try:
        document = json.loads(text, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(document, dict):
        raise ValueError("not an object")
    return document


def passport_of(document: dict[str, Any]) -> Passport:
    """The passport of a decoded file without its signature.

    Raises:
        DeviceError: It is of another schema, or not what the schema says.
    """
    schema = document.get("schema")
    if schema != SCHEMA:
        raise DeviceError(f"the passport has schema {str(schema)[:80]!r}, this version reads {SCHEMA!r}")
    try:
        return build(Passport, document)
    except (SchemaError, RecursionError) as error:
        raise DeviceError(f"the passport is damaged ({error})") from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return made
