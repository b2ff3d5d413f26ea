"""What a result says about itself: every decision, assumption, figure and hash."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from runtime.ranges import profiler_range
from runtime.version import PRODUCT, RESEARCH_USE, __version__

__all__ = [
    "ChannelReport",
    "Clock",
    "InstructionReport",
    "LanguageReport",
    "OutputReport",
    "RegistrationReport",
    "Report",
    "StructureReport",
    "WrittenReport",
    "library_versions",
    "machine",
    "peak_bytes",
]

SCHEMA = "zeus-edge-report/1"
_LIBRARIES = {
    **{name: name for name in ("numpy", "onnxruntime", "pydicom", "nibabel", "highdicom", "SimpleITK")},
    "PIL": "pillow",
}
"""Import name to what people call it."""


@dataclass(frozen=True)
class RegistrationReport:
    """How a channel was brought into the reference's coordinates.

    Attributes:
        method: "same frame of reference", "identity (the reference)" or the registration's name.
        residual_mm: Estimated error of the registration; 0 where none was needed.
        limit_mm: The gate; beyond it the channel is dropped.
        reference_to_channel: (4, 4) RAS+ of the reference to RAS+ of the channel.
    """

    method: str
    residual_mm: float
    limit_mm: float
    reference_to_channel: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class ChannelReport:
    """One series and what became of it."""

    modality: str
    series: str
    reason: str
    certain: bool
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    is_reference: bool
    used: bool
    registration: RegistrationReport
    gain: float


@dataclass(frozen=True)
class StructureReport:
    """One structure: label value (0 for a union), codes, volume and border contact.

    `presence`: the network's probability that the study shows it (or a part); None where targets are fixed.
    """

    name: str
    value: int
    code: str
    meaning: str
    voxels: int
    volume_ml: float
    touches_border: bool
    presence: float | None = None


@dataclass(frozen=True)
class InstructionReport:
    """One instruction and what it was taken for.

    Attributes:
        text: As it was given. A person typed it, so it may hold patient data: it is written to
            `report.json` and nowhere else, neither to a log, nor to an error, nor into DICOM.
        target: The structure it asks for; "" is nothing that the bundle can segment.
        similarity: Cosine to the bank's vector of that, -1…1.
        runner_up: The next nearest, no part and no union of it.
        margin: How much less similar that is.
        source: What answers it: the vector of a text ("text") or the bank's ("bank").
        presence: The network's probability that the study shows what it asks for, 0…1.
        notes: What was assumed.
        author: A person ("user"), or a language model ("llm"): then the text is of the bundle's own words.
        number: Of the instruction; a list of names has a report for each.
    """

    text: str
    target: str
    similarity: float
    runner_up: str
    margin: float
    source: Literal["text", "bank"]
    presence: float
    notes: tuple[str, ...] = ()
    author: Literal["user", "llm"] = "user"
    number: int = 1

    @property
    def line(self) -> str:
        """What became of it, for people; without the text, which is for the report alone."""
        who = f"instruction {self.number}" if self.author == "user" else "the language model"
        what = self.target or "nothing of this bundle"
        return f"{who} asks for {what}: presence {self.presence:.2f}, by the {self.source}"


@dataclass(frozen=True)
class WrittenReport:
    """What was written about one series; only words of the bundle's vocabulary.

    Attributes:
        modality: Of the series.
        text: The instruction that counts.
        author: Who wrote that: the language model ("llm") or the rule ("rule").
        rule_text: The rule's.
        llm_text: The language model's; None where it gave none.
        contradictions: Where both contradict each other, in words; then the rule's counts.
        confidence: Share of the compared fields that agree, 0…1; None where there was nothing to compare.
        model_sha256: Of the language model; "" without its answer, as all below.
        seed: Of its sampling.
        tokens: That it wrote.
        seconds: That it took, the first time.
        is_kept: Whether it was kept from an earlier time.
    """

    modality: str
    text: str
    author: Literal["llm", "rule"]
    rule_text: str
    llm_text: str | None
    contradictions: tuple[str, ...]
    confidence: float | None
    model_sha256: str = ""
    seed: int = 0
    tokens: int = 0
    seconds: float = 0.0
    is_kept: bool = False


@dataclass(frozen=True)
class LanguageReport:
    """The instructions of a study, and what the mask took of them.

    Attributes:
        model: File name of the language model; "" without one.
        reason: Why that.
        written: About each series.
        conditions: Target that was written to what asked for it in the mask: the text's vector or the bank's.
            Empty where a bundle's targets are fixed, and where masks were begun before anything was written.
    """

    model: str
    reason: str
    written: tuple[WrittenReport, ...]
    conditions: dict[str, Literal["text", "bank"]] = field(default_factory=dict)

    def caption(self, modality: str) -> str:
        """Who wrote what about a series; "" where nothing was written."""
        lines = [f"{item.author}: {item.text}" for item in self.written if item.modality == modality]
        return lines[0] if lines else ""


@dataclass(frozen=True)
class OutputReport:
    """One written file."""

    file: str
    bytes: int
    sha256: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """The whole of `report.json`: no patient data but series' UIDs, file names and texts of instructions.

    Attributes:
        warnings: What a reader must know before using the masks.
        assumptions: What was decided about the input, and what was left out.
        seconds: Wall time of each stage.
        peak_bytes: Largest resident memory of the process so far.
    """

    model: dict[str, str]
    engine: dict[str, str]
    kernels: str
    threads: int
    machine: dict[str, str]
    channels: tuple[ChannelReport, ...]
    structures: tuple[StructureReport, ...]
    warnings: tuple[str, ...]
    assumptions: tuple[str, ...]
    seconds: dict[str, float]
    peak_bytes: int
    model_grid: dict[str, Any]
    created: str
    versions: dict[str, str] = field(default_factory=dict)
    outputs: tuple[OutputReport, ...] = ()
    instructions: tuple[InstructionReport, ...] = ()
    language: LanguageReport | None = None
    schema: str = SCHEMA
    product: str = PRODUCT
    product_version: str = __version__
    use: str = RESEARCH_USE

    @property
    def answers(self) -> tuple[str, ...]:
        """What was asked for and whose vectors answer, in lines for people; none where targets are fixed."""
        lines = [item.line for item in self.instructions]
        written = {} if self.language is None else self.language.conditions
        if names := [name for name, source in written.items() if source == "bank"]:
            lines.append(f"the language model asks for {', '.join(names)}: by the bank")
        if not lines and any(item.presence is not None for item in self.structures):
            lines.append("no instruction was given: every target by the bank")
        return tuple(lines)

    def to_json(self) -> str:
        """The text of `report.json`."""
        text = json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        return text.encode("utf-8", "replace").decode()  # a file name need not be valid Unicode


class Clock:
    """Wall time of named stages; a stage that runs twice adds up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._started = time.perf_counter()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the body of a `with` block; a profiler sees it by the same name."""
        with profiler_range(name):
            started = time.perf_counter()
            try:
                yield
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    def total(self) -> float:
        """Seconds since the clock was made."""
        return time.perf_counter() - self._started


def peak_bytes() -> int:
    """Largest resident set of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def machine() -> dict[str, str]:
    """Processor, usable CPUs, operating system and Python."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        model = names[0] if names else model
    except OSError:
        pass
    return {
        "processor": model,
        "usable_cpus": str(len(os.sched_getaffinity(0))),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }


def library_versions() -> dict[str, str]:
    """Versions of the libraries that are loaded in this process.

    Asked of the modules themselves: ONNX Runtime comes from distributions of several names.
    """
    return {
        called: str(getattr(sys.modules[name], "__version__", "unknown"))
        for name, called in _LIBRARIES.items()
        if name in sys.modules
    }
