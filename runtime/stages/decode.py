"""Decode a condition into the vector and bias that score every voxel, and into its presence."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.bundle import Manifest, Target
from runtime.engines.engine import Engine
from runtime.errors import BundleError
from runtime.stages.encode import Bottom

__all__ = ["Decoded", "decode"]

_LARGEST_WEIGHT = 1e6
"""Of a decoded vector, as of one in a manifest: scores must stay far from the end of float32."""


@dataclass(frozen=True)
class Decoded:
    """What a condition became for one study.

    Attributes:
        target: How voxels score.
        presence: Probability that the study shows it at all, 0…1, as the network sees it.
    """

    target: Target
    presence: float


def decode(
    structure: str,
    condition: NDArray[np.float32],
    bottom: Bottom,
    present: NDArray[np.bool_],
    engine: Engine,
    manifest: Manifest,
) -> Decoded:
    """Decode one condition.

    One at a time: with several in a batch a sum's order, and so its last bits, would depend on what
    else is asked for.

    Args:
        structure: Whose vector it becomes.
        condition: What each channel is asked for, (M, C); those of absent channels do not count.
        bottom: Of the encoder.
        present: Which channels the study has, (M,).
        engine: The loaded decoder.
        manifest: Says how many features a vector has.

    Raises:
        BundleError: The network answers with something else than its manifest says, or with absurd numbers.
        DeviceError: The device failed.
    """
    made = engine.run(
        {
            "bottom": bottom,
            "condition": np.ascontiguousarray(condition[None, :, None], np.float32),
            "present": np.ascontiguousarray(present[None]),
        }
    )
    wanted = {"vectors": (1, 1, len(manifest.targets[0].vector)), "biases": (1, 1), "presence": (1, 1)}
    for name, shape in wanted.items():
        found = made.get(name)
        if found is None or found.shape != shape:
            what = "nothing" if found is None else found.shape
            raise BundleError(
                f"{manifest.name}: the decoder gave {what} for {name!r} where its manifest says {shape}; "
                "export the bundle again"
            )
    vector = tuple(float(value) for value in made["vectors"][0, 0])
    bias, log_odds = float(made["biases"][0, 0]), float(made["presence"][0, 0])
    credible = all(abs(value) <= _LARGEST_WEIGHT for value in (*vector, bias))  # NaN is not
    if not credible or math.isnan(log_odds):
        raise BundleError(f"{manifest.name}: the decoder gave absurd numbers; export the bundle again")
    # Both tails without overflow.
    presence = 0.5 * (1.0 + math.tanh(0.5 * log_odds))
    return Decoded(Target(structure, vector, bias), presence)
