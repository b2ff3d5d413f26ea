"""From a source model to a bundle: prove the network, lower its precision, prove the masks, place it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from export.golden import golden_tile, write_study
from export.graph import WEIGHTS_FILE, ends
from export.model import SourceModel
from export.precision import lower
from export.proof import Proof, prove_masks, prove_numbers, run_network
from export.writing import ANSWER_FILE, IMAGE_FILE, Content, golden_entry, place_bundle, stage_bundle
from runtime.bundle import Bundle, Network

__all__ = ["Precision", "Wanted", "export_model"]

Precision = Literal["fp32", "fp16", "int8"]


@dataclass(frozen=True)
class Wanted:
    """What is to be made of a source.

    Attributes:
        precision: Of the network.
        golden: Studies to compare masks on, each as `Session.segment` takes it; without any, a made one.
        force: Replace a bundle that is there.
    """

    precision: Precision = "fp32"
    golden: tuple[tuple[str, ...], ...] = ()
    force: bool = False


def export_model(source: SourceModel, out: Path, wanted: Wanted) -> tuple[Bundle, tuple[Proof, ...]]:
    """Make the bundle of a source; `out` appears whole or not at all.

    Raises:
        BundleError: The network differs from its source, or loses too much by its precision.
        DestinationError: `out` is there and is not to be replaced.
    """
    with TemporaryDirectory(prefix="zeus-edge-") as name:
        work = Path(name)
        tile = golden_tile(source.described)
        expected = source.answer(tile.astype(np.float32))
        network, found = _answer(source.onnx, tile)
        proofs = [prove_numbers("network", found, expected, source.origin)]
        plain = work / "fp32"
        _stage(source, source.onnx, network, (tile, expected, found), proofs, plain)
        if wanted.precision == "fp32":
            return place_bundle(plain, out, wanted.force), tuple(proofs)
        studies: Sequence[Sequence[str]] = wanted.golden or [write_study(source.described, work)]
        lowered = lower(source, work, studies, wanted.precision)
        network, found = _answer(lowered, tile)
        network = dataclasses.replace(network, precision=wanted.precision)
        tried = work / wanted.precision
        _stage(source, lowered, network, (tile, expected, found), proofs, tried)
        masks = prove_masks(tried, plain, studies, wanted.precision)
        _stage(source, lowered, network, (tile, expected, found), [*proofs, *masks], tried)
        return place_bundle(tried, out, wanted.force), (*proofs, *masks)


def _answer(network: Path, tile: NDArray[np.float16]) -> tuple[Network, NDArray[Any]]:
    """The network's entry in the manifest, and what it makes of a tile."""
    source, output = ends(onnx.load(network, load_external_data=False))
    found = run_network(network, {source.name: tile.astype(source.dtype)})[output.name]
    beside = network.with_name(WEIGHTS_FILE)
    weights = WEIGHTS_FILE if beside.exists() else ""
    return Network("model.onnx", (source,), (output,), 1, weights=weights), found.astype(np.float32)


def _stage(
    source: SourceModel,
    file: Path,
    network: Network,
    arrays: tuple[NDArray[Any], NDArray[Any], NDArray[Any]],
    proofs: Sequence[Proof],
    folder: Path,
) -> None:
    """Write a bundle aside; `arrays` are the golden tile, the source's answer and the network's."""
    tile, expected, found = arrays
    files: dict[str, Content] = {
        network.file: file,
        IMAGE_FILE: tile,
        ANSWER_FILE: expected.astype(np.float16),
    }
    if network.weights:
        files[network.weights] = file.with_name(network.weights)
    proved = {f"proof {number}": proof.text for number, proof in enumerate(proofs, start=1)}
    said = source.described
    said = dataclasses.replace(said, provenance={**said.provenance, **proved})
    golden = golden_entry(expected, found)
    stage_bundle(files, lambda entries: said.manifest(network, golden, entries), folder)
