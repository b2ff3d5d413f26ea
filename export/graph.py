"""Work on ONNX files: read, fix shapes, slim, say what goes in and out, write large weights beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx

from runtime.bundle import Tensor
from runtime.errors import BundleError, first_line

__all__ = ["NEWEST_OPSET", "WEIGHTS_FILE", "ends", "read_model", "slim", "write_model"]

NEWEST_OPSET = 22
"""Newer ones are not read by every engine: TensorRT's builder crashes on opset 23's Attention."""
WEIGHTS_FILE = "model.onnx.data"
_MOST_INSIDE = 1 << 31
"""Bytes; no protocol buffer is larger."""
_DOMAINS = {"", "ai.onnx", "com.microsoft"}
_NUMPY = {1: "float32", 10: "float16"}


def read_model(path: Path) -> onnx.ModelProto:
    """Read an ONNX file and the weights beside it.

    Raises:
        BundleError: It is damaged, of too new an opset, or wants operators of somebody else.
    """
    try:
        model = onnx.load(path)
        onnx.checker.check_model(path, full_check=True)
    except Exception as error:  # a damaged protocol buffer or graph may raise nearly anything
        what = first_line(error, 200)
        raise BundleError(f"{path} is no usable ONNX file ({what}); export it again") from None
    for used in model.opset_import:
        if used.domain not in _DOMAINS:
            raise BundleError(f"{path} uses operators of {used.domain!r}, which no engine here has")
        if used.domain in ("", "ai.onnx") and used.version > NEWEST_OPSET:
            raise BundleError(f"{path} is of opset {used.version}; export it with {NEWEST_OPSET} at most")
    return model


def slim(model: onnx.ModelProto, shape: tuple[int, ...] | None = None) -> onnx.ModelProto:
    """The same network with folded constants and without what nothing needs.

    Args:
        model: One input, if a shape is given.
        shape: To fix that input to.

    Raises:
        BundleError: The network cannot have this shape.
    """
    import onnxslim  # not needed by what a device converts

    if shape is not None:
        (source,) = _inputs(model)
        for side, wanted in zip(source.type.tensor_type.shape.dim, shape, strict=True):
            if side.HasField("dim_value") and side.dim_value not in (0, wanted):
                raise BundleError(f"the network's input is fixed to other sides than {list(shape)}")
            side.dim_value = wanted
        for result in model.graph.output:  # inferred anew
            result.type.tensor_type.ClearField("shape")
        del model.graph.value_info[:]
    made: onnx.ModelProto = onnxslim.slim(model)
    return onnx.shape_inference.infer_shapes(made)


def _inputs(model: onnx.ModelProto) -> list[Any]:
    """Inputs that are no weights (old files list those, too)."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [given for given in model.graph.input if given.name not in weights]


def ends(model: onnx.ModelProto) -> tuple[Tensor, Tensor]:
    """The one input and the one output of a network.

    Raises:
        BundleError: There are more, or one is no array of floats with known sides.
    """
    sources, results = _inputs(model), list(model.graph.output)
    if len(sources) != 1 or len(results) != 1:
        names = ", ".join(item.name for item in (*sources, *results))
        raise BundleError(f"the network must have one input and one output, it has {names}")
    return _tensor(sources[0]), _tensor(results[0])


def _tensor(value: Any) -> Tensor:
    kind = _NUMPY.get(value.type.tensor_type.elem_type)
    shape = tuple(side.dim_value for side in value.type.tensor_type.shape.dim)
    if kind is None or len(shape) not in (4, 5):
        raise BundleError(f"{value.name} is no array of floats with 4 or 5 axes (batch, maps, sides)")
    return Tensor(value.name, kind, shape)  # type: ignore[arg-type]


def write_model(model: onnx.ModelProto, path: Path, most_inside: int = _MOST_INSIDE) -> Path | None:
    """Write a network; returns the file of its weights where they do not fit inside.

    Args:
        model: The network.
        path: Its file.
        most_inside: Bytes; larger ones have their weights beside them.
    """
    if model.ByteSize() < most_inside:
        path.write_bytes(model.SerializeToString())
        return None
    onnx.save_model(model, path, save_as_external_data=True, location=WEIGHTS_FILE, size_threshold=1024)
    return path.with_name(WEIGHTS_FILE)
