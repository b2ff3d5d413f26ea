"""The only file that talks to the CUDA driver: one device, its memory, its code."""

from __future__ import annotations

import contextlib
import ctypes
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from numpy.typing import NDArray

from runtime._kernels import Launch
from runtime.cuda.compile import INSTALL
from runtime.errors import DeviceError

__all__ = ["CudaDevice", "CudaMemory", "CudaModule"]

_NAME_BYTES = 256
_USE_CPU = "or use the CPU"


def _driver() -> Any:
    """The module of the driver's calls, initialised.

    Raises:
        DeviceError: The package, the driver or every device is missing.
    """
    try:
        from cuda.bindings import driver
    except ImportError as error:
        raise DeviceError(f"CUDA kernels need the package cuda-bindings; {INSTALL}") from error
    try:
        (status,) = driver.cuInit(0)
    except RuntimeError as error:  # the library is looked for at the first call
        raise DeviceError(
            f"this machine has no NVIDIA driver (libcuda is not found); install one, {_USE_CPU}"
        ) from error
    if int(status) == int(driver.CUresult.CUDA_ERROR_NO_DEVICE):
        raise DeviceError(
            f"no CUDA device is visible; look at nvidia-smi and at CUDA_VISIBLE_DEVICES, {_USE_CPU}"
        )
    _check(driver, (status,), "start the CUDA driver")
    return driver


def _check(driver: Any, answer: tuple[Any, ...], what: str) -> Any:
    """The values of a driver's answer.

    Args:
        driver: The module of the driver's calls.
        answer: Status first.
        what: What was asked for, to end "cannot …".

    Raises:
        DeviceError: The status is an error; keeps its name and number.
    """
    status, *values = answer
    if int(status) != 0:
        _, name = driver.cuGetErrorName(status)
        fix = "close other programs" if "MEMORY" in status.name else "look at the system's log for Xid errors"
        shown = name.decode() if name else status.name
        raise DeviceError(f"CUDA cannot {what} ({shown}, {int(status)}); {fix}, {_USE_CPU}")
    return values[0] if len(values) == 1 else tuple(values)


class CudaDevice:
    """One device, in its primary context, which ONNX Runtime and torch use as well.

    Attributes:
        ordinal: Its number among the visible devices.
        name: What its maker calls it.
        architecture: For example "sm_90".
        driver_version: Newest CUDA the driver knows: 13000 is 13.0.
    """

    def __init__(self, ordinal: int = 0) -> None:
        """Open a device.

        Raises:
            DeviceError: There is no package, driver or device, or it cannot be opened.
        """
        driver = _driver()
        count = _check(driver, driver.cuDeviceGetCount(), "count its devices")
        if not 0 <= ordinal < count:
            raise DeviceError(f"there is no CUDA device {ordinal}; use 0 to {count - 1}, {_USE_CPU}")
        device = _check(driver, driver.cuDeviceGet(ordinal), f"find device {ordinal}")
        name = _check(driver, driver.cuDeviceGetName(_NAME_BYTES, device), "name its device")
        kinds = driver.CUdevice_attribute
        major, minor = (
            _check(driver, driver.cuDeviceGetAttribute(kind, device), "describe its device")
            for kind in (
                kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            )
        )
        self.ordinal = ordinal
        self.name = bytes(name).split(b"\0")[0].decode(errors="replace")
        self.architecture = f"sm_{major}{minor}"
        self.driver_version = int(_check(driver, driver.cuDriverGetVersion(), "tell its version"))
        self._driver = driver
        self._context = _check(driver, driver.cuDevicePrimaryCtxRetain(device), f"open device {ordinal}")
        # Released when nothing that was made on the device is left: those hold this object.
        weakref.finalize(self, driver.cuDevicePrimaryCtxRelease, device).atexit = False

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Make the device this thread's, and give the thread its former one back."""
        self.ask(self._driver.cuCtxPushCurrent, self._context, what="enter its device")
        try:
            yield
        finally:
            self._driver.cuCtxPopCurrent()

    def ask(self, call: Callable[..., Any], *arguments: Any, what: str) -> Any:
        """Call the driver.

        Args:
            call: One of the driver's calls.
            arguments: What it takes.
            what: What is asked for, to end "cannot …".

        Raises:
            DeviceError: The driver refuses.
        """
        return _check(self._driver, call(*arguments), what)

    def allocate(self, size: int) -> CudaMemory:
        """Memory of `size` bytes, not initialised, freed with its last reference.

        Raises:
            DeviceError: There is not so much memory.
        """
        with self.current():
            address = self.ask(self._driver.cuMemAlloc, size, what=f"get {size} bytes of device memory")
        return CudaMemory(self, self._driver.cuMemFree, int(address))

    def write(self, address: int, values: NDArray[Any], stream: int) -> None:
        """Copy a C-contiguous host array to device memory, and wait.

        Raises:
            DeviceError: The device failed.
        """
        copy = self._driver.cuMemcpyHtoDAsync
        with self.current():
            self.ask(copy, address, values.ctypes.data, values.nbytes, stream, what="write device memory")
            self.ask(self._driver.cuStreamSynchronize, stream, what="write device memory")

    def read(self, address: int, values: NDArray[Any], stream: int) -> None:
        """Copy device memory into a C-contiguous host array, and wait for all of the stream before it.

        Raises:
            DeviceError: The device failed, in this copy or in a launch before it.
        """
        copy = self._driver.cuMemcpyDtoHAsync
        with self.current():
            self.ask(copy, values.ctypes.data, address, values.nbytes, stream, what="read device memory")
            self.ask(self._driver.cuStreamSynchronize, stream, what="finish its work")

    def load(self, code: bytes) -> CudaModule:
        """Load machine code for `architecture`.

        Raises:
            DeviceError: The driver refuses it.
        """
        with self.current():
            module = self.ask(self._driver.cuModuleLoadData, code, what="load the kernels")
        return CudaModule(self, self._driver, module)


