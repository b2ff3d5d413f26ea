"""Engines and devices for tests of passports: ONNX Runtime on the CPU under other names, right or wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from runtime.engines.engine import Engine, EngineDescription, NetworkFile
from runtime.engines.kinds import EngineKind, OnnxRuntimeCpu
from runtime.trust.document import CudaFacts, DeviceFacts

__all__ = ["FACTS", "RIGHT", "Accelerator", "facts", "overflowing_encoder"]

FACTS = DeviceFacts(
    "Test CPU", ("avx2", "fma"), 2, "governor fixed", CudaFacts("Test GPU", "8.7", "580.65.06")
)

Change = Callable[[NDArray[Any]], NDArray[Any]]


def facts(driver: str = "580.65.06") -> Callable[[bool], DeviceFacts]:
    """Facts of an emulated device, perhaps with another driver."""

    def told(with_cuda: bool) -> DeviceFacts:
        return replace(FACTS, cuda=CudaFacts("Test GPU", "8.7", driver) if with_cuda else None)

    return told


class _Changed:
    """An engine whose features are changed on their way out."""

    def __init__(self, engine: Engine, name: str, change: Change | None) -> None:
        self._engine, self._name, self._change = engine, name, change

    @property
    def description(self) -> EngineDescription:
        return replace(self._engine.description, name=self._name, device="cuda:0")

    def run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        made = self._engine.run(inputs)
        if self._change is not None and "features" in made:
            made["features"] = self._change(made["features"])
        return made

    def __enter__(self) -> _Changed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.__exit__(kind, error, trace)


class _Literal:
    """The ONNX project's own evaluator: NumPy in the types that the file says, so float16 overflows.

    ONNX Runtime has no half-precision arithmetic on most CPUs and computes in float32 between two casts.
    """

    def __init__(self, network: NetworkFile, reason: str) -> None:
        self._network = ReferenceEvaluator(str(network.path))
        self.description = EngineDescription("literal", "cpu", network.precision, onnx.__version__, reason)

    def run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return dict(zip(self._network.output_names, self._network.run(None, inputs), strict=True))

    def __enter__(self) -> _Literal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._network


@dataclass(frozen=True)
class Accelerator:
    """A CUDA device that is none.

    Attributes:
        change: What it does to features that it should not.
        number: Version of its library.
        why: Why it cannot be used.
        literal: Compute in the types that the network's file says.
    """

    change: Change | None = None
    number: str = "1.0"
    why: str | None = None
    literal: bool = False
    name: str = "accelerator"
    device: Literal["cpu", "cuda"] = "cuda"

    def why_not(self) -> str | None:
        return self.why

    def version(self) -> str:
        return self.number

    def open(self, network: NetworkFile, threads: int, reason: str) -> Engine:
        if self.literal:
            return _Changed(_Literal(network, reason), self.name, self.change)
        return _Changed(OnnxRuntimeCpu().open(network, threads, reason), self.name, self.change)


def overflowing_encoder() -> bytes:
    """An encoder for the tiny bundle: an instance normalisation, written out, whose squares leave float16."""
    first = np.array([[1, 1, 1, 0, 1], [0, 0, 0, 1, 0], [1, 0, 0, 0, 0], [0, 1, 0, 0, 0]], np.float32) * 900
    last = np.diag([0.5, 0.5, 0.0, 0.0]).astype(np.float32)
    constants = {
        "first": first.reshape(4, 5, 1, 1, 1),
        "last": last.reshape(4, 4, 1, 1, 1),
        "little": np.float32([1e-3]),
        "shift": np.float32([0.4, 0.4, 0.0, 0.0]),
    }
    node = helper.make_node
    nodes = [
        node("Conv", ["image", "first"], ["x"], name="first conv"),
        node("ReduceMean", ["x"], ["mean"], axes=[2, 3, 4]),
        node("Sub", ["x", "mean"], ["away"], name="away"),
        node("Mul", ["away", "away"], ["squared"], name="squares"),
        node("ReduceMean", ["squared"], ["variance"], axes=[2, 3, 4]),
        node("Add", ["variance", "little"], ["variance_"], name="add"),
        node("Sqrt", ["variance_"], ["deviation"]),
        node("Div", ["away", "deviation"], ["even"], name="divide"),
        node("Relu", ["even"], ["positive"], name="relu"),
        node("Conv", ["positive", "last", "shift"], ["features"], name="last conv"),
    ]
    graph = helper.make_graph(
        nodes,
        "overflow",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 5, "i", "j", "k"])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, 4, "i", "j", "k"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


RIGHT: tuple[EngineKind, ...] = (Accelerator(), OnnxRuntimeCpu())
