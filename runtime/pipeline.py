"""The whole run on one page: a study goes in, labels on the scanner's own voxels come out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.bundle import Bundle, Manifest, Recipe
from runtime.bundle import Channel as ChannelEntry
from runtime.content import SliceContent, slice_content
from runtime.engines.engine import Engine
from runtime.errors import ImageError
from runtime.kernels import Kernels
from runtime.report import Clock
from runtime.stages.channels import choose_channels
from runtime.stages.clean import clean
from runtime.stages.encode import Bottom, encode, encode_with_bottom
from runtime.stages.label import label_features
from runtime.stages.label_scores import label_scores
from runtime.stages.locate import model_grid
from runtime.stages.measure import Measurement, coverage, measure
from runtime.stages.normalise import channel_normalisation
from runtime.stages.place import Placed, place_channels, placement_warnings
from runtime.stages.prepare import prepare
from runtime.stages.show import show
from runtime.stages.slide import slide
from runtime.study import Series, Study
from runtime.volume import Grid, Labels

__all__ = [
    "Aligned",
    "Device",
    "Encoded",
    "Progress",
    "Scene",
    "Segmented",
    "align_study",
    "encode_study",
    "finish",
    "label_values",
    "run",
]

Progress = Callable[[str, float], None]
"""Told the stage's name and the finished share of it, 0…1."""


@dataclass(frozen=True)
class Device:
    """What runs: the loaded encoder, the voxel kernels, and the decoder of a bundle with instructions."""

    engine: Engine
    kernels: Kernels
    decoder: Engine | None = None


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


@dataclass(frozen=True)
class Aligned:
    """A study's series, each brought into the reference's coordinates.

    Attributes:
        reference: The series whose grid labels are written on.
        channels: What feeds the network, dropped channels included.
        assumptions: What was decided about the input.
    """

    reference: Series
    channels: tuple[Placed, ...]
    assumptions: tuple[str, ...]

    def present(self, manifest: Manifest) -> NDArray[np.bool_]:
        """Which of the bundle's channels it has, (M,)."""
        used = {item.series.modality for item in self.channels if item.used}
        return np.array([channel.modality in used for channel in manifest.channels])


@dataclass(frozen=True)
class Scene:
    """What the network saw, without what it made of it: series, its grid, and gains by modality."""

    aligned: Aligned
    grid: Grid
    gains: dict[str, float]


@dataclass(frozen=True)
class Encoded:
    """A study as the encoder left it: all that labels are made from.

    Attributes:
        scene: What was encoded.
        features: Of every voxel of the scene's grid, (F, I, J, K); with a recipe perhaps scores.
        bottom: What instructions are decoded from; None in a bundle without them.
    """

    scene: Scene
    features: NDArray[np.float32]
    bottom: Bottom | None


def run(study: Study, bundle: Bundle, device: Device, clock: Clock, progress: Progress) -> Segmented:
    """Segment a study with a bundle's own targets.

    Raises:
        ImageError: The study has nothing the bundle can use, or shows no head.
        DeviceError: The device failed.
    """
    encoded = encode_study(align_study(study, bundle, clock, progress), bundle, device, clock, progress)
    scene, kernels, manifest = encoded.scene, device.kernels, bundle.manifest
    with clock.stage("label"):
        onto, values = scene.aligned.reference.volume.grid, label_values(bundle)
        if manifest.recipe is None:
            voxels = label_features(encoded.features, scene.grid, manifest.targets, onto, values, kernels)
        else:
            voxels = label_scores(encoded.features, scene.grid, onto, values, manifest, kernels)
    del encoded  # before anything else takes memory
    return finish(voxels, scene, bundle, kernels, clock)


def align_study(study: Study, bundle: Bundle, clock: Clock, progress: Progress) -> Aligned:
    """Choose the series and bring them together.

    Raises:
        ImageError: The study has nothing the bundle can use.
    """
    selection = choose_channels(study, bundle.manifest)
    with clock.stage("align"):
        placed = place_channels(selection, lambda share: progress("align", share))
        _check_required(placed, bundle.manifest.channels)
    series_notes = (note for item in placed for note in item.series.notes)
    return Aligned(selection.reference, placed, (*study.notes, *selection.notes, *series_notes))