class CudaMemory:
    """Device memory that is freed with the last reference to it.

    Attributes:
        address: Where it starts.
    """

    def __init__(self, device: CudaDevice, free: Callable[[int], Any], address: int) -> None:
        """Take over memory at an address."""
        self.address = address
        # At exit the driver frees everything itself, and may be gone before Python's finalizers run.
        weakref.finalize(self, _free, device, free, address).atexit = False


def _free(device: CudaDevice, free: Callable[[int], Any], address: int) -> None:
    """Give memory back; waits for launches that may still use it."""
    with contextlib.suppress(DeviceError), device.current():
        free(address)


class CudaModule:
    """Loaded machine code; stays loaded until the process ends."""

    def __init__(self, device: CudaDevice, driver: Any, module: Any) -> None:
        """Take over a loaded module."""
        self._device, self._driver, self._module = device, driver, module
        self._functions: dict[str, Any] = {}

    def launch(self, launch: Launch, stream: int) -> None:
        """Put one launch on a stream; does not wait.

        Args:
            launch: Entry point, shape and argument.
            stream: Handle of the driver; 0 is the legacy default stream.

        Raises:
            DeviceError: The device refuses it, or an earlier launch failed.
        """
        arguments = ctypes.create_string_buffer(launch.arguments, len(launch.arguments))
        pointers = (ctypes.c_void_p * 1)(ctypes.addressof(arguments))  # the driver copies before it returns
        with self._device.current():
            self._device.ask(
                self._driver.cuLaunchKernel, self._function(launch), *launch.grid, *launch.block, 0, stream,
                ctypes.addressof(pointers), 0, what=f"launch {launch.entry}",
            )  # fmt: skip

    def _function(self, launch: Launch) -> Any:
        """An entry point, known to take an argument of the size that C++ packed."""
        if launch.entry not in self._functions:
            ask, driver, what = self._device.ask, self._driver, f"find the kernel {launch.entry}"
            function = ask(driver.cuModuleGetFunction, self._module, launch.entry.encode(), what=what)
            _, size = ask(driver.cuFuncGetParamInfo, function, 0, what=what)
            if size != len(launch.arguments):
                raise DeviceError(
                    f"the kernel {launch.entry} takes {size} bytes and gets {len(launch.arguments)}: "
                    "runtime/_kernels and the CUDA sources are of different versions; build them again"
                )
            self._functions[launch.entry] = function
        return self._functions[launch.entry]
