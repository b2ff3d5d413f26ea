"""Proof that what is exported answers as its source does: numbers on a tile, masks on golden studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import BundleError
from runtime.session import Session
from runtime.trust.limits import LEAST_DICE, MOST_ERROR
from training.metrics import dice

__all__ = [
    "LEAST_DICE",
    "MOST_ERROR",
    "Proof",
    "prove_masks",
    "prove_numbers",
    "relative_error",
    "run_network",
]


@dataclass(frozen=True)
class Proof:
    """One comparison that was passed; `text` says what, how well and what was the limit."""

    text: str


def run_network(network: Path | bytes, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Every output of a network by name, from ONNX Runtime on the CPU; weights may lie beside a file."""
    import onnxruntime

    given = network if isinstance(network, bytes) else str(network)
    session = onnxruntime.InferenceSession(given, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def relative_error(found: NDArray[Any], expected: NDArray[Any], least: float = 1e-6) -> float:
    """Largest difference over the largest expected value, or over `least`; infinite where shapes differ."""
    if found.shape != expected.shape:
        return float("inf")
    largest = max(least, float(np.abs(expected).max()))
    return float(np.abs(found.astype(np.float64) - expected).max()) / largest


def prove_numbers(
    what: str, found: NDArray[Any], expected: NDArray[Any], origin: str, limit: float = MOST_ERROR
) -> Proof:
    """Compare numbers.

    Args:
        what: Of what, for the message.
        found: By ONNX Runtime.
        expected: By the source.
        origin: Who that is.
        limit: Largest relative error.

    Raises:
        BundleError: They differ by more, or are not finite.
    """
    error = relative_error(found, expected)
    if not error <= limit:
        raise BundleError(
            f"the exported {what} differs from {origin} by {error:.2g} of the largest value, more than "
            f"{limit:.0e}; nothing was written"
        )
    return Proof(f"{what}: differs from {origin} by {error:.1e} of the largest value (limit {limit:.0e})")


def prove_masks(
    tried: Path, truth: Path, studies: Sequence[Sequence[str]], precision: str
) -> tuple[Proof, ...]:
    """Compare the masks of two bundles on golden studies.

    Args:
        tried: The bundle of lower precision.
        truth: The same in float32.
        studies: Golden cases, each as `Session.segment` takes it.
        precision: Of `tried`: "fp16" or "int8".

    Raises:
        BundleError: A structure's Dice is too low, or none has a voxel, so that nothing is proved.
    """
    limit, proofs, seen = LEAST_DICE[precision], [], 0
    with Session(truth, "cpu") as right, Session(tried, "cpu") as other:
        for number, study in enumerate(studies, start=1):
            wanted, found = (opened.segment(study).labels.voxels for opened in (right, other))
            for structure in right.bundle.manifest.structures:
                value = structure.value
                if structure.union_of or not ((wanted == value).any() or (found == value).any()):
                    continue
                score, seen = dice(found == value, wanted == value), seen + 1
                if not score >= limit:
                    raise BundleError(
                        f"{precision}: {structure.name} of golden case {number} has Dice {score:.4f} against "
                        f"float32, less than {limit}; nothing was written, export it with --precision fp32"
                    )
                where = f"{precision}: {structure.name}, golden case {number}"
                proofs.append(Proof(f"{where}: Dice {score:.4f} (limit {limit})"))
    if not seen:
        raise BundleError(
            f"nothing that this model labels is in the golden cases, so {precision} is not proved; "
            "give a study that shows it with --golden"
        )
    return tuple(proofs)
