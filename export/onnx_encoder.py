"""The encoder as ONNX, its weights stored in half precision."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from training.networks.encoder import Encoder

__all__ = ["encoder_onnx"]

_OPSET = 20
_SMALL = 256
"""Tensors of fewer values (biases, shapes) keep full precision."""


def _halve_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store large weights as float16 followed by a Cast; arithmetic stays float32."""
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size >= _SMALL:
            name, tensor_name = tensor.name, f"{tensor.name}.half"
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), tensor_name))
            casts.append(
                helper.make_node("Cast", [tensor_name], [name], f"{name}.cast", to=TensorProto.FLOAT)
            )
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    return model


def encoder_onnx(encoder: Encoder, channels: int) -> bytes:
    """Export to ONNX with free spatial axes.

    Args:
        encoder: Trained encoder; put into evaluation mode.
        channels: Input channels.

    Returns:
        A serialised model: `image` (1, channels, I, J, K) to `features` (1, features, I, J, K).
    """
    example = torch.zeros(1, channels, 32, 48, 64)
    free = dict.fromkeys((2, 3, 4), torch.export.Dim.AUTO)
    program = torch.onnx.export(
        encoder.eval(),
        (example,),
        dynamo=True,
        opset_version=_OPSET,
        input_names=["image"],
        output_names=["features"],
        dynamic_shapes=(free,),
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch did not return an ONNX program")
    return bytes(_halve_weights(program.model_proto).SerializeToString())
