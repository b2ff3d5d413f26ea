"""Choose an engine for a device, and say why."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from runtime.engines.engine import Engine

__all__ = ["Device", "open_engine"]

Device = Literal["auto", "cpu", "cuda"]


def open_engine(
    network: Path, device: Device, threads: int, weights: Path | None = None, precision: str = "fp32"
) -> Engine:
    """Load a network on a device.

    Args:
        network: The ONNX file.
        device: `auto` takes CUDA where it can be used, else the CPU, and says which and why;
            a named device is never replaced by another.
        threads: CPU threads.
        weights: File of weights that are not in it.
        precision: Of its arithmetic, for the report.

    Raises:
        DeviceError: The named device is not there.
        BundleError: The file cannot be loaded.
    """
    from runtime.engines.onnx_runtime import NetworkFile, OnnxRuntimeEngine, cuda_is_usable
    from runtime.errors import DeviceError

    file = NetworkFile(network, weights, precision)
    if device != "auto":
        return OnnxRuntimeEngine(file, device, threads, f"--device {device} was asked for")
    if not cuda_is_usable():
        return OnnxRuntimeEngine(file, "cpu", threads, "auto: this ONNX Runtime has no CUDA provider")
    try:
        return OnnxRuntimeEngine(file, "cuda", threads, "auto: a CUDA device is usable")
    except DeviceError as error:
        return OnnxRuntimeEngine(file, "cpu", threads, f"auto: {error}")
