"""The table of kernels of a CUDA device: C++ checks and plans every call, the device runs the plan."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from runtime._kernels import DeviceMaskScores, Intensity, LaunchPlan, LaunchTable
from runtime.cuda.arrays import DLPACK_CUDA, DLPACK_LEGACY, DeviceArray
from runtime.cuda.compile import cached_cubin, compiler_version
from runtime.cuda.driver import CudaDevice
from runtime.cuda.memory import CudaMemory
from runtime.cuda.module import CudaModule
from runtime.cuda.sources import kernel_sources
from runtime.cuda.stream import LEGACY, CudaStream
from runtime.errors import DeviceError

__all__ = ["CudaTable", "open_table"]


class CudaTable:
    """The calls of `_kernels.KernelTable`, for arrays of one CUDA device.

    Arrays are anything with DLPack that is C-contiguous on the device; `matrix` alone is a NumPy
    array. Each call checks what the CPU's checks and raises what it raises, puts its launches on the
    stream and returns without waiting; only `histogram` and `components` wait, since they return a
    number. Nothing is allocated. `threads` is checked and has no other meaning here. An error of the
    device may come with a later call.

    Work of other streams on arrays of theirs is waited for, as DLPack says. Arrays of other
    libraries stay with their owner, who keeps them until the stream is done.

    Results have the bits of the CPU's, except that a NaN may be another NaN.

    Attributes:
        name: For example "cuda_sm_90".
        built: Where the machine code came from, for a report.
        stream: Where everything runs.
    """

    def __init__(self, module: CudaModule, stream: CudaStream, built: str = "") -> None:
        """Make a table of loaded kernels.

        Args:
            module: The entry points of cuda.cu.
            stream: Of the same device.
            built: Where the machine code came from.
        """
        self.name = f"cuda_{stream.device.architecture}"
        self.built, self.stream = built, stream
        self._module = module
        self._plans = LaunchTable(stream.device.ordinal)
        self._take: Callable[[int], CudaMemory] = partial(CudaMemory, stream)
        self._held: dict[int, DeviceArray] = {}

    def on(
        self,
        stream: CudaStream,
        take: Callable[[int], CudaMemory] | None = None,
        held: Sequence[tuple[NDArray[Any], DeviceArray]] = (),
    ) -> CudaTable:
        """The same kernels on another stream of the device.

        Args:
            stream: Where they run.
            take: Where `empty` gets memory of some bytes; new memory each time when absent.
            held: Host arrays, kept by the caller, whose values he brings to the array beside them himself.
        """
        other = CudaTable(self._module, stream, self.built)
        other._take = take or other._take
        other._held = {values.ctypes.data: array for values, array in held}
        return other

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> DeviceArray:
        """Device memory, not initialised.

        Args:
            shape: Elements along each axis.
            dtype: See `DeviceArray`.

        Raises:
            DeviceError: There is not so much memory.
        """
        size = math.prod(shape) * np.dtype(dtype).itemsize
        return DeviceArray(self._take(max(size, 1)), shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> DeviceArray:
        """As `empty`, filled with 0."""
        array = self.empty(shape, dtype)
        self.stream.clear(array.address, array.nbytes)
        return array

    def placed(self, values: Any) -> Any:
        """An array where kernels find it: what lies on a device stays, a NumPy array is copied there.

        Raises:
            DeviceError: The device failed or has not so much memory.
            ValueError: A NumPy array is not C-contiguous.
        """
        if not isinstance(values, np.ndarray):
            return values
        held = self._held.get(values.ctypes.data)
        if held is not None and held.shape == values.shape and held.dtype == values.dtype:
            return held
        return self.to_device(values)

    def to_device(self, values: NDArray[Any]) -> DeviceArray:
        """A copy on the device; `values` may change afterwards.

        Args:
            values: C-contiguous, of a type that `DeviceArray` knows.

        Raises:
            DeviceError: The device failed or has not so much memory.
            ValueError: `values` is not C-contiguous.
        """
        if not values.flags.c_contiguous:
            raise ValueError("only C-contiguous arrays are copied to a device; use numpy.ascontiguousarray")
        array = self.empty(values.shape, values.dtype)
        self.stream.upload(array.address, values)
        self.stream.synchronize()
        return array

    def to_host(self, array: DeviceArray) -> NDArray[Any]:
        """A copy of an array of `empty` or `to_device`, after everything on the stream.

        Raises:
            DeviceError: The device failed, now or in a launch before.
        """
        values: NDArray[Any] = np.empty(array.shape, array.dtype)
        self.stream.download(values, array.address)
        self.stream.synchronize()
        return values

    def prepare_scratch(
        self, source: Any, result: Any, matrix: NDArray[np.float64], samples: Sequence[int], threads: int
    ) -> int:
        """Bytes of scratch that `prepare` needs."""
        show = self._shown
        return self._plans.prepare_scratch(show(source), show(result), matrix, samples, threads)

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
        show = self._shown
        plan = self._plans.prepare(
            show(source), show(result), matrix, samples, intensity, show(scratch), threads
        )
        self._run(plan)

    def histogram_scratch(self, threads: int) -> int:
        """Bytes of scratch that `histogram` needs."""
        return self._plans.histogram_scratch(threads)

    def histogram(self, source: Any, counts: Any, scratch: Any, threads: int) -> int:
        """See `_kernels.KernelTable.histogram`; waits for the device."""
        show = self._shown
        plan = self._plans.histogram(show(source), show(counts), show(scratch), threads)
        return self._answer(plan)

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
        show = self._shown
        plan = self._plans.blend_add(show(tile), show(weight), show(sum), show(weight_sum), origin, threads)
        self._run(plan)

    def blend_normalise(self, sum: Any, weight_sum: Any, threads: int) -> None:  # noqa: A002
        """See `_kernels.KernelTable.blend_normalise`."""
        show = self._shown
        self._run(self._plans.blend_normalise(show(sum), show(weight_sum), threads))

    def argmax(self, scores: Any, result: Any, values: Any, threads: int) -> None:
        """See `_kernels.KernelTable.argmax`; `values` lies on the device too."""
        show = self._shown
        self._run(self._plans.argmax(show(scores), show(result), show(values), threads))

    def mask_scores(self, features: Any, vectors: Any, biases: Any) -> DeviceMaskScores:
        """See `_kernels.KernelTable.mask_scores`; the scratch of `label` then holds every score."""
        return self._plans.mask_scores(*map(self._shown, (features, vectors, biases)))

    def label_scratch(self, scores: Any, result: Any, matrix: NDArray[np.float64], threads: int) -> int:
        """Bytes of scratch that `label` needs."""
        show = self._shown
        return self._plans.label_scratch(show(scores), show(result), matrix, threads)

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
        show = self._shown
        plan = self._plans.label(
            show(scores), show(result), matrix, show(values), outside, show(scratch), threads, show(gathered)
        )
        self._run(plan)

    def label_window(self, scores: Any, result: Any, matrix: NDArray[np.float64], *rest: Any) -> None:
        """See `_kernels.KernelTable.label_window`; `values` lies on the device too."""
        values, outside, scratch, threads, window = rest
        scores, result, values, scratch = map(self._shown, (scores, result, values, scratch))
        self._run(self._plans.label_window(scores, result, matrix, values, outside, scratch, threads, window))

    def candidate_scratch(self, scores: Any, threads: int) -> int:
        """Bytes of scratch that `candidate_box` needs."""
        return self._plans.candidate_scratch(self._shown(scores), threads)

    def candidate_box(self, scores: Any, target: int, box: Any, scratch: Any, threads: int) -> None:
        """See `_kernels.KernelTable.candidate_box`; `box` lies on the device too."""
        scores, box, scratch = map(self._shown, (scores, box, scratch))
        self._run(self._plans.candidate_box(scores, target, box, scratch, threads))

    def components_scratch(self, labels: Any, runs: int) -> int:
        """Bytes of scratch for `runs` runs of equal labels along the last axis."""
        return self._plans.components_scratch(self._shown(labels), runs)

    def components(self, labels: Any, groups: Any, *rest: Any) -> int:
        """See `_kernels.KernelTable.components`; `groups` and `removed` lie on the device too; waits."""
        neighbours, largest, least, background, removed, scratch, threads = rest
        on_device = (self._shown(array) for array in (labels, groups, removed, scratch))
        labels, groups, removed, scratch = on_device
        options = (neighbours, largest, least, background)
        return self._answer(self._plans.components(labels, groups, *options, removed, scratch, threads))

    def _shown(self, array: Any) -> Any:
        """An array as C++ takes it, ready for the stream; C++ refuses one of the host itself.

        A plan keeps no array: whoever calls holds it until the launches are on the stream.
        """
        if not _on_device(array):
            return array
        return array.__dlpack__(stream=self.stream.handle or DLPACK_LEGACY)

    def _run(self, plan: LaunchPlan) -> None:
        """Put every launch of a plan on the stream."""
        for launch in plan.launches:
            self._module.launch(launch, self.stream)

    def _answer(self, plan: LaunchPlan) -> int:
        """Run a plan, wait, and fetch the number that the call returns."""
        self._run(plan)
        answer: NDArray[np.uint64] = np.empty(1, np.uint64)
        self.stream.download(answer, plan.answer_at)
        self.stream.synchronize()
        return int(answer[0])


def _on_device(array: Any) -> bool:
    """Whether an array says that a CUDA device reaches it."""
    where = getattr(array, "__dlpack_device__", None)
    return where is not None and where()[0] == DLPACK_CUDA


def open_table(ordinal: int = 0) -> CudaTable:
    """The kernels of a CUDA device, compiled for it at the first use and then kept on disk.

    They run on the legacy default stream, for which every DLPack array comes ready; see `CudaTable.on`.

    Args:
        ordinal: Number of the device among the visible ones.

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
    return CudaTable(CudaModule(device, code), CudaStream(device, LEGACY), built)
