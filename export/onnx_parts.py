"""The parts of a network as ONNX, their weights stored in half precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from training.networks.encoder import Encoder
from training.networks.text import MOST_TOKENS, TextEncoder
from training.networks.zeus import Zeus

__all__ = [
    "OPSET",
    "decoder_onnx",
    "encoder_onnx",
    "part_onnx",
    "part_program",
    "text_onnx",
    "zeus_encoder_onnx",
]

OPSET = 20
_SMALL = 256
"""Tensors of fewer values (biases, shapes) keep full precision."""

_AUTO = torch.export.Dim.AUTO
_SPACE = dict.fromkeys((2, 3, 4), _AUTO)


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


def part_program(
    part: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    free: Sequence[Mapping[int, object]],
) -> onnx.ModelProto:
    """Export a module.

    Args:
        part: Put into evaluation mode.
        inputs: Example of every input by name, in order; sides that are free must be above 1 and differ.
        outputs: Names of the outputs, in order.
        free: Of each input, its free axes.

    Raises:
        RuntimeError: torch gave no program.
    """
    program = torch.onnx.export(
        part.eval(),
        tuple(inputs.values()),
        dynamo=True,
        opset_version=OPSET,
        input_names=list(inputs),
        output_names=list(outputs),
        dynamic_shapes=tuple(dict(axes) for axes in free),
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch did not return an ONNX program")
    return program.model_proto


def part_onnx(
    part: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    free: Sequence[Mapping[int, object]],
) -> bytes:
    """As `part_program`, serialised, with large weights stored in half precision."""
    program = part_program(part, inputs, outputs, free)
    return bytes(_halve_weights(program).SerializeToString())


def encoder_onnx(encoder: Encoder, channels: int) -> bytes:
    """Export a plain encoder with free spatial axes.

    Args:
        encoder: Trained encoder.
        channels: Input channels.

    Returns:
        A serialised model: `image` (1, channels, I, J, K) to `features` (1, features, I, J, K).
    """
    return part_onnx(encoder, {"image": torch.zeros(1, channels, 32, 48, 64)}, ["features"], [_SPACE])


class _Encode(nn.Module):
    def __init__(self, zeus: Zeus) -> None:
        super().__init__()
        self.zeus = zeus

    def forward(self, image: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        return self.zeus.encode(image, present)


class _EncodeStack(nn.Module):
    """Early fusion: a missing modality is an image of zeros, so nothing else says that it is missing."""

    def __init__(self, zeus: Zeus) -> None:
        super().__init__()
        self.encoder = zeus.encoder

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return self.encoder.both(image)


class _Decode(nn.Module):
    def __init__(self, zeus: Zeus) -> None:
        super().__init__()
        self.zeus = zeus

    def forward(self, bottom: Tensor, condition: Tensor, present: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        masks = self.zeus.decode(bottom, condition, present)
        return masks.vectors, masks.biases, masks.presence


def zeus_encoder_onnx(zeus: Zeus) -> bytes:
    """Export what is run once per study, with free spatial axes.

    Returns:
        A serialised model: `image` (1, M, I, J, K) and, for hybrid and late fusion, `present` (1, M) bool
        to `features` and `bottom`, as `Zeus.encode` says. With early fusion missing modalities must be 0.
    """
    image = torch.zeros(1, zeus.config.modalities, 32, 48, 64)
    names = ["features", "bottom"]
    if zeus.config.fusion == "early":
        return part_onnx(_EncodeStack(zeus), {"image": image}, names, [_SPACE])
    present = torch.ones(1, zeus.config.modalities, dtype=torch.bool)
    return part_onnx(_Encode(zeus), {"image": image, "present": present}, names, [_SPACE, {}])


def decoder_onnx(zeus: Zeus) -> bytes:
    """Export what answers instructions, for any number of targets and any size of map.

    Returns:
        A serialised model: `bottom` (as the encoder gives it), `condition` (1, M, T, condition) and `present`
        (1, M) bool to `vectors` (1, T, F), `biases` (1, T) and `presence` (1, T).
    """
    config = zeus.config
    count, width = config.modalities, config.widths[-1]
    late = config.fusion == "late"
    bottom = torch.zeros(1, *((count,) if late else ()), width, 3, 4, 5)
    first = 3 if late else 2
    inputs = {
        "bottom": bottom,
        "condition": torch.ones(1, count, 6, config.condition),
        "present": torch.ones(1, count, dtype=torch.bool),
    }
    free = [dict.fromkeys((first, first + 1, first + 2), _AUTO), {2: _AUTO}, {}]
    return part_onnx(_Decode(zeus), inputs, ["vectors", "biases", "presence"], free)


def text_onnx(encoder: TextEncoder) -> bytes:
    """Export a text encoder for one text of any length.

    Returns:
        A serialised model: `ids` (1, L) int64, L at most `MOST_TOKENS`, to `condition` (1, condition).
    """
    tokens = torch.export.Dim("tokens", min=2, max=MOST_TOKENS)
    return part_onnx(encoder, {"ids": torch.ones(1, 12, dtype=torch.int64)}, ["condition"], [{1: tokens}])
