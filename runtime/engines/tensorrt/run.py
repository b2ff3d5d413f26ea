"""Run a built engine on a stream of ours, recorded as a CUDA graph where that can be done."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from runtime.cuda.driver import CudaDevice
from runtime.cuda.memory import CudaMemory, PinnedMemory
from runtime.cuda.stream import CudaGraph, CudaStream
from runtime.engines.engine import EngineDescription
from runtime.engines.tensorrt.build import message_log
from runtime.errors import BundleError, DeviceError

if TYPE_CHECKING:
    import tensorrt

__all__ = ["EngineRefusedError", "TensorRtEngine"]

_TYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
    "UINT8": "uint8",
}
"""NumPy's names of TensorRT's types; it has none for the others."""

_UNTOUCHED = 0xFF
"""What outputs hold before a recorded graph runs first; as floats, NaN."""


class EngineRefusedError(DeviceError):
    """This TensorRT, or this device, does not take the engine; another has to be built."""


class _Tensor:
    """One input or output: pinned memory, device memory, and its address told to TensorRT."""

    def __init__(self, stream: CudaStream, shape: tuple[int, ...], dtype: str) -> None:
        pinned = PinnedMemory(stream, shape, dtype, mapped=False)
        self.host: NDArray[Any] = np.asarray(pinned)
        self.device = CudaMemory(stream, pinned.size)

    def upload(self, stream: CudaStream) -> None:
        if self.host.nbytes:
            stream.upload(self.device.address, self.host)

    def download(self, stream: CudaStream) -> None:
        if self.host.nbytes:
            stream.download(self.host, self.device.address)


class TensorRtEngine:
    """One execution context.

    A recorded graph belongs to the shapes it was recorded with and to the state of the context then, so there
    is one at a time: with other shapes it goes, the first run puts the work on the stream, the second records
    it.

    Args:
        module: `tensorrt`, or a module with its names.
        plan: A built engine.
        device: Where it was built for.
        description: For the report; its reason also says so where work is not recorded.
        recorded: Whether to record graphs.

    Attributes:
        sha256: Hash of the engine: what was measured and qualified is this file and no other.

    Raises:
        EngineRefusedError: It cannot be deserialised here.
        DeviceError: The device failed or has not so much memory, or a tensor is of an unknown type.
    """

    def __init__(
        self,
        module: Any,
        plan: bytes,
        device: CudaDevice,
        description: EngineDescription,
        recorded: bool = True,
    ) -> None:
        if TYPE_CHECKING:
            import tensorrt as trt
        else:
            trt = module
        self.sha256 = hashlib.sha256(plan).hexdigest()
        self._stream, self._description, self._recorded = CudaStream(device), description, recorded
        log, self._complaints = message_log(module)
        with device.current():
            self._runtime = trt.Runtime(log)
            engine = self._runtime.deserialize_cuda_engine(plan)
            if engine is None:
                raise EngineRefusedError(
                    f"TensorRT {trt.__version__} does not take the engine ({_last(self._complaints)}); "
                    "build it again"
                )
            context = engine.create_execution_context()
            if context is None:
                raise DeviceError(
                    f"TensorRT cannot prepare to run ({_last(self._complaints)}); close other programs, "
                    "or use --device cpu"
                )
        self._engine: tensorrt.ICudaEngine = engine
        self._context: tensorrt.IExecutionContext = context
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        of_input = trt.TensorIOMode.INPUT
        self._inputs = [name for name in names if engine.get_tensor_mode(name) == of_input]
        self._outputs = [name for name in names if name not in self._inputs]
        self._types = {name: self._numpy_type(name) for name in names}
        self._tensors: dict[str, _Tensor] = {}
        self._shapes: dict[str, tuple[int, ...]] | None = None
        self._graph: CudaGraph | None = None
        self._is_new = True

    @property
    def description(self) -> EngineDescription:
        """What runs."""
        return self._description

    @property
    def is_recorded(self) -> bool:
        """Whether the next run with these shapes replays a graph."""
        return self._graph is not None

    def run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the network once.

        Args:
            inputs: Array of every input by name, of the declared type and of a shape that it was built for.

        Raises:
            DeviceError: The device failed or is out of memory.
            BundleError: The network has other inputs.
        """
        given = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        self._check(given)
        with self._stream.device.current():
            shapes = {name: given[name].shape for name in self._inputs}
            if shapes != self._shapes:
                self._prepare(shapes)
            for name in self._inputs:
                self._tensors[name].host[...] = given[name]
            if self._recorded and self._graph is None and not self._is_new:
                self._record()
            if self._graph is None:
                self._put(self._enqueue)
            else:
                self._put(self._graph.launch)
            self._stream.synchronize()
            self._is_new = False
        return {name: self._tensors[name].host.copy() for name in self._outputs}

    def _check(self, given: dict[str, NDArray[Any]]) -> None:
        """Refuse what the engine was not built for."""
        if set(given) != set(self._inputs):
            raise BundleError(
                f"the network takes {sorted(self._inputs)}, not {sorted(given)}; export the bundle again"
            )
        for name, array in given.items():
            if array.dtype != self._types[name]:
                raise BundleError(
                    f"the network takes {self._types[name]} for {name!r}, not {array.dtype}; "
                    "export the bundle again"
                )
            least, _, most = map(_shape, self._engine.get_tensor_profile_shape(name, 0))
            fits = len(array.shape) == len(least) and all(
                low <= side <= high for low, side, high in zip(least, array.shape, most, strict=True)
            )
            if not fits:
                raise DeviceError(
                    f"the engine was built for {name!r} from {least} to {most}, not {array.shape}; "
                    "use another engine, or --device cpu"
                )

    def _prepare(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """Tell the context these shapes and where everything lies; nothing of the former ones stays."""
        self._shapes, self._graph, self._is_new = None, None, True
        self._tensors.clear()
        context = self._context
        for name, shape in shapes.items():
            if not context.set_input_shape(name, shape):
                raise self._failed(f"does not take {shape} for {name!r}")
        if missing := context.infer_shapes():
            raise self._failed(f"has no shape for {', '.join(missing)}")
        for name in (*self._inputs, *self._outputs):
            shape = _shape(context.get_tensor_shape(name))
            if min(shape, default=0) < 0:
                raise self._failed(f"cannot tell the size of {name!r} before it runs")
            tensor = self._tensors[name] = _Tensor(self._stream, shape, self._types[name])
            if not context.set_tensor_address(name, tensor.device.address):
                raise self._failed(f"does not take memory for {name!r}")
        self._shapes = shapes

    def _put(self, network: Any) -> None:
        """Put copies and the network on the stream."""
        for name in self._inputs:
            self._tensors[name].upload(self._stream)
        network()
        for name in self._outputs:
            self._tensors[name].download(self._stream)

    def _enqueue(self) -> None:
        """Put the network on the stream, as TensorRT does it."""
        if not self._context.execute_async_v3(self._stream.handle):
            raise self._failed("did not put the network on the stream")

    def _record(self) -> None:
        """Record the network, and see that what was recorded writes every output; else say that it is not."""
        try:
            graph = CudaGraph(self._stream, self._enqueue)
            if graph.nodes == 0:
                raise DeviceError("nothing was recorded")
            self._prove(graph)
        except DeviceError as error:
            self._recorded = False
            why = str(error).rstrip(".")
            reason = f"{self._description.reason}; not recorded as a CUDA graph: {why}"
            self._description = dataclasses.replace(self._description, reason=reason)
            self._stream.synchronize()
            return
        self._graph = graph

    def _prove(self, graph: CudaGraph) -> None:
        """Run a graph over outputs that nobody has written.

        Raises:
            DeviceError: One is still so afterwards: it would show a former study's.
        """
        written = [self._tensors[name] for name in self._outputs if self._tensors[name].host.nbytes]
        for tensor in written:
            _bytes_of(tensor.host)[:] = _UNTOUCHED
            tensor.upload(self._stream)
        self._put(graph.launch)
        self._stream.synchronize()
        if any((_bytes_of(tensor.host) == _UNTOUCHED).all() for tensor in written):
            raise DeviceError("what was recorded leaves an output unwritten")

    def _failed(self, what: str) -> DeviceError:
        return DeviceError(
            f"TensorRT {what} ({_last(self._complaints)}); use another engine, or --device cpu"
        )

    def _numpy_type(self, name: str) -> str:
        kind = self._engine.get_tensor_dtype(name).name
        if kind not in _TYPES:
            raise DeviceError(f"{name!r} is of type {kind}, which NumPy has not; export it with another type")
        return _TYPES[kind]

    def __enter__(self) -> TensorRtEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free everything, in the order in which TensorRT wants it."""
        with self._stream.device.current():
            self._graph = None
            self._tensors.clear()
            del self._context, self._engine, self._runtime


def _shape(dims: Any) -> tuple[int, ...]:
    """TensorRT's dimensions, which are a sequence, as NumPy's."""
    return tuple(int(side) for side in dims)


def _bytes_of(array: NDArray[Any]) -> NDArray[np.uint8]:
    return array.reshape(-1).view(np.uint8)


def _last(complaints: deque[str]) -> str:
    """The last complaint, on one line."""
    return " ".join(complaints[-1].split())[:300] if complaints else "it does not say why"
