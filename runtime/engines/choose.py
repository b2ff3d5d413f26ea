"""Choose an engine for a device, and say why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from runtime.engines.engine import Engine, InputRange, NetworkFile

if TYPE_CHECKING:
    from runtime.engines.kinds import EngineKind

__all__ = ["Device", "open_engine"]

Device = Literal["auto", "cpu", "cuda"]


def open_engine(
    network: Path,
    device: Device,
    threads: int,
    weights: Path | None = None,
    precision: str = "fp32",
    kind: EngineKind | None = None,
    inputs: tuple[InputRange, ...] = (),
) -> Engine:
    """Load a network on a device.

    Args:
        network: The ONNX file.
        device: `auto` takes CUDA where it can be used, else the CPU, and says which and why;
            a named device is never replaced by another.
        threads: CPU threads.
        weights: File of weights that are not in it.
        precision: Of its arithmetic, for the report.
        kind: The engine to take, whatever `device` says; none is taken in its place.
        inputs: Shapes that it will be given, for engines that are built for shapes.

    Raises:
        DeviceError: The named device or engine is not there.
        BundleError: The file cannot be loaded.
    """
    from runtime.engines.kinds import KINDS, PROVED
    from runtime.errors import DeviceError

    file = NetworkFile(network, weights, precision, inputs)
    if kind is not None:
        return kind.open(file, threads, f"{kind.name} was asked for")
    if device != "auto":
        named = next(item for item in KINDS if item.name == f"onnxruntime-{device}")
        return named.open(file, threads, f"--device {device} was asked for")
    refusals: list[str] = []
    for item in KINDS[:-1]:
        why_not = item.why_not()
        if why_not is None and item.name not in PROVED:
            why_not = f"{item.name} was not compared with the reference on this device"
        if why_not is None:
            try:
                return item.open(file, threads, "; ".join([f"auto: {_usable(item)}", *refusals]))
            except DeviceError as error:
                why_not = str(error)
        refusals.append(why_not)
    return KINDS[-1].open(file, threads, f"auto: {'; '.join(refusals)}")


def _usable(kind: EngineKind) -> str:
    return "a CUDA device is usable" if kind.device == "cuda" else f"{kind.name} is usable"
