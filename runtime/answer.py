"""Answer instructions from a study that was encoded once."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from runtime.bundle import Bundle, Target
from runtime.engines.engine import Engine
from runtime.errors import BundleError
from runtime.pipeline import Device, Encoded, Segmented, finish, label_values
from runtime.prompt import Plan
from runtime.report import Clock, InstructionReport
from runtime.stages.candidates import candidate_window, joined
from runtime.stages.condition import bank_vectors
from runtime.stages.decode import Decoded, decode
from runtime.stages.label import (
    Gathered,
    Window,
    gather_table,
    label_features,
    mask_scores,
    relabel_window,
)
from runtime.structure import Structure

__all__ = ["Answer", "Kept", "answer", "keep"]


@dataclass(frozen=True)
class Kept:
    """A study that further instructions are answered from; as large as its features.

    Attributes:
        encoded: What the encoder made of it.
        present: Which channels it has, (M,).
        targets: The bank's, decoded for it, the background first.
        presence: Structure to the probability that the study shows it, by the bank.
        labels: What the bank's targets give every voxel of the reference, nothing removed, (I, J, K).
        windows: Where each target has voxels in `labels`, in the order of `targets`.
        warnings: What a reader must know about the study.
    """

    encoded: Encoded
    present: NDArray[np.bool_]
    targets: tuple[Target, ...]
    presence: dict[str, float]
    labels: NDArray[np.uint8]
    windows: tuple[Window | None, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """Labels, and what is to be said about where they come from.

    Attributes:
        segmented: Every structure of the bundle, as instructed.
        instructions: What became of each instruction.
        presence: Of every structure, unions included.
    """

    segmented: Segmented
    instructions: tuple[InstructionReport, ...] = ()
    presence: dict[str, float] = field(default_factory=dict)


def keep(encoded: Encoded, bundle: Bundle, device: Device, clock: Clock) -> Kept:
    """Decode the bank for a study and judge the study by that, whatever it will be asked.

    Args:
        encoded: The study, of a bundle with instructions.
        bundle: That bundle.
        device: Its networks.
        clock: Times the stages.

    Raises:
        ImageError: The study shows no head.
        BundleError: A network is not what the bundle says.
        DeviceError: The device failed.
    """
    manifest, scene, kernels = bundle.manifest, encoded.scene, device.kernels
    present = scene.aligned.present(manifest)
    names = [target.structure for target in manifest.targets[1:]]
    with clock.stage("decode"):
        bank = bank_vectors(bundle, names)
        decoded = [_decoded(name, bank[:, n], encoded, bundle, device) for n, name in enumerate(names)]
    targets = (manifest.targets[0], *(item.target for item in decoded))
    presence = {name: item.presence for name, item in zip(names, decoded, strict=True)}
    with clock.stage("label"):
        onto = scene.aligned.reference.volume.grid
        table = gather_table(len(targets), confidence=False)
        labels = label_features(
            encoded.features, scene.grid, targets, onto, label_values(bundle), kernels, gathered=table
        )
    warnings = finish(labels.copy(), scene, bundle, kernels, clock).warnings
    return Kept(encoded, present, targets, presence, labels, _windows(Gathered.of(table)), warnings)


def answer(kept: Kept, plan: Plan, bundle: Bundle, device: Device, clock: Clock) -> Answer:
    """Label a study as instructed.

    The vector of an instruction takes the place of the bank's, and all targets compete for every
    voxel as always, so a first and a further answer are the same.

    Args:
        kept: The study.
        plan: What is asked for.
        bundle: The bundle it was encoded with.
        device: Its networks.
        clock: Times the stages.

    Raises:
        BundleError: A network is not what the bundle says.
        DeviceError: The device failed.
    """
    encoded, presence, reports = kept.encoded, dict(kept.presence), []
    rows: dict[str, Target] = {}
    with clock.stage("decode"):
        for item in plan.prompts:
            prompt, found = item.prompt, item.prompt.wanted
            condition = np.broadcast_to(prompt.vector, (len(kept.present), *prompt.vector.shape))
            decoded = _decoded(found.target, condition, encoded, bundle, device)
            if plan.rows.get(found.target) is prompt:
                rows[found.target], presence[found.target] = decoded.target, decoded.presence
            reports.append(
                InstructionReport(
                    prompt.text,
                    found.target,
                    round(found.similarity, 4),
                    found.runner_up,
                    round(found.margin, 4),
                    item.source,
                    round(decoded.presence, 4),
                    item.notes,
                    item.author,
                    prompt.number,
                )
            )
    with clock.stage("label"):
        voxels = _labels(kept, rows, bundle, device)
    made = finish(voxels, encoded.scene, bundle, device.kernels, clock, (*kept.warnings, *plan.warnings))
    made = dataclasses.replace(made, assumptions=(*made.assumptions, *plan.notes))
    unions = {item.name: _largest(presence, item) for item in bundle.manifest.structures if item.union_of}
    return Answer(made, tuple(reports), {**presence, **unions})


def _decoded(
    name: str, condition: NDArray[np.float32], encoded: Encoded, bundle: Bundle, device: Device
) -> Decoded:
    decoder: Engine | None = device.decoder
    if decoder is None or encoded.bottom is None:
        raise BundleError(f"{bundle.identity.name} has no decoder; give a bundle with instructions")
    present = encoded.scene.aligned.present(bundle.manifest)
    return decode(name, condition, encoded.bottom, present, decoder, bundle.manifest)


def _labels(kept: Kept, rows: dict[str, Target], bundle: Bundle, device: Device) -> NDArray[np.uint8]:
    """Labels of the kept study with some targets replaced.

    Only where such a target had voxels or may get some can anything change, so only that is labelled
    again, with all targets: the result is that of labelling everything.
    """
    labels: NDArray[np.uint8] = kept.labels.copy()
    if not rows:
        return labels
    grid, onto = kept.encoded.scene.grid, kept.encoded.scene.aligned.reference.volume.grid
    kernels, values = device.kernels, label_values(bundle)
    targets = [rows.get(target.structure, target) for target in kept.targets]
    scores = mask_scores(kernels.placed(kept.encoded.features), targets, kernels)
    for index, target in enumerate(targets):
        if target.structure in rows:
            window = joined(kept.windows[index], candidate_window(scores, grid, index, onto, kernels))
            if window is not None:
                relabel_window(labels, window, scores, grid, onto, values, kernels)
    return labels


def _windows(gathered: Gathered) -> tuple[Window | None, ...]:
    windows: list[Window | None] = []
    for first, last, voxels in zip(gathered.first, gathered.last, gathered.voxels, strict=True):
        i, j, k = ((int(a), int(b)) for a, b in zip(first, last, strict=True))
        windows.append((i, j, k) if voxels else None)
    return tuple(windows)


def _largest(presence: dict[str, float], union: Structure) -> float:
    return max(presence[name] for name in union.union_of)
