"""Golden cases of our own encoders, whose weights are stored in half precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.proof import Proof, relative_error, run_network
from export.writing import ANSWER_FILE, IMAGE_FILE, Content
from runtime.bundle import GoldenCase
from runtime.errors import BundleError
from training.golden import golden_study

__all__ = ["Arrays", "Golden", "golden_case", "prove_stored"]

_SIDE = 32
_TOLERANCE = 2e-2
"""Of the largest value: weights are rounded to float16, which each answer sums over hundreds."""
_GOLDEN_TOLERANCE = 2e-3
"""Of the largest golden feature: float16, in which they are stored, rounds to a quarter of that."""

Arrays = Mapping[str, NDArray[Any]]


def prove_stored(what: str, found: NDArray[Any], expected: NDArray[Any]) -> Proof:
    """Compare a network whose weights are stored in half precision with torch.

    Raises:
        BundleError: They differ by more than rounded weights explain.
    """
    error = relative_error(found, expected, 1.0)
    if not error <= _TOLERANCE:
        raise BundleError(f"the exported {what} differs from torch by {error:.2g}; nothing was written")
    return Proof(f"{what}: differs from torch by {error:.1e} of the largest value (limit {_TOLERANCE:.0e})")


@dataclass(frozen=True)
class Golden:
    """A small random input and what the exported encoder gives for it; a small study.

    Attributes:
        image: (1, channels, 32, 32, 32) float16.
        features: (1, features, 32, 32, 32) float16.
        proofs: That ONNX Runtime agreed with torch on it.
        study: Modality to a NIfTI file of a head.
    """

    image: NDArray[np.float16]
    features: NDArray[np.float16]
    proofs: tuple[Proof, ...]
    study: Mapping[str, bytes]

    @property
    def files(self) -> dict[str, Content]:
        """What is in each of its files."""
        scans = {_scan_file(modality): scan for modality, scan in self.study.items()}
        return {IMAGE_FILE: self.image, ANSWER_FILE: self.features, **scans}

    @property
    def entry(self) -> GoldenCase:
        """What the manifest says of it."""
        largest = float(np.abs(self.features).max())
        tolerance = round(_GOLDEN_TOLERANCE * max(1.0, largest), 4)
        scans = {modality: _scan_file(modality) for modality in self.study}
        return GoldenCase(IMAGE_FILE, ANSWER_FILE, tolerance, scans)


def _scan_file(modality: str) -> str:
    return f"golden_{modality}.nii.gz"


def golden_case(model: bytes, channels: int, expected: Callable[[NDArray[np.float32]], Arrays]) -> Golden:
    """Make a golden case, after ONNX Runtime agreed with torch on every output.

    Args:
        model: The encoder; its output `features` is kept.
        channels: Of its input `image`.
        expected: What torch answers, by output.

    Raises:
        BundleError: They disagree.
    """
    shape = (1, channels, _SIDE, _SIDE, _SIDE)
    image = np.random.default_rng(0).random(shape, np.float32).astype(np.float16)
    found, wanted = (
        run_network(model, {"image": image.astype(np.float32)}),
        expected(image.astype(np.float32)),
    )
    proofs = tuple(prove_stored(f"encoder's {n}", values, wanted[n]) for n, values in found.items())
    return Golden(image, found["features"].astype(np.float16), proofs, golden_study())
