"""Write a network in half precision or int8; needs onnx and ONNX Runtime, and nothing that trains."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from runtime.errors import BundleError

__all__ = ["convertible", "name_nodes", "to_half", "to_int8", "widen_weights"]

_KEPT = ["InstanceNormalization", "LayerNormalization", "GroupNormalization", "BatchNormalization"]
"""Their sums over a whole tile leave float16; so do the parts that exporters write them in."""
_KEPT_PARTS = ["ReduceMean", "ReduceSum", "ReduceSumSquare", "Pow", "Sqrt", "Reciprocal", "Softmax", "Exp"]
_CONVOLUTIONS, _PRODUCTS = ("Conv",), ("MatMul", "Gemm")
_QUANTISER = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,  # TensorRT reads no int32 biases
    # What a layer gives goes to a normalisation in float32: rounding it gains nothing.
    "OpTypesToExcludeOutputQuantization": [*_CONVOLUTIONS, *_PRODUCTS],
}
_WITHOUT_ARITHMETIC = ["Cast", "Constant", "ConstantOfShape", "Shape", "Gather", "Unsqueeze", "Identity"]
"""Of kinds that are not worth a try by themselves."""


def name_nodes(model: onnx.ModelProto) -> None:
    """Give every node of a network a name of its own: converters know nodes by their names."""
    seen: set[str] = set()
    for number, node in enumerate(model.graph.node):
        if not node.name or node.name in seen:
            node.name = f"node_{number}" if f"node_{number}" not in seen else f"node_{number}_again"
        seen.add(node.name)


def widen_weights(model: onnx.ModelProto) -> None:
    """Make float32 of weights that are kept as float16 with a Cast: converters see no weights in those."""
    graph = model.graph
    small = {item.name: item for item in graph.initializer if item.data_type == onnx.TensorProto.FLOAT16}
    for node in list(graph.node):
        if _casts_to(node, onnx.TensorProto.FLOAT) and node.input[0] in small:
            wide = onnx.numpy_helper.to_array(small[node.input[0]]).astype(np.float32)
            graph.initializer.append(onnx.numpy_helper.from_array(wide, node.output[0]))
            graph.node.remove(node)
    used = {name for node in graph.node for name in node.input} | {item.name for item in graph.output}
    for name, item in small.items():
        if name not in used:
            graph.initializer.remove(item)


def convertible(model: onnx.ModelProto, precision: Literal["fp16", "int8"]) -> list[str]:
    """Nodes that a precision changes, in the order in which they run; the network's nodes have names."""
    if precision == "int8":
        return _quantised(model)[1:-1]
    kept = {*_KEPT, *_KEPT_PARTS, *_WITHOUT_ARITHMETIC}
    return [node.name for node in model.graph.node if node.op_type not in kept]


def to_half(model: onnx.ModelProto, kept_nodes: Sequence[str] = ()) -> onnx.ModelProto:
    """The network in float16, with float32 going in and out and normalisation kept in float32.

    Args:
        model: The network in float32.
        kept_nodes: Names of further nodes that are kept in float32.

    Source:
        The converter of ONNX Runtime (`onnxruntime.transformers.float16`).
    """
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    kept = [*DEFAULT_OP_BLOCK_LIST, *_KEPT, *_KEPT_PARTS]
    widen_weights(model)
    with _quiet():
        made: onnx.ModelProto = convert_float_to_float16(
            model, keep_io_types=True, op_block_list=kept, node_block_list=list(kept_nodes)
        )
    _join_kept(made)
    _sort_nodes(made)
    del made.graph.value_info[:]  # inferred anew: what the converter left is of both precisions
    return onnx.shape_inference.infer_shapes(made)


def _join_kept(model: onnx.ModelProto) -> None:
    """Take out what goes to float16 and straight back: a number between two kept nodes may not fit there."""
    graph = model.graph
    half = onnx.TensorProto.FLOAT16
    small = {
        item.name for item in graph.initializer if item.data_type == half
    }  # weights that a file keeps so
    halves = {
        node.output[0]: node.input[0]
        for node in graph.node
        if _casts_to(node, half) and node.input[0] not in small
    }
    renamed, outputs = dict[str, str](), {item.name for item in graph.output}
    for node in list(graph.node):
        back = _casts_to(node, onnx.TensorProto.FLOAT) and node.input[0] in halves
        if back and node.output[0] not in outputs:
            renamed[node.output[0]] = halves[node.input[0]]
            graph.node.remove(node)
    for node in graph.node:
        for index, name in enumerate(node.input):
            while name in renamed:
                name = node.input[index] = renamed[name]
    used = {name for node in graph.node for name in node.input} | outputs
    for node in list(graph.node):
        if node.output and node.output[0] in halves and node.output[0] not in used:
            graph.node.remove(node)


