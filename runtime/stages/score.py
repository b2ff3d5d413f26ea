"""Compare every voxel's features with one condition vector per target."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from runtime.bundle import Target

__all__ = ["score"]


def score(features: NDArray[np.float32], targets: Sequence[Target]) -> NDArray[np.float32]:
    """Scores = features · vector + bias.

    Args:
        features: (F, I, J, K), C-contiguous.
        targets: T targets with vectors of length F.

    Returns:
        (T, I, J, K) float32.
    """
    vectors = np.array([target.vector for target in targets], np.float32)
    scores = vectors @ features.reshape(len(features), -1)
    scores += np.array([[target.bias] for target in targets], np.float32)
    return scores.reshape(len(targets), *features.shape[1:])
