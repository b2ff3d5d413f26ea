"""All that happens around a network on a CUDA device, recorded once and replayed for each study of a kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.cuda.arrays import DeviceArray
from runtime.cuda.memory import CudaMemory, PinnedMemory, Workspace
from runtime.cuda.stream import CudaGraph, CudaStream
from runtime.errors import UsageError
from runtime.kernels import Kernels
from runtime.ranges import profiler_range
from runtime.stages.label import label_into
from runtime.stages.prepare import Normalisation, prepare
from runtime.volume import Grid, Volume

__all__ = ["DevicePath", "Network", "StudyKind"]

Network = Callable[[DeviceArray, DeviceArray, int], None]
"""Puts a network on a stream: image, scores (to be written) and the stream's handle; waits for nothing."""


@dataclass(frozen=True)
class StudyKind:
    """What studies have in common that one recorded graph can do: all but the voxels.

    Attributes:
        scan: Grid of the scan; labels are written on it.
        stored: Type of the scan's voxels, for example "int16".
        grid: The network's grid.
        normalisation: What the network is shown; known before the scan, as for CT.
        values: Label value of each class, (C,) uint8.
        slope: Rescale slope of the scan.
        intercept: Rescale intercept of the scan.
        network_type: "float16" or "float32": image and scores.

    Raises:
        UsageError: `network_type` is another one, or `values` are not uint8.
    """

    scan: Grid
    stored: str
    grid: Grid
    normalisation: Normalisation
    values: NDArray[np.uint8]
    slope: float = 1.0
    intercept: float = 0.0
    network_type: str = "float16"

    def __post_init__(self) -> None:
        if self.network_type not in ("float16", "float32"):
            raise UsageError(f"network_type is {self.network_type!r}; use float16 or float32")
        if self.values.ndim != 1 or self.values.dtype != np.uint8:
            raise UsageError(f"values are {self.values.dtype} {self.values.shape}; give one uint8 a class")


class DevicePath:
    """From stored voxels in host memory to labels in host memory, on a stream of its own.

        path = DevicePath(kind, kernels, network)
        path.voxels[:] = scan          # or let a decoder write there
        path.run()
        labels = path.labels.copy()    # overwritten by the next study

    On an integrated device the kernels read and write host memory where it lies; on others it is copied.
    Not for several threads at once: make one path for each.

    Attributes:
        voxels: The scan, in pinned memory; to be filled by the caller.
        labels: The result, in pinned memory; whole after `run` or `wait`.
        image: The network's input, (1, I, J, K), on the device.
        scores: The network's output, (C, I, J, K), on the device.
        stream: Where everything runs.
    """

    def __init__(
        self,
        kind: StudyKind,
        kernels: Kernels,
        network: Network | None = None,
        recorded: bool = True,
        zero_copy: bool | None = None,
    ) -> None:
        """Get all memory, run once to load the code, and record.

        Args:
            kind: Of the studies to come.
            kernels: Of a CUDA device.
            network: Runs between the two halves and is recorded with them; without one, whoever uses
                the path writes `scores`.
            recorded: Whether to record a graph; a network that cannot be recorded runs without one.
            zero_copy: Whether kernels reach host memory themselves; chosen by the device when absent.

        Raises:
            DeviceError: The kernels are a CPU's, memory is short, the driver refuses to record, or the
                device failed.
            ImageError: The kind's scan cannot be a volume.
        """
        self._table = table = kernels.cuda
        self.stream = stream = CudaStream(table.stream.device)
        self._mapped = stream.device.integrated if zero_copy is None else zero_copy
        self._network, self._recorded, self._threads = network, recorded, kernels.threads
        self._workspace = Workspace(stream)
        self.voxels, self._source = self._pinned(kind.scan.shape, kind.stored)
        self.labels, self._result = self._pinned(kind.scan.shape, "uint8")
        self._on_stream = own = table.on(stream)
        self.image = own.zeros((1, *kind.grid.shape), kind.network_type)
        self.scores = own.zeros((len(kind.values), *kind.grid.shape), kind.network_type)
        self.voxels[:] = 0
        self._aim(kind)

    def aim(self, kind: StudyKind) -> None:
        """Record for studies that lie elsewhere or are scaled otherwise, in the memory that is there.

        Runs once, on what is in `voxels` and `scores`.

        Args:
            kind: Of the studies to come; shapes, types and number of classes as before.

        Raises:
            UsageError: A shape, a type or the number of classes is another one.
            DeviceError: The device failed.
        """
        if _memory_of(kind) != _memory_of(self.kind):
            raise UsageError(
                f"this path is for {_memory_of(self.kind)}, not {_memory_of(kind)}; make a path for each"
            )
        self.wait()
        self._aim(kind)

    def _aim(self, kind: StudyKind) -> None:
        self.kind, self._graph = kind, None
        self._volume = Volume(self.voxels, kind.scan.affine, kind.slope, kind.intercept)
        held = [(self.voxels, self._source), (kind.values, self._on_stream.to_device(kind.values))]
        self._kernels = Kernels(self._table.on(self.stream, self._workspace.take, held), self._threads)
        self._put()  # once: code is loaded by its first launch, which cannot be recorded
        self.wait()
        if self._recorded:
            self._graph = CudaGraph(self.stream, self._put)

    def run(self) -> None:
        """From `voxels` to `labels`; waits.

        Raises:
            DeviceError: The device failed.
        """
        self.start()
        self.wait()

    def start(self) -> None:
        """As `run`, without waiting; `voxels` must not change before `wait`.

        Raises:
            DeviceError: The driver refuses, or work before failed.
        """
        with profiler_range("device path: start"):
            if self._graph is None:
                self._put()
            else:
                self._graph.launch()

    def wait(self) -> None:
        """Wait until everything that was started is done.

        Raises:
            DeviceError: The device failed.
        """
        with profiler_range("device path: wait"):
            self.stream.synchronize()

    def upload(self) -> None:
        """Put the copy of the voxels on the stream; nothing where the device reads them itself."""
        if not self._mapped:
            self.stream.upload(self._source.address, self.voxels)

    def compute(self) -> None:
        """Put everything between the two copies on the stream."""
        kind, kernels = self.kind, self._kernels
        self._workspace.rewind()
        prepare(self._volume, kind.grid, self.image[0], kind.normalisation, kernels)
        if self._network is not None:
            self._network(self.image, self.scores, self.stream.handle)
        label_into(self._result, self.scores, kind.grid, kind.scan, kind.values, kernels)

    def download(self) -> None:
        """Put the copy of the labels on the stream; nothing where the device writes them itself."""
        if not self._mapped:
            self.stream.download(self.labels, self._result.address)

    def _put(self) -> None:
        self.upload()
        self.compute()
        self.download()

    def _pinned(self, shape: tuple[int, ...], dtype: str) -> tuple[NDArray[Any], DeviceArray]:
        """A host array and what kernels use for it: the same memory, or device memory of that size."""
        pinned = PinnedMemory(self.stream, shape, dtype, self._mapped)
        memory = pinned if self._mapped else CudaMemory(self.stream, pinned.size)
        return np.asarray(pinned), DeviceArray(memory, shape, dtype)


def _memory_of(kind: StudyKind) -> tuple[object, ...]:
    """What memory studies of a kind need."""
    return kind.scan.shape, kind.stored, kind.grid.shape, len(kind.values), kind.network_type
