"""What the process that builds an engine is told and tells."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.engines.tensorrt.options import BuildOptions

__all__ = ["MOST_BYTES", "Build", "Built", "Event", "Phase", "Refused"]

MOST_BYTES = (1 << 32) - 1
"""Of a network or an engine."""


@dataclass(frozen=True)
class Build:
    """Build an engine.

    Attributes:
        module: Name of the module to build with.
        onnx: The network; sent, and not read again, so that it is the one whose hash is the key.
        weights: Path of its file of weights; "" where it has none.
        options: How to build.
        timing_cache: Of an earlier build.
    """

    module: str
    onnx: bytes
    weights: str
    options: BuildOptions
    timing_cache: bytes


@dataclass(frozen=True)
class Phase:
    """How far it is."""

    name: str
    share: float


@dataclass(frozen=True)
class Built:
    """It is done.

    Attributes:
        engine: For the runtime.
        timing_cache: For the next build.
        version: Of the module.
        seconds: What the build took, without starting Python.
        peak_bytes: Most host memory that the process had.
    """

    engine: bytes
    timing_cache: bytes
    version: str
    seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Refused:
    """It cannot be done; one line that says why."""

    why: str


Event = Phase | Built | Refused
