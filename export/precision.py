"""Lower the precision of a network: the file itself says it, so every engine runs it as it is."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from export.graph import ends, write_model
from export.model import Description, SourceModel
from runtime.errors import BundleError
from runtime.formats.study_input import read_study
from runtime.kernels import open_kernels
from runtime.stages.blend import tile_origins
from runtime.stages.channels import choose_channels
from runtime.stages.place import place_channels
from runtime.stages.show import show

__all__ = ["calibration_tiles", "lower", "to_half", "to_int8"]

_KEPT = ["InstanceNormalization", "LayerNormalization", "GroupNormalization", "BatchNormalization"]
"""Their sums over a whole tile leave float16; so do the parts that exporters write them in."""
_KEPT_PARTS = ["ReduceMean", "ReduceSum", "ReduceSumSquare", "Pow", "Sqrt", "Reciprocal", "Softmax", "Exp"]
_CONVOLUTIONS, _PRODUCTS = ["Conv"], ["MatMul", "Gemm"]
_MOST_TILES = 8


def lower(
    source: SourceModel, work: Path, studies: Sequence[Sequence[str]], precision: Literal["fp16", "int8"]
) -> Path:
    """The network of a source in lower precision.

    Args:
        source: With a network in float32.
        work: A folder to write in.
        studies: Golden cases; int8 is calibrated on them.
        precision: Wanted.

    Raises:
        BundleError: The network cannot be converted.
        ImageError: A study cannot be read.
    """
    folder = work / "lowered"
    folder.mkdir()
    try:
        if precision == "fp16":
            write_model(to_half(onnx.load(source.onnx)), folder / "model.onnx")
        else:
            tiles = [tile for study in studies for tile in calibration_tiles(source.described, study)]
            to_int8(source.onnx, folder / "model.onnx", tiles[:: max(1, len(tiles) // _MOST_TILES)])
    except (ValueError, RuntimeError, NotImplementedError, onnx.checker.ValidationError) as error:
        if isinstance(error, BundleError):
            raise
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise BundleError(f"the network cannot be made {precision} ({first}); use --precision fp32") from None
    return folder / "model.onnx"


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network in float16, with float32 going in and out and normalisation kept in float32.

    Source:
        The converter of ONNX Runtime (`onnxruntime.transformers.float16`).
    """
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    kept = [*DEFAULT_OP_BLOCK_LIST, *_KEPT, *_KEPT_PARTS]
    with _quiet():
        made: onnx.ModelProto = convert_float_to_float16(model, keep_io_types=True, op_block_list=kept)
    return onnx.shape_inference.infer_shapes(made)


def to_int8(
    plain: Path, out: Path, tiles: Sequence[NDArray[np.float32] | Mapping[str, NDArray[Any]]]
) -> None:
    """Write the network with explicit quantisation of its convolutions, but for the first and the last.

    A network of fewer than three convolutions is a transformer: its products with weights take their place.
    Symmetric int8, weights by output channel, activations by the range seen.

    Args:
        plain: The network in float32.
        out: The file to write.
        tiles: What it is calibrated on, each (1, channels, …); or, of several inputs, all by name.

    Raises:
        BundleError: There is nothing to calibrate on, or nothing between the first and the last.

    Source:
        `onnxruntime.quantization.quantize_static`, in the form that TensorRT reads (Q/DQ pairs).
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    model = onnx.load(plain)
    for number, node in enumerate(model.graph.node):  # the quantiser knows nodes by their names
        node.name = node.name or f"node_{number}"
    kinds, chosen = _CONVOLUTIONS, _weighted(model, _CONVOLUTIONS)
    if len(chosen) < 3:
        kinds, chosen = _PRODUCTS, _weighted(model, _PRODUCTS)
    if len(chosen) < 3 or not tiles:
        raise BundleError("nothing is quantised: too few convolutions, or nothing to calibrate on")
    feeds = [tile if isinstance(tile, Mapping) else {ends(model)[0].name: tile} for tile in tiles]
    with _quiet():
        quantize_static(
            model,
            out,
            _Tiles(feeds),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=kinds,
            nodes_to_quantize=chosen[1:-1],
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            # TensorRT reads no int32 biases: they stay as they are.
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
        )


def _weighted(model: onnx.ModelProto, kinds: Sequence[str]) -> list[str]:
    """Nodes of these kinds, in order, whose second input is a weight."""
    weights = {tensor.name for tensor in model.graph.initializer}
    weights |= {node.output[0] for node in model.graph.node if node.op_type == "Constant"}
    return [node.name for node in model.graph.node if node.op_type in kinds and node.input[1] in weights]


class _Tiles:
    """Calibration data as the quantiser asks for it."""

    def __init__(self, feeds: Sequence[Mapping[str, NDArray[Any]]]) -> None:
        self._left = iter(feeds)

    def get_next(self) -> Mapping[str, NDArray[Any]] | None:
        """The next inputs, or None."""
        return next(self._left, None)


def calibration_tiles(described: Description, study: Sequence[str]) -> list[NDArray[np.float32]]:
    """Tiles of a study as the network is shown them, each (1, channels, …).

    Raises:
        ImageError: The study cannot be read, or has nothing that the bundle knows.
    """
    kernels = open_kernels("cpu")
    manifest = described.before_files()
    selection = choose_channels(read_study(list(study)), manifest)
    placed = place_channels(selection, lambda share: None)
    image = show(placed, selection.reference, manifest, described.recipe, kernels).image
    tile = described.grid.tile_voxels
    room = [max(side - length, 0) for side, length in zip(tile, image.shape[1:], strict=True)]
    image = np.pad(image, [(0, 0), *((n // 2, n - n // 2) for n in room)])
    shape = image.shape[1], image.shape[2], image.shape[3]
    cut = []
    for a, b, c in tile_origins(shape, tile, described.grid.overlap):
        part = image[:, a : a + tile[0], b : b + tile[1], c : c + tile[2]]
        part = part.reshape(1, part.shape[0], *described.sides)
        if np.ptp(part) > 0:  # air says nothing about ranges
            cut.append(np.ascontiguousarray(part, np.float32))
    return cut


@contextmanager
def _quiet() -> Iterator[None]:
    """The converters speak to the root logger; what matters comes as an exception."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
