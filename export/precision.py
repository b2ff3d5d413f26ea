"""Lower the precision of a network: the file itself says it, so every engine runs it as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from export.graph import write_model
from export.lowering import to_half, to_int8
from export.model import Description, SourceModel
from runtime.errors import BundleError, first_line
from runtime.formats.study_input import read_study
from runtime.kernels import open_kernels
from runtime.stages.blend import tile_origins
from runtime.stages.channels import choose_channels
from runtime.stages.place import place_channels
from runtime.stages.show import show

__all__ = ["calibration_tiles", "lower"]

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
        first = first_line(error, 200)
        raise BundleError(f"the network cannot be made {precision} ({first}); use --precision fp32") from None
    return folder / "model.onnx"


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
