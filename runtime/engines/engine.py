"""What every engine is: open, describe, run, close."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from numpy.typing import NDArray

__all__ = ["Engine", "EngineDescription", "InputRange", "NetworkFile"]


@dataclass(frozen=True)
class InputRange:
    """The shapes that one input may have; for engines that are built for shapes.

    Attributes:
        name: Of the input.
        smallest: Shape.
        usual: Shape that should be fastest, between the other two along each axis.
        largest: Shape.
    """

    name: str
    smallest: tuple[int, ...]
    usual: tuple[int, ...]
    largest: tuple[int, ...]


@dataclass(frozen=True)
class NetworkFile:
    """A network as a bundle has it.

    Attributes:
        path: The ONNX file.
        weights: File of weights that did not fit into it.
        precision: Of its arithmetic.
        inputs: Shapes of every input with a free axis; empty where nobody told.
    """

    path: Path
    weights: Path | None = None
    precision: str = "fp32"
    inputs: tuple[InputRange, ...] = ()


@dataclass(frozen=True)
class EngineDescription:
    """What runs a network, for the report.

    Attributes:
        name: Engine, e.g. "onnxruntime-cpu".
        device: "cpu" or "cuda:0".
        precision: Arithmetic, e.g. "fp32".
        version: Library version.
        reason: Why this engine and not another.
        file: Of an engine that was built: its folder and name in the user's cache; "" without one.
    """

    name: str
    device: str
    precision: str
    version: str
    reason: str
    file: str = ""


class Engine(Protocol):
    """A loaded network; a context manager that frees it."""

    @property
    def description(self) -> EngineDescription:
        """What runs."""
        ...

    def run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the network once.

        Raises:
            DeviceError: The device failed or is out of memory.
            BundleError: The network has other inputs.
        """
        ...

    def __enter__(self) -> Engine: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
