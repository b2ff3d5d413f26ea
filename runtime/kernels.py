"""Choose the voxel kernels once, and pass the choice along as data."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from runtime import _kernels
from runtime.errors import DeviceError, UsageError

if TYPE_CHECKING:
    from runtime.cuda.table import CudaTable

__all__ = ["MOST_THREADS", "Bfloat16Array", "Kernels", "kernel_names", "open_kernels"]

MOST_THREADS = 256
"""No call may ask for more threads."""


@dataclass(frozen=True)
class Kernels:
    """Every kernel built for one target, and how many threads a call may use.

    Attributes:
        table: The kernels; results have the same bits whichever table and however many threads. The
            arrays of a call lie where the table works: in host memory, or on its CUDA device.
        threads: 1…256, including the calling thread.
    """

    table: _kernels.KernelTable | CudaTable
    threads: int

    @property
    def name(self) -> str:
        """The target that was chosen, e.g. "cpu_avx2" or "cuda_sm_90"; never "cpu"."""
        return self.table.name

    @property
    def cpu(self) -> _kernels.KernelTable:
        """The table, for calls that only a CPU has.

        Raises:
            DeviceError: It is a CUDA device's.
        """
        if not isinstance(self.table, _kernels.KernelTable):
            raise DeviceError(f"{self.name} has no kernels for files of labels; give CPU kernels here")
        return self.table

    @property
    def cuda(self) -> CudaTable:
        """The table, for what only a CUDA device does.

        Raises:
            DeviceError: It is a CPU's.
        """
        if isinstance(self.table, _kernels.KernelTable):
            raise DeviceError(f"{self.name} runs on the CPU; give the kernels of a CUDA device here")
        return self.table

    # Stages are one text for every table: they ask here for arrays that lie where it works. On the CPU those
    # are NumPy's, and nothing is copied.

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        """An array where the table works, not initialised.

        Raises:
            DeviceError: The device has not so much memory.
        """
        if isinstance(self.table, _kernels.KernelTable):
            return np.empty(shape, dtype)
        return self.table.empty(shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        """An array of 0 where the table works.

        Raises:
            DeviceError: The device has not so much memory.
        """
        if isinstance(self.table, _kernels.KernelTable):
            return np.zeros(shape, dtype)
        return self.table.zeros(shape, dtype)

    def scratch(self, size: int) -> Any:
        """Uninitialised scratch memory of `size` bytes for one kernel call, where the table works."""
        return self.empty((size,), np.uint8)

    def placed(self, values: Any) -> Any:
        """An array where the table works: the same one if it lies there, else a copy.

        Args:
            values: A NumPy array (C-contiguous for a device), or one of `empty`.

        Raises:
            DeviceError: The device failed or has not so much memory.
        """
        return values if isinstance(self.table, _kernels.KernelTable) else self.table.placed(values)

    def to_host(self, values: Any) -> NDArray[Any]:
        """A NumPy array: the same one, or a copy of a device's after everything before it.

        Raises:
            DeviceError: The device failed, now or in a call before.
        """
        if isinstance(values, np.ndarray):
            return values
        return self.cuda.to_host(values)


@dataclass(frozen=True)
class Bfloat16Array:
    """An array of bfloat16, a type that NumPy does not have: kernels take it where they take float16.

    It shares the memory of its bits through DLPack, so `torch.from_dlpack` reads it without a copy.
    The type belongs to the array: bits that were handed over as uint16 by mistake are refused.

    Attributes:
        bits: C-contiguous and writable uint16: of NumPy, or anything with DLPack on a CUDA device.
    """

    bits: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Elements along each axis."""
        return tuple(self.bits.shape)

    def __dlpack__(self, *, copy: bool | None = None, **options: Any) -> object:
        """A capsule that shares the memory and keeps it alive.

        Args:
            copy: True is refused.
            options: Other requests of the protocol; the answer is the same with and without.

        Raises:
            BufferError: A copy was asked for.
            TypeError: `bits` is not what it has to be.
        """
        if copy:
            raise BufferError("bfloat16 bits are shared, not copied; copy `bits` first")
        try:
            return _kernels.bfloat16_capsule(self.bits)
        except RuntimeError:  # nanobind's word for an array of another kind
            raise TypeError("bits must be writable, C-contiguous uint16; use numpy.empty") from None

    def __dlpack_device__(self) -> tuple[int, int]:
        """Kind of device and its number."""
        kind, number = self.bits.__dlpack_device__()
        return int(kind), int(number)


def kernel_names() -> list[str]:
    """Names of CPU kernels on this machine, the fastest first; "cpu" stands for the fastest.

    The last one, "cpu_voxel", is slow: it makes single voxels as a CUDA device does, for tests.
    """
    return list(_kernels.table_names())


def open_kernels(name: str = "cpu", threads: int = 0) -> Kernels:
    """Find the kernels for a target.

    Args:
        name: One of `kernel_names()`, or "cuda" for the first CUDA device.
        threads: 1…256; 0 takes every CPU this process may use.

    Raises:
        DeviceError: There are no such kernels in this build or on this machine; for "cuda" it says
            whether the package, the driver or the device is missing.
        UsageError: `threads` is out of range.
    """
    if not 0 <= threads <= MOST_THREADS:
        raise UsageError(f"threads is {threads}; use 1 to {MOST_THREADS}, or 0 for every usable CPU")
    threads = threads or min(len(os.sched_getaffinity(0)), MOST_THREADS)
    if name == "cuda":
        from runtime.cuda.table import open_table

        return Kernels(open_table(), threads)
    if name not in kernel_names():
        raise DeviceError(f"no kernels called {name!r} here; use one of {', '.join(kernel_names())} or cuda")
    return Kernels(_kernels.table(name), threads)
