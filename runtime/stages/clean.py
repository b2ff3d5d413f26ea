"""Remove what cannot be anatomy: pieces of one organ that are not connected with the rest of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runtime.bundle import Bundle
from runtime.kernels import Kernels
from runtime.stages.components import keep_largest_union

__all__ = ["clean"]


def clean(voxels: NDArray[np.uint8], voxel_ml: float, bundle: Bundle, kernels: Kernels) -> tuple[str, ...]:
    """Keep the largest connected piece of each structure the bundle calls connected, in place.

    Args:
        voxels: (I, J, K) label values; overwritten.
        voxel_ml: Volume of one voxel.
        bundle: Says which structures are one piece.
        kernels: Where to run.

    Returns:
        A note for each structure that lost something.
    """
    notes = []
    for name in bundle.manifest.connected:
        removed = keep_largest_union(voxels, bundle.parts(bundle.structure(name)), kernels)
        if lost := sum(removed.values()):
            notes.append(f"removed {lost * voxel_ml:.2f} ml labelled {name} apart from its largest piece")
    return tuple(notes)
