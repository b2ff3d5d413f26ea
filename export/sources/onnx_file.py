"""Any ONNX segmentation network, with a sidecar that says how it sees a scan."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.about import About, structures
from export.graph import ends, read_model, slim, write_model
from export.model import Description, SourceModel
from runtime.bundle import Target, file_sha256
from runtime.errors import BundleError

__all__ = ["read_onnx", "targets_for"]

_SINGLE = {"none": 0.0, "sigmoid": 0.5}
"""Score of the background where there is one map, for the foreground, by activation."""


def read_onnx(path: Path, about: About, work: Path) -> SourceModel:
    """Read a network and its sidecar.

    Args:
        path: The ONNX file; weights may lie beside it.
        about: The sidecar.
        work: A folder to write in.

    Raises:
        BundleError: The file is damaged, or does not fit the sidecar.
    """
    sight = about.sight
    if sight is None or not about.labels:
        raise BundleError(f'{path}: the sidecar must have "sight" and "labels"; see docs/export.md')
    described = Description(
        name=about.name or path.stem,
        version=about.version or "1",
        description=about.description or "Segmentation by an ONNX network.",
        licence=about.licence or "unknown",
        provenance={"source": path.name, "sha256": file_sha256(path)},
        body_part=about.body_part or "unknown",
        channels=sight.channels,
        grid=sight.grid,
        recipe=sight.recipe,
        structures=structures({label.value: label.name for label in about.labels}, about.labels),
        targets=(),
    )
    model = read_model(path)
    shape = (1, len(sight.channels), *described.sides)
    try:
        model = slim(model, shape)
        source, output = ends(model)
    except (BundleError, ValueError) as error:
        raise BundleError(f"{path}: {error}; correct the sidecar's grid and channels") from None
    targets = targets_for(output.shape[1], described)
    write_model(model, work / "source.onnx")
    return SourceModel(
        dataclasses.replace(described, targets=targets),
        work / "source.onnx",
        lambda tile: _original(path, source.name, tile),
        "the original file",
    )


def targets_for(maps: int, described: Description) -> tuple[Target, ...]:
    """What the maps of a network stand for.

    Args:
        maps: How many it answers with: one each for background and labels, or one for a single label.
        described: With structures and recipe.

    Raises:
        BundleError: Their number does not fit.
    """
    names = [structure.name for structure in described.structures]
    if maps == len(names) + 1:
        return tuple(Target(name, (), 0.0) for name in ("", *names))
    activation = described.recipe.activation
    if maps == 1 and len(names) == 1 and activation in _SINGLE:
        return Target("", (0.0,), _SINGLE[activation]), Target(names[0], (1.0,), 0.0)
    raise BundleError(
        f"the network answers with {maps} maps, which are no background and {len(names)} labels; "
        "maps that overlap are not supported"
    )


def _original(path: Path, name: str, tile: NDArray[np.float32]) -> NDArray[Any]:
    """What the file itself answers, untouched."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    kind = np.float16 if "float16" in session.get_inputs()[0].type else np.float32
    return np.asarray(session.run(None, {name: tile.astype(kind)})[0], np.float32)
