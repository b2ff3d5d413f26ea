"""What `benchmarks.cuda_path` measures on a device: copies, each kernel, the whole path around a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.kernel_inputs import ct_volume, scores
from benchmarks.measure import Effort, Seconds, interleaved
from benchmarks.tasks import Triple, zoomed
from runtime.cuda.memory import PinnedMemory, Workspace
from runtime.cuda.stream import CudaEvent, CudaGraph
from runtime.device_path import DevicePath, StudyKind
from runtime.kernels import Kernels
from runtime.stages.blend import gaussian_weight
from runtime.stages.label import label, label_into
from runtime.stages.prepare import Normalisation, prepare
from runtime.volume import Volume

__all__ = ["DeviceRows", "Row", "Size"]

Row = dict[str, Any]

_SPACING_MM = (1.0, 0.7, 0.7)
_NETWORK_MM = 1.5
_CLASSES = 14
_BINS = 65536
_WINDOW = Normalisation(-20.0, 1 / 120, 0.0, 1.0)
_WANTED_DEVICE_S = 0.5e-3
_WANTED_RATIO = 1.3


@dataclass(frozen=True)
class Size:
    """How large a run is.

    Attributes:
        scan: (I, J, K) of the CT.
        tile: Tile of a blended network, no side longer than the network's grid.
        copied_bytes: What the copies that measure bandwidths move; larger than a device's cache.
        effort: Rounds and seconds of a row.
    """

    scan: Triple
    tile: Triple
    copied_bytes: int
    effort: Effort


class DeviceRows:
    """One path with a study in it, and what the CPU makes of that.

    Attributes:
        path: The path under test.
        equal: Whether image and labels have the bits of the CPU's.
    """

    def __init__(self, size: Size, kernels: Kernels, cpu: Kernels) -> None:
        scan = ct_volume(size.scan, _SPACING_MM)
        i, j, k = np.rint(np.array(size.scan) * _SPACING_MM / _NETWORK_MM).astype(int).tolist()
        grid, values = zoomed(scan.grid, (i, j, k)), np.arange(_CLASSES, dtype=np.uint8)
        self._kind = StudyKind(scan.grid, "int16", grid, _WINDOW, values)
        self._size, self._scores = size, scores(_CLASSES, (i, j, k), "float16")
        self.path = path = DevicePath(self._kind, kernels)
        path.voxels[:] = scan.voxels
        path.stream.upload(path.scores.address, self._scores)
        path.run()
        self._own = kernels.cuda.on(path.stream)
        image: NDArray[Any] = np.empty(grid.shape, np.float16)
        prepare(scan, grid, image, _WINDOW, cpu)
        labels = label(self._scores, grid, scan.grid, values, cpu)
        self.equal = {
            "image": np.array_equal(self._own.to_host(path.image)[0].view(np.uint16), image.view(np.uint16)),
            "labels": np.array_equal(path.labels, labels),
        }
        self._copy_bytes_per_s = 0.0

    def rows(self) -> Iterator[Row]:
        """Every row but the starts, as each is done."""
        yield from self._copies()
        for name, moved, work in self._kernels():
            yield self._row(name, self._on_device(work), moved)
        yield self._histogram()
        path = self.path
        moved = sum(array.nbytes for array in (path.voxels, path.image, path.scores, path.labels))
        whole = self._row("whole path, on the device", self._on_device(path.compute), moved)
        yield {**whole, "wanted_s": _WANTED_DEVICE_S, "bits_equal": all(self.equal.values())}
        yield from self._host_to_host()

    def _host_to_host(self) -> Iterator[Row]:
        path = self.path

        def copies() -> None:
            path.upload()
            path.download()

        graph = CudaGraph(path.stream, copies)

        def alone() -> None:
            graph.launch()
            path.wait()

        alone()
        whole, copied = interleaved(path.run, alone, self._size.effort)
        moved = path.voxels.nbytes + path.labels.nbytes
        row = self._row("the two copies alone, host to host", copied, moved, of_copy=False)
        yield {**row, "clock": "host"}
        row = self._row("whole path, host to host", whole, moved, of_copy=False)
        yield {**row, "clock": "host", "ratio": whole.median / copied.median, "wanted_ratio": _WANTED_RATIO}

    def _copies(self) -> Iterator[Row]:
        """Inside the device, to it and from it; pinned memory."""
        stream, count = self.path.stream, self._size.copied_bytes
        one, two = (self._own.zeros((count,), np.uint8) for _ in range(2))
        host = np.asarray(PinnedMemory(stream, (count,), np.uint8, mapped=False))
        host[:] = 0
        inside = self._on_device(lambda: stream.copy(two.address, one.address, count))
        self._copy_bytes_per_s = 2 * count / inside.median
        yield self._row("copy inside the device", inside, 2 * count)
        yield self._row(
            "copy to the device", self._on_device(lambda: stream.upload(one.address, host)), count
        )
        back = self._on_device(lambda: stream.download(host, one.address))
        yield self._row("copy from the device", back, count)

    def _kernels(self) -> Iterator[tuple[str, int, Callable[[], object]]]:
        """Name, bytes that have to move, and work, of each kernel alone."""
        path, kind, own = self.path, self._kind, self._own
        source, labels = own.to_device(path.voxels), own.empty(path.labels.shape, np.uint8)
        values, workspace = own.to_device(kind.values), Workspace(path.stream)
        held = [(path.voxels, source), (kind.values, values)]
        kernels = Kernels(own.on(path.stream, workspace.take, held), 1)
        volume = Volume(path.voxels, kind.scan.affine)
        table, image, given = kernels.cuda, path.image, path.scores

        def preparing() -> None:
            workspace.rewind()
            prepare(volume, kind.grid, image[0], kind.normalisation, kernels)

        def labelling() -> None:
            workspace.rewind()
            label_into(labels, given, kind.grid, kind.scan, kind.values, kernels)

        yield "prepare int16 to float16", source.nbytes + image.nbytes, preparing
        yield f"label C={_CLASSES} float16", given.nbytes + labels.nbytes, labelling
        coarse = own.empty(kind.grid.shape, np.uint8)
        moved = given.nbytes + coarse.nbytes
        yield f"argmax C={_CLASSES} float16", moved, lambda: table.argmax(given, coarse, values, 1)
        tile = own.zeros((_CLASSES, *self._size.tile), np.float32)
        weight = own.to_device(gaussian_weight(self._size.tile))
        total = own.zeros((_CLASSES, *kind.grid.shape), np.float32)
        weights = own.zeros(kind.grid.shape, np.float32)
        moved = 3 * (tile.nbytes + weight.nbytes)  # tile read, sum read and written
        yield (
            f"blend_add C={_CLASSES}",
            moved,
            (lambda: table.blend_add(tile, weight, total, weights, (0, 0, 0), 1)),
        )
        moved = 2 * total.nbytes + weights.nbytes
        yield f"blend_normalise C={_CLASSES}", moved, lambda: table.blend_normalise(total, weights, 1)

    def _histogram(self) -> Row:
        """Returns a count and so waits for it, which no graph records."""
        stream, own, voxels = self.path.stream, self._own, self.path.voxels
        source, counts = own.to_device(voxels), own.empty((_BINS,), np.uint64)
        scratch = own.empty((own.histogram_scratch(1),), np.uint8)
        own.histogram(source, counts, scratch, 1)
        seconds = self._between_events(lambda: own.histogram(source, counts, scratch, 1))
        stream.synchronize()
        return self._row("histogram int16, with its wait", seconds, voxels.nbytes)

    def _on_device(self, work: Callable[[], object]) -> Seconds:
        """Times of a graph of the work, which ran once before."""
        work()
        self.path.stream.synchronize()
        return self._between_events(CudaGraph(self.path.stream, work).launch)

    def _between_events(self, put: Callable[[], object]) -> Seconds:
        stream = self.path.stream
        begin, end = (CudaEvent(stream.device, timed=True) for _ in range(2))
        rounds = []
        for _ in range(self._size.effort.repeats):
            begin.record(stream)
            put()
            end.record(stream)
            rounds.append(end.seconds_since(begin))
        return Seconds(tuple(rounds))

    def _row(self, measure: str, seconds: Seconds, moved: int, of_copy: bool = True) -> Row:
        per_s = moved / seconds.median
        row = {
            "measure": measure,
            "clock": "device",
            "median_s": seconds.median,
            "min_s": seconds.least,
            "repeats": len(seconds.rounds),
            "moved_bytes": moved,
            "bytes_per_s": per_s,
        }
        return {**row, "bandwidth_fraction": per_s / self._copy_bytes_per_s} if of_copy else row
