"""Bring every channel into the coordinates of the reference, or drop it and say so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from runtime.errors import ImageError
from runtime.stages.channels import Selection
from runtime.study import Series
from runtime.volume import Affine

__all__ = ["RESIDUAL_LIMIT_MM", "Placed", "place_channels", "placement_warnings"]

RESIDUAL_LIMIT_MM = 3.0
"""Two model voxels: beyond it a channel would put borders into its neighbours' tissue."""


@dataclass(frozen=True)
class Placed:
    """One channel and where it lies.

    Attributes:
        series: The scan.
        world: RAS+ of the reference to RAS+ of this scan, (4, 4).
        method: How that was found.
        residual_mm: Estimated error; 0 where both share scanner coordinates.
        used: False when the registration failed or cannot be trusted.
        limit_mm: The limit of the residual.
        reason: Why it is not used; "" when it is.
    """

    series: Series
    world: Affine
    method: str
    residual_mm: float
    used: bool
    limit_mm: float = RESIDUAL_LIMIT_MM
    reason: str = ""


def _shares_coordinates(series: Series, reference: Series) -> bool:
    here, there = series.frame_of_reference_uid, reference.frame_of_reference_uid
    if here is not None and there is not None:
        return here == there  # an equal grid proves nothing: protocols repeat it after the patient moved
    return series.volume.grid.same_place_as(reference.volume.grid)


def place_channels(selection: Selection, advance: Callable[[float], None]) -> tuple[Placed, ...]:
    """Find the rigid transform of every channel.

    Channels with the reference's frame of reference, or (where none is known) exactly its grid,
    are taken as they lie; the others are registered, and dropped where that cannot be trusted.

    Args:
        selection: The chosen series.
        advance: Told the finished share, 0…1.
    """
    placed = []
    reference = selection.reference
    for done, series in enumerate(selection.channels.values()):
        if series is reference:
            placed.append(Placed(series, np.eye(4), "identity (the reference)", 0.0, True))
        elif _shares_coordinates(series, reference):
            placed.append(Placed(series, np.eye(4), "same frame of reference or grid", 0.0, True))
        else:
            advance(done / len(selection.channels))
            placed.append(_registered(series, reference))
    return tuple(placed)


def _registered(series: Series, reference: Series) -> Placed:
    from runtime.stages.align import align

    try:
        found = align(series.volume, reference.volume)
    except ImageError as error:
        method = "could not be registered"
        return Placed(series, np.eye(4), method, 0.0, used=False, reason=f"{method}: {error}")
    used = found.trustworthy(RESIDUAL_LIMIT_MM)
    doubt = (
        f"its registration cannot be trusted (residual {found.residual_mm:.1f} mm, limit "
        f"{RESIDUAL_LIMIT_MM:.1f} mm; similarity {found.similarity:.2f}; overlap {found.overlap:.0%})"
    )
    return Placed(series, found.world, found.method, found.residual_mm, used, reason="" if used else doubt)


def placement_warnings(placed: tuple[Placed, ...]) -> tuple[str, ...]:
    """What a reader must know: channels that were dropped, and those whose modality is unsure."""
    dropped = [
        f"{item.series.modality} was dropped: {item.reason}; the result uses "
        f"{', '.join(other.series.modality for other in placed if other.used)} only"
        for item in placed
        if not item.used
    ]
    unsure = [
        f"{item.series.modality} rests on weak evidence: {item.series.decision.reason}; check it or use --as"
        for item in placed
        if item.used and not item.series.decision.certain
    ]
    return (*dropped, *unsure)