def _sort_nodes(model: onnx.ModelProto) -> None:
    """Put nodes behind what they read: the converter appends its casts, and not every reader sorts."""
    graph = model.graph
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    order, seen = list[int](), set[int]()
    waiting = list(range(len(graph.node) - 1, -1, -1))
    while waiting:
        index = waiting[-1]
        first = [makers[name] for name in graph.node[index].input if name in makers]
        first = [maker for maker in first if maker not in seen]
        if index in seen or not first:
            waiting.pop()
            if index not in seen:
                seen.add(index)
                order.append(index)
        else:
            waiting += first
    nodes = [onnx.NodeProto.FromString(graph.node[index].SerializeToString()) for index in order]
    del graph.node[:]
    graph.node.extend(nodes)


def _casts_to(node: onnx.NodeProto, kind: int) -> bool:
    return node.op_type == "Cast" and any(item.name == "to" and item.i == kind for item in node.attribute)


def to_int8(
    plain: Path,
    out: Path,
    tiles: Sequence[NDArray[np.float32] | Mapping[str, NDArray[Any]]],
    kept_nodes: Sequence[str] = (),
) -> None:
    """Write the network with explicit quantisation of its convolutions, but for the first and the last.

    A network of fewer than three convolutions is a transformer: its products with weights take their place.
    Symmetric int8, weights by output channel, activations by the range seen.

    Args:
        plain: The network in float32.
        out: The file to write.
        tiles: What it is calibrated on, each (1, channels, …); or, of several inputs, all by name.
        kept_nodes: Names of further nodes that are kept in float32.

    Raises:
        BundleError: There is nothing to calibrate on, or nothing between the first and the last.

    Source:
        `onnxruntime.quantization.quantize_static`, in the form that TensorRT reads (Q/DQ pairs).
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    model = onnx.load(plain)
    name_nodes(model)
    widen_weights(model)
    chosen = _quantised(model)
    if len(chosen) < 3 or not tiles:
        raise BundleError("nothing is quantised: too few convolutions, or nothing to calibrate on")
    weights = {tensor.name for tensor in model.graph.initializer}
    given = next(item.name for item in model.graph.input if item.name not in weights)
    feeds = [tile if isinstance(tile, Mapping) else {given: tile} for tile in tiles]
    with _quiet():
        quantize_static(
            model,
            out,
            _Tiles(feeds),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=[*_CONVOLUTIONS, *_PRODUCTS],
            nodes_to_quantize=chosen[1:-1],
            nodes_to_exclude=list(kept_nodes),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options=_QUANTISER,
        )


def _quantised(model: onnx.ModelProto) -> list[str]:
    """Nodes that int8 is for, in order: convolutions, or the products with weights where those are few."""
    convolutions = _weighted(model, _CONVOLUTIONS)
    return convolutions if len(convolutions) >= 3 else _weighted(model, _PRODUCTS)


def _weighted(model: onnx.ModelProto, kinds: Sequence[str]) -> list[str]:
    """Nodes of these kinds whose second input is a weight."""
    graph = model.graph
    weights = {item.name for item in graph.initializer}
    weights |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    weights |= {node.output[0] for node in graph.node if node.op_type == "Cast" and node.input[0] in weights}
    return [node.name for node in graph.node if node.op_type in kinds and node.input[1] in weights]


class _Tiles:
    """Calibration data as the quantiser asks for it."""

    def __init__(self, feeds: Sequence[Mapping[str, NDArray[Any]]]) -> None:
        self._left = iter(feeds)

    def get_next(self) -> Mapping[str, NDArray[Any]] | None:
        """The next inputs, or None."""
        return next(self._left, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """The converters speak to the root logger; what matters comes as an exception."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
