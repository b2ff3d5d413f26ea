"""The whole run on one page: a study goes in, labels on the scanner's own voxels come out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime.bundle import Bundle
from runtime.bundle import Channel as ChannelEntry
from runtime.content import SliceContent, slice_content
from runtime.engines.engine import Engine
from runtime.errors import ImageError
from runtime.kernels import Kernels
from runtime.report import Clock
from runtime.stages.channels import choose_channels
from runtime.stages.clean import clean
from runtime.stages.encode import encode
from runtime.stages.label import label_features
from runtime.stages.locate import model_grid
from runtime.stages.measure import Measurement, coverage, measure
from runtime.stages.normalise import channel_normalisation
from runtime.stages.place import Placed, place_channels
from runtime.stages.prepare import prepare
from runtime.study import Series, Study
from runtime.volume import Grid, Labels

__all__ = ["Device", "Progress", "Segmented", "run"]

Progress = Callable[[str, float], None]
"""Told the stage's name and the finished share of it, 0…1."""


@dataclass(frozen=True)
class Device:
    """What runs: the loaded encoder and the voxel kernels."""

    engine: Engine
    kernels: Kernels


@dataclass(frozen=True)
class Segmented:
    """What the stages made.

    Attributes:
        labels: Every structure of the bundle, on the reference's grid.
        content: How much of each label is in each slice of it.
        reference: The series whose grid that is.
        channels: What fed the network, dropped channels included.
        gains: Normalisation gain of each used channel by modality.
        measurements: Every structure, unions included.
        grid: The network's grid.
        warnings: What a reader must know.
        assumptions: What was decided about the input.
    """

    labels: Labels
    content: SliceContent
    reference: Series
    channels: tuple[Placed, ...]
    gains: dict[str, float]
    measurements: tuple[Measurement, ...]
    grid: Grid
    warnings: tuple[str, ...]
    assumptions: tuple[str, ...]


def run(study: Study, bundle: Bundle, device: Device, clock: Clock, progress: Progress) -> Segmented:
    """Segment a study.

    Raises:
        ImageError: The study has nothing the bundle can use, or shows no head.
        DeviceError: The device failed.
    """
    manifest, kernels = bundle.manifest, device.kernels
    selection = choose_channels(study, manifest)
    reference = selection.reference
    with clock.stage("align"):
        placed = place_channels(selection, lambda share: progress("align", share))
        _check_required(placed, manifest.channels)
    with clock.stage("locate"):
        is_ct = reference.modality == "CT"
        grid = model_grid(reference.volume, is_ct, manifest.grid, manifest.encoder.multiple_of, kernels)
    with clock.stage("prepare"):
        image, gains = _prepare(placed, manifest.channels, grid, kernels)
    with clock.stage("encode"):
        features = encode(image, device.engine, manifest, kernels, lambda share: progress("encode", share))
    del image
    with clock.stage("label"):
        values = np.array([0, *(bundle.structure(t.structure).value for t in manifest.targets[1:])], np.uint8)
        voxels = label_features(features, grid, manifest.targets, reference.volume.grid, values, kernels)
    del features
    with clock.stage("clean"):
        removed = clean(voxels, reference.volume.grid.voxel_volume_ml, bundle, kernels)
    names = {structure.value: structure.name for structure in manifest.structures if not structure.union_of}
    labels = Labels(voxels, reference.volume.affine, names)
    with clock.stage("measure"):
        content = slice_content(voxels, kernels)
        measurements = measure(labels, content, bundle, manifest.structures)
        warnings = _warnings(measurements, placed, manifest.body_part)
    notes = (
        *study.notes,
        *selection.notes,
        *(note for item in placed for note in item.series.notes),
        *removed,
    )
    return Segmented(labels, content, reference, placed, gains, measurements, grid, warnings, notes)


def _check_required(placed: tuple[Placed, ...], channels: tuple[ChannelEntry, ...]) -> None:
    """Refuse to go on without a channel that the bundle cannot do without."""
    required = {channel.modality for channel in channels if channel.required}
    for item in placed:
        if not item.used and item.series.modality in required:
            raise ImageError(f"the {item.series.modality} scan is needed and {item.reason}; scan it again")


def _prepare(
    placed: tuple[Placed, ...], channels: tuple[ChannelEntry, ...], grid: Grid, kernels: Kernels
) -> tuple[Any, dict[str, float]]:
    """The network's input (channels, I, J, K), where the kernels run; missing channels are zero."""
    image = kernels.zeros((len(channels), *grid.shape), np.float32)
    gains: dict[str, float] = {}
    for index, channel in enumerate(channels):
        for item in placed:
            if item.series.modality == channel.modality and item.used:
                normalisation = channel_normalisation(item.series.volume, channel, kernels)
                prepare(item.series.volume, grid, image[index], normalisation, kernels, item.world)
                gains[channel.modality] = normalisation.gain
    return image, gains


def _warnings(
    measurements: tuple[Measurement, ...], placed: tuple[Placed, ...], body_part: str
) -> tuple[str, ...]:
    """Coverage and dropped channels.

    Raises:
        ImageError: There is hardly any brain.
    """
    (brain,) = [item for item in measurements if item.structure.name == "brain"]
    shown, warnings = coverage(brain)
    if not shown:
        raise ImageError(f"this is not a {body_part}: {warnings[0]}; give a study that shows a {body_part}")
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
    return (*warnings, *dropped, *unsure)
