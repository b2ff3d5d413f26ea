"""The encoder as ONNX: batch normalisation folded in, weights stored in half precision."""

from __future__ import annotations

import copy
import io

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from training.networks.nano import Encoder

__all__ = ["encoder_onnx", "fold_normalisation"]

_OPSET = 20
_SMALL = 256
"""Tensors of fewer values (biases, shapes) keep full precision."""


def fold_normalisation(encoder: Encoder) -> Encoder:
    """A copy with every batch normalisation folded into the convolution before it."""
    folded = copy.deepcopy(encoder).eval()
    for module in list(folded.modules()):
        if isinstance(module, nn.Sequential) and len(module) > 1 and isinstance(module[1], nn.BatchNorm3d):
            module[0] = fuse_conv_bn_eval(module[0], module[1])
            module[1] = nn.Identity()
    return folded


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
        encoder: Trained encoder; not changed.
        channels: Input channels.

    Returns:
        A serialised model: `image` (1, channels, I, J, K) to `features` (1, features, I, J, K).
    """
    folded = fold_normalisation(encoder)
    example = torch.zeros(1, channels, 32, 48, 64)
    free = dict.fromkeys((2, 3, 4), torch.export.Dim.AUTO)
    program = torch.onnx.export(
        folded,
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
    buffer = io.BytesIO()
    program.save(buffer)
    return _halve_weights(onnx.load_from_string(buffer.getvalue())).SerializeToString()
