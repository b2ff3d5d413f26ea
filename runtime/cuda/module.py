"""Machine code that is loaded on a device, and its launches."""

from __future__ import annotations

import ctypes
from typing import Any

from runtime._kernels import Launch
from runtime.cuda.driver import CudaDevice
from runtime.cuda.stream import CudaStream
from runtime.errors import DeviceError

__all__ = ["CudaModule"]


class CudaModule:
    """Loaded machine code; stays loaded until the process ends."""

    def __init__(self, device: CudaDevice, code: bytes) -> None:
        """Load machine code for the device's architecture.

        Raises:
            DeviceError: The driver refuses it.
        """
        self._device = device
        self._module = device.call("cuModuleLoadData", code, what="load the kernels")
        self._functions: dict[str, Any] = {}

    def launch(self, launch: Launch, stream: CudaStream) -> None:
        """Put one launch on a stream; does not wait.

        Args:
            launch: Entry point, shape and argument.
            stream: Of the same device.

        Raises:
            DeviceError: The device refuses it, or an earlier launch failed.
        """
        arguments = ctypes.create_string_buffer(launch.arguments, len(launch.arguments))
        pointers = (ctypes.c_void_p * 1)(ctypes.addressof(arguments))  # the driver copies before it returns
        self._device.call(
            "cuLaunchKernel", self._function(launch), *launch.grid, *launch.block, 0, stream.handle,
            ctypes.addressof(pointers), 0, what=f"launch {launch.entry}",
        )  # fmt: skip

    def _function(self, launch: Launch) -> Any:
        """An entry point, known to take an argument of the size that C++ packed."""
        if launch.entry not in self._functions:
            call, what = self._device.call, f"find the kernel {launch.entry}"
            function = call("cuModuleGetFunction", self._module, launch.entry.encode(), what=what)
            _, size = call("cuFuncGetParamInfo", function, 0, what=what)
            if size != len(launch.arguments):
                raise DeviceError(
                    f"the kernel {launch.entry} takes {size} bytes and gets {len(launch.arguments)}: "
                    "runtime/_kernels and the CUDA sources are of different versions; build them again"
                )
            self._functions[launch.entry] = function
        return self._functions[launch.entry]
