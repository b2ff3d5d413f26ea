"""The table of kernels of a CUDA device: C++ checks and plans every call, the device runs the plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from runtime._kernels import DeviceMaskScores, Intensity, LaunchPlan, LaunchTable
from runtime.cuda.arrays import DeviceArray
from runtime.cuda.compile import cached_cubin, compiler_version
from runtime.cuda.driver import CudaDevice, CudaModule
from runtime.cuda.sources import kernel_sources
from runtime.errors import DeviceError

__all__ = ["CudaTable", "open_table"]


class CudaTable:
    """The calls of `_kernels.KernelTable`, for arrays of one CUDA device.

    Arrays are anything with DLPack that is C-contiguous on the device; `matrix` alone is a NumPy
    array. Each call checks what the CPU's checks and raises what it raises, puts its launches on the
    stream and returns without waiting; only `histogram` waits, since it returns a count. Nothing is
    allocated. `threads` is checked and has no other meaning here. An error of the device may
    come with a later call.

    DLPack arrays come ready for the legacy default stream, which is stream 0. On another stream the
    caller orders the work and keeps arrays alive until it is done.

    Results have the bits of the CPU's, except that a NaN may be another NaN.
    """

    def __init__(self, device: CudaDevice, module: CudaModule, stream: int = 0, built: str = "") -> None:
        """Make a table of loaded kernels.

        Args:
            device: Where arrays lie.
            module: The entry points of cuda.cu for it.
            stream: Handle of the driver; 0 is the legacy default stream.
            built: Where the machine code came from, for a report.
        """
        self.name = f"cuda_{device.architecture}"
        self.built = built
        self._device, self._module, self._stream = device, module, stream
        self._plans = LaunchTable(device.ordinal)

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> DeviceArray:
        """Device memory, not initialised.

        Args:
            shape: Elements along each axis.
            dtype: See `DeviceArray`.

        Raises:
            DeviceError: There is not so much memory.
        """
        return DeviceArray(self._device, shape, dtype)

    def to_device(self, values: NDArray[Any]) -> DeviceArray:
        """A copy on the device.

        Args:
            values: C-contiguous, of a type that `DeviceArray` knows.

        Raises:
            DeviceError: The device failed or has not so much memory.
            ValueError: `values` is not C-contiguous.
        """
        if not values.flags.c_contiguous:
            raise ValueError("only C-contiguous arrays are copied to a device; use numpy.ascontiguousarray")
        array = self.empty(values.shape, values.dtype)
        self._device.write(array.address, values, self._stream)
        return array

    def to_host(self, array: DeviceArray) -> NDArray[Any]:
        """A copy of an array of `empty` or `to_device`, after everything on the stream.

        Raises:
            DeviceError: The device failed, now or in a launch before.
        """
        values: NDArray[Any] = np.empty(array.shape, array.dtype)
        self._device.read(array.address, values, self._stream)
        return values

    def prepare_scratch(
        self, source: Any, result: Any, matrix: NDArray[np.float64], samples: Sequence[int], threads: int
    ) -> int:
        """Bytes of scratch that `prepare` needs."""
        return self._plans.prepare_scratch(source, result, matrix, samples, threads)

    def prepare(
        self,
        source: Any,
        result: Any,
        matrix: NDArray[np.float64],
        samples: Sequence[int],
        intensity: Intensity,
        scratch: Any,
        threads: int,
    ) -> None:
        """See `_kernels.KernelTable.prepare`."""
        self._run(self._plans.prepare(source, result, matrix, samples, intensity, scratch, threads))

    def histogram_scratch(self, threads: int) -> int:
        """Bytes of scratch that `histogram` needs."""
        return self._plans.histogram_scratch(threads)

    def histogram(self, source: Any, counts: Any, scratch: Any, threads: int) -> int:
        """See `_kernels.KernelTable.histogram`; waits for the device."""
        plan = self._plans.histogram(source, counts, scratch, threads)
        self._run(plan)
        not_finite: NDArray[np.uint64] = np.empty(1, np.uint64)
        self._device.read(plan.not_finite_at, not_finite, self._stream)
        return int(not_finite[0])

    def blend_add(
        self,
        tile: Any,
        weight: Any,
        sum: Any,  # noqa: A002
        weight_sum: Any,
        origin: Sequence[int],
        threads: int,
    ) -> None:
        """See `_kernels.KernelTable.blend_add`."""
        self._run(self._plans.blend_add(tile, weight, sum, weight_sum, origin, threads))

    def blend_normalise(self, sum: Any, weight_sum: Any, threads: int) -> None:  # noqa: A002
        """See `_kernels.KernelTable.blend_normalise`."""
        self._run(self._plans.blend_normalise(sum, weight_sum, threads))

    def argmax(self, scores: Any, result: Any, values: Any, threads: int) -> None:
        """See `_kernels.KernelTable.argmax`; `values` lies on the device too."""
        self._run(self._plans.argmax(scores, result, values, threads))

    def mask_scores(self, features: Any, vectors: Any, biases: Any) -> DeviceMaskScores:
        """See `_kernels.KernelTable.mask_scores`; the scratch of `label` then holds every score."""
        return self._plans.mask_scores(features, vectors, biases)

    def label_scratch(self, scores: Any, result: Any, matrix: NDArray[np.float64], threads: int) -> int:
        """Bytes of scratch that `label` needs."""
        return self._plans.label_scratch(scores, result, matrix, threads)

    def label(
        self,
        scores: Any,
        result: Any,
        matrix: NDArray[np.float64],
        values: Any,
        outside: int,
        scratch: Any,
        threads: int,
        gathered: Any = None,
    ) -> None:
        """See `_kernels.KernelTable.label`; `values` and `gathered` lie on the device too."""
        self._run(self._plans.label(scores, result, matrix, values, outside, scratch, threads, gathered))

    def _run(self, plan: LaunchPlan) -> None:
        """Put every launch of a plan on the stream."""
        for launch in plan.launches:
            self._module.launch(launch, self._stream)


def open_table(ordinal: int = 0, stream: int = 0) -> CudaTable:
    """The kernels of a CUDA device, compiled for it at the first use and then kept on disk.

    Args:
        ordinal: Number of the device among the visible ones.
        stream: Handle of the driver; 0 is the legacy default stream.

    Raises:
        DeviceError: There is no package, driver or device, or the kernels cannot be compiled for it.
    """
    device = CudaDevice(ordinal)
    compiler, known = compiler_version()[0], device.driver_version // 1000
    if compiler > known:  # a driver loads the code of older and newer compilers of its own major version
        raise DeviceError(
            f"the NVIDIA driver is for CUDA {known} and NVRTC for CUDA {compiler}; update the driver, "
            f'or pip install "cuda-bindings=={known}.*" and the NVRTC of CUDA {known}'
        )
    code, built = cached_cubin(device.architecture, device.driver_version, kernel_sources())
    return CudaTable(device, device.load(code), stream, built)
