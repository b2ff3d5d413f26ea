"""Run an ONNX network with ONNX Runtime, on the CPU or a CUDA device."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from runtime.engines.engine import EngineDescription, NetworkFile
from runtime.errors import BundleError, DeviceError, first_line

__all__ = ["OnnxRuntimeEngine", "Plugin", "cuda_is_usable", "library_version"]

_SILENT = 4
"""Only fatal messages: every other one comes as an exception too, and a pipe stays clean."""

_WRONG_FILE = (
    *("InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoModel", "NoSuchFile", "NotImplemented"),
    "ValueError",
)
"""What ONNX Runtime raises when the network is to blame and not the device."""


def cuda_is_usable() -> bool:
    """Whether this ONNX Runtime was built with its CUDA provider."""
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def library_version() -> str:
    """Of ONNX Runtime."""
    import onnxruntime

    return str(onnxruntime.__version__)


@dataclass(frozen=True)
class Plugin:
    """An execution provider that comes as a library of its own.

    Attributes:
        name: Of the engine, for the report.
        provider: What ONNX Runtime calls it.
        library: Path of the library.
        options: Of the provider.
        version: Of the library.
    """

    name: str
    provider: str
    library: str
    options: dict[str, str]
    version: str


class OnnxRuntimeEngine:
    """One ONNX Runtime session.

    Args:
        network: The network.
        device: Where to run.
        threads: CPU threads inside one operator.
        reason: Why this engine was chosen, for the report.
        plugin: What runs the network in place of ONNX Runtime's own; all of it, or it is an error.

    Raises:
        BundleError: The file is not a network this library can load.
        DeviceError: The device is not there.
    """

    def __init__(
        self,
        network: NetworkFile,
        device: Literal["cpu", "cuda"],
        threads: int,
        reason: str,
        plugin: Plugin | None = None,
    ) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _SILENT
        # A network may not read files beside it: they are not in the manifest, so nobody checked them.
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", f"{network.path}.no-other-file"
        )
        held: list[Any] = []  # until the session has copied them
        if network.weights is not None:
            held.append(np.memmap(network.weights, np.uint8, "r"))
            sizes = [held[0].size]
            options.add_external_initializers_from_files_in_memory([network.weights.name], held, sizes)
        options.enable_cpu_mem_arena = False  # the arena keeps every tile's high-water mark for good
        providers = {"cpu": ["CPUExecutionProvider"], "cuda": ["CUDAExecutionProvider"]}[device]
        how: dict[str, Any] = {"providers": providers}
        if plugin is not None:
            _add_plugin(onnxruntime, options, plugin)
            providers, how = [plugin.provider], {}
        elif providers[0] not in onnxruntime.get_available_providers():
            raise DeviceError("this ONNX Runtime has no CUDA; install onnxruntime-gpu or use --device cpu")
        onnxruntime.set_default_logger_severity(_SILENT)
        try:
            # Its own fallback prints to standard output and would hide that the device is not there.
            self._session = onnxruntime.InferenceSession(str(network.path), options, enable_fallback=0, **how)
        except Exception as error:
            if device == "cuda" and type(error).__name__ not in _WRONG_FILE:
                raise DeviceError(f"CUDA cannot be used ({first_line(error)}); use --device cpu") from error
            raise BundleError(
                f"{network.path} cannot be loaded ({first_line(error)}); copy or export the bundle again"
            ) from error
        if self._session.get_providers()[0] != providers[0]:
            raise DeviceError("ONNX Runtime fell back to the CPU: no usable CUDA device; use --device cpu")
        where = "cpu" if device == "cpu" else "cuda:0"
        name, version = f"onnxruntime-{device}", str(onnxruntime.__version__)
        if plugin is not None:
            name, version = plugin.name, f"{plugin.version} (ONNX Runtime {version})"
        self._description = EngineDescription(name, where, network.precision, version, reason)

    @property
    def description(self) -> EngineDescription:
        """What runs."""
        return self._description

    def run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the network once.

        Args:
            inputs: Array of every input by name, of the declared shape and type.

        Raises:
            DeviceError: The device failed or is out of memory.
            BundleError: The network has other inputs.
        """
        names = [output.name for output in self._session.get_outputs()]
        try:
            results = self._session.run(names, inputs)
        except Exception as error:
            if type(error).__name__ in _WRONG_FILE:
                raise BundleError(
                    f"the network does not fit its manifest ({first_line(error)}); export the bundle again"
                ) from error
            raise DeviceError(
                f"the network failed on {self._description.device} ({first_line(error)}); "
                "close other programs or use another --device"
            ) from error
        return dict(zip(names, results, strict=True))

    def __enter__(self) -> OnnxRuntimeEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._session


def _add_plugin(onnxruntime: Any, options: Any, plugin: Plugin) -> None:
    """Let a session run with a provider's library, and with nothing else.

    Raises:
        DeviceError: The library cannot be loaded, or finds no device.
    """
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        if not any(item.ep_name == plugin.provider for item in onnxruntime.get_ep_devices()):
            onnxruntime.register_execution_provider_library(plugin.provider, plugin.library)
        devices = [item for item in onnxruntime.get_ep_devices() if item.ep_name == plugin.provider]
        if devices:
            options.add_provider_for_devices(devices[:1], plugin.options)
    except Exception as error:
        raise DeviceError(
            f"{plugin.name} cannot be used ({first_line(error)}); use another engine, or --device cpu"
        ) from error
    if not devices:
        raise DeviceError(f"{plugin.name} finds no device that it can use; use --device cpu")
