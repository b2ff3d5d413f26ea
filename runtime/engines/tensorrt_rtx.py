"""TensorRT for RTX workstations, a plug-in of ONNX Runtime: builds by itself, on Ampere devices and later."""

from __future__ import annotations

import ctypes
import sys
from importlib.util import find_spec
from typing import Any, Literal

from runtime.engines.engine import Engine, NetworkFile
from runtime.errors import DeviceError, first_line

__all__ = ["TensorRtRtx", "profile_options"]

_MODULE = "onnxruntime_ep_nv_tensorrt_rtx"


class TensorRtRtx:
    """NVIDIA's plug-in `onnxruntime-ep-nv-tensorrt-rtx-cu13`."""

    name = "tensorrt-rtx"
    device: Literal["cpu", "cuda"] = "cuda"

    def why_not(self) -> str | None:
        """Whether the plug-in and the driver's library are there; no device is opened."""
        if _MODULE not in sys.modules and find_spec(_MODULE) is None:
            return "tensorrt-rtx is not installed"
        try:
            ctypes.CDLL("libcuda.so.1")
        except OSError:
            return "tensorrt-rtx is installed, but this machine has no NVIDIA driver"
        return None

    def version(self) -> str:
        """Of the plug-in.

        Raises:
            DeviceError: It is not installed.
        """
        from importlib import metadata

        for name in ("onnxruntime-ep-nv-tensorrt-rtx-cu13", "onnxruntime-ep-nv-tensorrt-rtx-cu12"):
            try:
                return metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
        raise DeviceError("the TensorRT-RTX plug-in is not installed; use another engine, or --device cpu")

    def open(self, network: NetworkFile, threads: int, reason: str) -> Engine:
        """See `EngineKind.open`."""
        from runtime.engines.onnx_runtime import OnnxRuntimeEngine, Plugin

        if why_not := self.why_not():
            raise DeviceError(f"{why_not}; use another engine, or --device cpu")
        module = _imported()
        options = profile_options(network)
        folder = _folder()
        if folder:
            options["nv_runtime_cache_path"] = folder
        plugin = Plugin(self.name, module.get_ep_name(), module.get_library_path(), options, self.version())
        return OnnxRuntimeEngine(network, "cuda", threads, reason, plugin)


def profile_options(network: NetworkFile) -> dict[str, str]:
    """The plug-in's options for the shapes of a network's inputs, as "name:1x5x16,other:1x2".

    Args:
        network: Its `inputs` are told.
    """
    if not network.inputs:
        return {}
    return {
        f"nv_profile_{kind}_shapes": ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in shapes)
        for kind, shapes in (
            ("min", [(item.name, item.smallest) for item in network.inputs]),
            ("opt", [(item.name, item.usual) for item in network.inputs]),
            ("max", [(item.name, item.largest) for item in network.inputs]),
        )
    }


def _imported() -> Any:
    import importlib

    try:
        return importlib.import_module(_MODULE)
    except Exception as error:  # whatever a broken installation raises
        raise DeviceError(
            f"the TensorRT-RTX plug-in cannot be imported ({first_line(error)}); "
            "use another engine, or --device cpu"
        ) from error


def _folder() -> str:
    """Where the plug-in keeps what it has compiled; "" where the user's cache cannot be written."""
    from runtime.user_cache import UserCache

    try:  # only the folder: the plug-in reads, checks and writes its own files there
        return str(UserCache("tensorrt-rtx", "", largest_bytes=0).own_folder())
    except OSError:
        return ""
