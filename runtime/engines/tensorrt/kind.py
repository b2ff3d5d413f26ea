"""TensorRT as a kind of engine: found, built once for this device, kept, and run."""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from runtime.bundle import file_sha256
from runtime.engines.engine import Engine, EngineDescription, NetworkFile
from runtime.errors import BundleError, DeviceError, first_line

if TYPE_CHECKING:
    from runtime.cuda.driver import CudaDevice
    from runtime.engines.cache import EngineFacts, KeptEngine
    from runtime.engines.tensorrt.options import BuildLimits, BuildOptions

__all__ = ["TensorRt"]

_DRIVER_FILES = (Path("/proc/driver/nvidia/version"), Path("/etc/nv_tegra_release"))
"""Where a workstation's driver and a Jetson's say what they are."""


class TensorRt:
    """NVIDIA's TensorRT.

    Args:
        module: The Python module; another one in tests.
        progress: Told the phase of a build and its finished share.
        limits: What a build may take.
    """

    name = "tensorrt"
    device: Literal["cpu", "cuda"] = "cuda"

    def __init__(
        self,
        module: str = "tensorrt",
        progress: Callable[[str, float], None] | None = None,
        limits: BuildLimits | None = None,
    ) -> None:
        self._module, self._progress, self._limits = module, progress, limits

    def why_not(self) -> str | None:
        """Whether the module and the driver's library are there; no device is opened."""
        if self._module not in sys.modules and find_spec(self._module) is None:
            return f"{self._module} is not installed"
        try:
            ctypes.CDLL("libcuda.so.1")
        except OSError:
            return f"{self._module} is installed, but this machine has no NVIDIA driver"
        return None

    def version(self) -> str:
        """Of TensorRT.

        Raises:
            DeviceError: It is not installed, or cannot be imported.
        """
        return str(self._imported().__version__)

    def open(self, network: NetworkFile, threads: int, reason: str) -> Engine:
        """Load a network; the first time on a device it is built, which takes minutes.

        Args:
            network: The network.
            threads: Of no meaning here.
            reason: Why this kind was chosen.

        Raises:
            DeviceError: TensorRT or the device is not there, refuses the network, or failed.
            BundleError: The file cannot be read.
        """
        from runtime.cuda.driver import CudaDevice
        from runtime.engines.cache import kept_or_built
        from runtime.engines.tensorrt.options import BuildLimits, BuildOptions
        from runtime.engines.tensorrt.run import EngineRefusedError, TensorRtEngine

        module, device = self._imported(), CudaDevice()
        options, limits = BuildOptions(network.inputs), self._limits or BuildLimits()
        onnx, facts = self._facts(network, module, device, options)

        def build() -> bytes:
            return self._build(onnx, network, facts, options, limits)

        kept = kept_or_built(facts, build, limits.time_s)
        about = EngineDescription(
            self.name, f"cuda:{device.ordinal}", network.precision, str(module.__version__), reason
        )
        try:
            return TensorRtEngine(module, kept.engine, device, _with(about, kept))
        except EngineRefusedError:
            if not kept.was_kept:
                raise
        kept = kept_or_built(facts, build, limits.time_s, renew=True)
        return TensorRtEngine(module, kept.engine, device, _with(about, kept))

    def _imported(self) -> Any:
        try:
            return importlib.import_module(self._module)
        except Exception as error:  # whatever a broken installation raises
            raise DeviceError(
                f"{self._module} cannot be imported ({first_line(error)}); "
                "install TensorRT, or use --device cpu"
            ) from error

    def _facts(
        self, network: NetworkFile, module: Any, device: CudaDevice, options: BuildOptions
    ) -> tuple[bytes, EngineFacts]:
        """The network, and what an engine of it depends on."""
        from runtime.engines.cache import EngineFacts

        try:
            onnx = network.path.read_bytes()
            weights = "" if network.weights is None else file_sha256(network.weights)
        except OSError as error:
            raise BundleError(
                f"{error.filename} cannot be read ({error.strerror}); copy or export the bundle again"
            ) from error
        return onnx, EngineFacts(
            network=hashlib.sha256(onnx).hexdigest(),
            weights=weights,
            library=f"{self._module} {module.__version__}",
            device=device.name,
            architecture=device.architecture,
            driver=_driver_text(device),
            options=json.dumps(asdict(options), sort_keys=True),
        )

    def _build(
        self,
        onnx: bytes,
        network: NetworkFile,
        facts: EngineFacts,
        options: BuildOptions,
        limits: BuildLimits,
    ) -> bytes:
        from runtime.engines.cache import TIMINGS
        from runtime.engines.tensorrt.build_messages import Build
        from runtime.engines.tensorrt.builder import build_in_process

        weights = "" if network.weights is None else str(network.weights.absolute())
        measured_on = [facts.library, facts.device, facts.architecture, facts.driver]
        name = hashlib.sha256(json.dumps(measured_on).encode()).hexdigest()
        request = Build(self._module, onnx, weights, options, TIMINGS.load(name) or b"")
        made = build_in_process(request, limits, self._progress)
        if made.timing_cache:
            with suppress(OSError):
                TIMINGS.save(name, made.timing_cache)
        return made.engine


def _with(about: EngineDescription, kept: KeptEngine) -> EngineDescription:
    file = "" if kept.path is None else f"{kept.path.parent.name}/{kept.path.name}"
    return replace(about, reason=f"{about.reason}; {kept.origin}", file=file)


def _driver_text(device: CudaDevice) -> str:
    """The driver's version: of CUDA by its own call, of itself where the system tells it."""
    texts = [str(device.driver_version)]
    for path in _DRIVER_FILES:
        with suppress(OSError):
            texts.append(path.read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip())
    return "; ".join(texts)
