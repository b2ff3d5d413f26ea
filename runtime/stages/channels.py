"""Choose which series feeds which channel, and on whose grid the labels are written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from runtime.bundle import Manifest
from runtime.errors import ImageError
from runtime.study import Series, Study

__all__ = ["Selection", "choose_channels"]


@dataclass(frozen=True)
class Selection:
    """The series of a study that are used.

    Attributes:
        channels: Series of each modality that is used, in the order of the bundle's channels.
        reference: The one whose grid the labels are written on; one of `channels`.
        notes: What was left out and why.
    """

    channels: dict[str, Series]
    reference: Series
    notes: tuple[str, ...]


def _coarseness(series: Series) -> tuple[float, float]:
    """Largest voxel side, then voxel volume: smaller is better."""
    return float(np.round(series.volume.spacing_mm.max(), 2)), series.volume.grid.voxel_volume_ml


def _called(series: Series) -> str:
    return f"series {series.uid}" if series.path is None else series.path.name


def choose_channels(study: Study, manifest: Manifest) -> Selection:
    """Take the finest series of each modality the bundle knows.

    The reference is the finest of those (by its largest voxel side, then by voxel volume); among
    equals the bundle's channel order decides.

    Raises:
        ImageError: No series has a modality the bundle knows, or a required one is missing.
    """
    channels: dict[str, Series] = {}
    notes: list[str] = []
    for channel in manifest.channels:
        candidates = [series for series in study.series if series.modality == channel.modality]
        if not candidates:
            if channel.required:
                raise ImageError(
                    f"{manifest.name} needs a {channel.modality} series and the study has none; send it too, "
                    f"or name it with --as UID={channel.modality}"
                )
            continue
        best = min(candidates, key=_coarseness)
        channels[channel.modality] = best
        notes += [
            f"{_called(series)}: another {channel.modality}, no finer than {_called(best)}; not used"
            for series in candidates
            if series is not best
        ]
    known = {channel.modality for channel in manifest.channels}
    notes += [
        f"{_called(series)}: {series.decision.reason}; {manifest.name} has no channel for it; not used"
        for series in study.series
        if series.modality not in known
    ]
    if not channels:
        found = "; ".join(f"{_called(series)}: {series.decision.reason}" for series in study.series)
        raise ImageError(
            f"no series shows one of {sorted(known)} ({found}); name its modality with --as UID=T1"
        )
    reference = min(channels.values(), key=_coarseness)
    return Selection(channels, reference, tuple(notes))
