"""Find the CUDA driver and open one device of it; the only file that imports the driver's package."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any

from runtime.cuda.compile import INSTALL
from runtime.errors import DeviceError

__all__ = ["CudaDevice", "identify"]

_NAME_BYTES = 256
_MOST_BYTES = (1 << 64) - 1
_USE_CPU = "or use the CPU"
_FIXES = {
    "MEMORY": "close other programs",
    "CAPTURE": "keep every other use of the stream out of what is recorded, or do not record it",
}
"""What helps, by a word in the status's name."""

_NO_FIX = "look at the system's log for Xid errors"


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
    """The values of a driver's answer: None, one of them, or a tuple.

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
        fix = next((fix for word, fix in _FIXES.items() if word in status.name), _NO_FIX)
        shown = name.decode() if name else status.name
        raise DeviceError(f"CUDA cannot {what} ({shown}, {int(status)}); {fix}, {_USE_CPU}")
    return values[0] if len(values) == 1 else tuple(values) or None


class CudaDevice:
    """One device, in its primary context, which ONNX Runtime and torch use as well.

    Attributes:
        ordinal: Its number among the visible devices.
        name: What its maker calls it.
        architecture: For example "sm_90".
        driver_version: Newest CUDA the driver knows: 13000 is 13.0.
        integrated: Whether it shares the host's memory chips, so that copies to it can be left out.
        pool: Where stream-ordered memory comes from; None where the device has no such pools.
        driver: The module of the driver's calls, for its constants.
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
        major, minor, integrated, has_pools = (
            int(_check(driver, driver.cuDeviceGetAttribute(kind, device), "describe its device"))
            for kind in (
                kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
                kinds.CU_DEVICE_ATTRIBUTE_INTEGRATED,
                kinds.CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED,
            )
        )
        self.ordinal = ordinal
        self.name = bytes(name).split(b"\0")[0].decode(errors="replace")
        self.architecture = f"sm_{major}{minor}"
        self.integrated = bool(integrated)
        self.driver_version = int(_check(driver, driver.cuDriverGetVersion(), "tell its version"))
        self.driver = driver
        self._context = _check(driver, driver.cuDevicePrimaryCtxRetain(device), f"open device {ordinal}")
        # Released when nothing that was made on the device is left: those hold this object.
        weakref.finalize(self, driver.cuDevicePrimaryCtxRelease, device).atexit = False
        self.pool = self._new_pool() if has_pools else None

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Make the device this thread's, and give the thread its former one back."""
        _check(self.driver, self.driver.cuCtxPushCurrent(self._context), "enter its device")
        try:
            yield
        finally:
            self.driver.cuCtxPopCurrent()

    def call(self, name: str, *arguments: Any, what: str) -> Any:
        """Call the driver with this device current.

        Args:
            name: One of the driver's calls.
            arguments: What it takes.
            what: What is asked for, to end "cannot …".

        Returns:
            The values after the status: None, one of them, or a tuple.

        Raises:
            DeviceError: The driver refuses; keeps the status's name and number.
        """
        with self.current():
            return _check(self.driver, getattr(self.driver, name)(*arguments), what)

    def _new_pool(self) -> Any:
        """A pool of this object alone, so that no setting of the process is touched.

        It keeps what is freed for the next study; all of it goes back with this object.
        """
        driver, properties = self.driver, self.driver.CUmemPoolProps()
        properties.allocType = driver.CUmemAllocationType.CU_MEM_ALLOCATION_TYPE_PINNED
        properties.location.type = driver.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
        properties.location.id = self.ordinal
        pool = self.call("cuMemPoolCreate", properties, what="make a pool of device memory")
        # Runs before the context is released: the finalizer that was made last is called first.
        weakref.finalize(self, driver.cuMemPoolDestroy, pool).atexit = False
        threshold = driver.CUmemPool_attribute.CU_MEMPOOL_ATTR_RELEASE_THRESHOLD
        most = driver.cuuint64_t(_MOST_BYTES)
        self.call("cuMemPoolSetAttribute", pool, threshold, most, what="set up a pool of device memory")
        return pool


def identify(ordinal: int = 0) -> tuple[str, str]:
    """What a device is called and its compute capability ("9.0"); no context is opened.

    Raises:
        DeviceError: There is no package, driver or device.
    """
    driver = _driver()
    device = _check(driver, driver.cuDeviceGet(ordinal), f"find device {ordinal}")
    name = _check(driver, driver.cuDeviceGetName(_NAME_BYTES, device), "name its device")
    kinds = driver.CUdevice_attribute
    major, minor = (
        int(_check(driver, driver.cuDeviceGetAttribute(kind, device), "describe its device"))
        for kind in (
            kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
            kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
        )
    )
    return bytes(name).split(b"\0")[0].decode(errors="replace"), f"{major}.{minor}"
