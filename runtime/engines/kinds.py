"""The kinds of engine there are, in the order of preference; a list, so that choosing one is data."""

from __future__ import annotations

from typing import Literal, Protocol

from runtime.engines.engine import Engine, NetworkFile
from runtime.engines.openvino_cpu import OpenVinoCpu
from runtime.engines.tensorrt.kind import TensorRt
from runtime.engines.tensorrt_rtx import TensorRtRtx

__all__ = ["KINDS", "PROVED", "EngineKind", "OnnxRuntimeCpu", "OnnxRuntimeCuda"]


class EngineKind(Protocol):
    """One way to run networks."""

    @property
    def name(self) -> str:
        """For reports and passports: "tensorrt", "onnxruntime-cpu", …."""
        ...

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """Where it runs."""
        ...

    def why_not(self) -> str | None:
        """Why it cannot be used on this machine, in one line; None where it seems that it can.

        Cheap: no device is opened and no library loaded that a look at the installed packages can rule out.
        """
        ...

    def version(self) -> str:
        """Of its library.

        Raises:
            DeviceError: The library is not installed.
        """
        ...

    def open(self, network: NetworkFile, threads: int, reason: str) -> Engine:
        """Load a network.

        Args:
            network: The network.
            threads: CPU threads, where it uses some.
            reason: Why this kind was chosen, for the report.

        Raises:
            DeviceError: The library or the device is not there, or failed.
            BundleError: The file cannot be loaded.
        """
        ...


class OnnxRuntimeCpu:
    """ONNX Runtime on the CPU, which every installation has: with FP32, what others are compared with."""

    name = "onnxruntime-cpu"
    device: Literal["cpu", "cuda"] = "cpu"

    def why_not(self) -> str | None:
        """Nothing: it is a dependency."""
        return None

    def version(self) -> str:
        """Of ONNX Runtime."""
        return _onnx_runtime_version()

    def open(self, network: NetworkFile, threads: int, reason: str) -> Engine:
        """See `EngineKind.open`."""
        from runtime.engines.onnx_runtime import OnnxRuntimeEngine

        return OnnxRuntimeEngine(network, "cpu", threads, reason)


class OnnxRuntimeCuda:
    """ONNX Runtime's CUDA provider."""

    name = "onnxruntime-cuda"
    device: Literal["cpu", "cuda"] = "cuda"

    def why_not(self) -> str | None:
        """Whether this ONNX Runtime was built with the provider; a device is only tried by `open`."""
        from runtime.engines.onnx_runtime import cuda_is_usable

        return None if cuda_is_usable() else "this ONNX Runtime has no CUDA provider"

    def version(self) -> str:
        """Of ONNX Runtime."""
        return _onnx_runtime_version()

    def open(self, network: NetworkFile, threads: int, reason: str) -> Engine:
        """See `EngineKind.open`."""
        from runtime.engines.onnx_runtime import OnnxRuntimeEngine

        return OnnxRuntimeEngine(network, "cuda", threads, reason)


KINDS: tuple[EngineKind, ...] = (
    TensorRt(),
    TensorRtRtx(),
    OnnxRuntimeCuda(),
    OpenVinoCpu(),
    OnnxRuntimeCpu(),
)
"""In the order in which `auto` walks."""

PROVED = frozenset({OnnxRuntimeCuda.name, OnnxRuntimeCpu.name})
"""What `auto` takes unasked. The others choose their own arithmetic, and half-precision engines are known to
give black masks: they run where somebody compared them with the reference on the device, and names them."""


def _onnx_runtime_version() -> str:
    from runtime.engines.onnx_runtime import library_version

    return library_version()