def encode_study(
    aligned: Aligned, bundle: Bundle, device: Device, clock: Clock, progress: Progress
) -> Encoded:
    """Show the study to the encoder.

    Raises:
        ImageError: The study shows no head, or nothing that a recipe could go by.
        BundleError: The network is not what the bundle says.
        DeviceError: The device failed.
    """
    manifest, kernels, reference = bundle.manifest, device.kernels, aligned.reference
    if manifest.recipe is not None:
        return _follow(manifest.recipe, aligned, bundle, device, clock, progress)
    with clock.stage("locate"):
        is_ct = reference.modality == "CT"
        grid = model_grid(reference.volume, is_ct, manifest.grid, manifest.encoder.multiple_of, kernels)
    with clock.stage("prepare"):
        image, gains = _prepare(aligned.channels, manifest.channels, grid, kernels)
    with clock.stage("encode"):
        given = image, device.engine, manifest, kernels, lambda share: progress("encode", share)
        if manifest.instructions is None:
            return Encoded(Scene(aligned, grid, gains), encode(*given), None)
        return Encoded(Scene(aligned, grid, gains), *encode_with_bottom(*given))


def _follow(
    recipe: Recipe, aligned: Aligned, bundle: Bundle, device: Device, clock: Clock, progress: Progress
) -> Encoded:
    """Show the study to a network of others."""
    manifest, kernels = bundle.manifest, device.kernels
    if recipe.axes == "stored":
        told = "the network is shown the scan's axes as they are stored; it knows no left and right"
        aligned = replace(aligned, assumptions=(*aligned.assumptions, told))
    with clock.stage("prepare"):
        shown = show(aligned.channels, aligned.reference, manifest, recipe, kernels)
    with clock.stage("encode"):
        given = shown.image, device.engine, manifest, recipe, kernels
        scores = slide(*given, lambda share: progress("encode", share))
    return Encoded(Scene(aligned, shown.grid, shown.gains), scores, None)


def finish(
    voxels: NDArray[np.uint8],
    scene: Scene,
    bundle: Bundle,
    kernels: Kernels,
    clock: Clock,
    warnings: tuple[str, ...] | None = None,
) -> Segmented:
    """Clean and measure labels.

    Args:
        voxels: Every structure of the bundle, on the reference's grid; overwritten.
        scene: What they were made from.
        bundle: Says what is connected.
        kernels: Where to run.
        clock: Times the stages.
        warnings: What was said about the study before; found here when absent.

    Raises:
        ImageError: There is hardly any brain, and `warnings` are absent.
    """
    aligned, manifest = scene.aligned, bundle.manifest
    with clock.stage("clean"):
        removed = clean(voxels, aligned.reference.volume.grid.voxel_volume_ml, bundle, kernels)
    names = {structure.value: structure.name for structure in manifest.structures if not structure.union_of}
    labels = Labels(voxels, aligned.reference.volume.affine, names)
    with clock.stage("measure"):
        content = slice_content(voxels, kernels)
        measurements = measure(labels, content, bundle, manifest.structures)
        if warnings is None:
            warnings = _warnings(measurements, aligned.channels, manifest)
    return Segmented(
        labels,
        content,
        aligned.reference,
        aligned.channels,
        scene.gains,
        measurements,
        scene.grid,
        warnings,
        (*aligned.assumptions, *removed),
    )


def label_values(bundle: Bundle) -> NDArray[np.uint8]:
    """Label value of each target, the background's first."""
    targets = bundle.manifest.targets[1:]
    return np.array([0, *(bundle.structure(target.structure).value for target in targets)], np.uint8)


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
    measurements: tuple[Measurement, ...], placed: tuple[Placed, ...], manifest: Manifest
) -> tuple[str, ...]:
    """Coverage and dropped channels.

    Raises:
        ImageError: There is hardly any brain, in a bundle that looks for heads.
    """
    covered = _coverage(measurements, manifest.body_part) if manifest.recipe is None else ()
    return (*covered, *placement_warnings(placed))


def _coverage(measurements: tuple[Measurement, ...], body_part: str) -> tuple[str, ...]:
    (brain,) = [item for item in measurements if item.structure.name == "brain"]
    shown, warnings = coverage(brain)
    if not shown:
        raise ImageError(f"this is not a {body_part}: {warnings[0]}; give a study that shows a {body_part}")
    return warnings
