"""The report of a run, from what its stages made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Literal

import numpy as np

from runtime.author import Choice
from runtime.engines.engine import EngineDescription
from runtime.kernels import Kernels
from runtime.language.agreement import Agreement
from runtime.language.draft import Settled
from runtime.pipeline import Segmented
from runtime.report import (
    ChannelReport,
    Clock,
    InstructionReport,
    LanguageReport,
    RegistrationReport,
    Report,
    StructureReport,
    WrittenReport,
    library_versions,
    machine,
    peak_bytes,
)
from runtime.stages.measure import Measurement
from runtime.structure import ModelIdentity

__all__ = ["Ran", "language_report", "summarise"]


@dataclasses.dataclass(frozen=True)
class Ran:
    """What ran: the model, the engine of its encoder, the voxel kernels, and what allows that engine here.

    Attributes:
        standing: "reference", "qualified" by the passport of that hash, or "unqualified".
    """

    identity: ModelIdentity
    engine: EngineDescription
    kernels: Kernels
    standing: Literal["reference", "qualified", "unqualified"] = "reference"
    passport_sha256: str = ""


def summarise(
    made: Segmented,
    ran: Ran,
    chosen: Sequence[Measurement],
    clock: Clock,
    instructions: tuple[InstructionReport, ...] = (),
    presence: Mapping[str, float] | None = None,
    language: LanguageReport | None = None,
) -> Report:
    """The report, as far as it is known before anything is written.

    Args:
        made: What the stages made.
        ran: What ran.
        chosen: The structures that were asked for.
        clock: Seconds of each stage.
        instructions: What became of each.
        presence: Probability of each structure, where a bundle decodes it.
        language: What was written about the series.
    """
    grid, known = made.grid, presence or {}
    return Report(
        model=dataclasses.asdict(ran.identity),
        engine={
            **dataclasses.asdict(ran.engine),
            "standing": ran.standing,
            "passport_sha256": ran.passport_sha256,
        },
        kernels=ran.kernels.name,
        threads=ran.kernels.threads,
        machine=machine(),
        channels=_channel_reports(made),
        structures=tuple(_structure_report(item, known.get(item.structure.name)) for item in chosen),
        warnings=made.warnings,
        assumptions=made.assumptions,
        seconds=dict(clock.seconds),
        peak_bytes=peak_bytes(),
        model_grid={"shape": grid.shape, "affine": np.round(grid.affine, 4).tolist()},
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        versions=library_versions(),
        instructions=instructions,
        language=language,
    )


def language_report(
    choice: Choice, settled: Settled, conditions: dict[str, Literal["text", "bank"]]
) -> LanguageReport:
    """What is said about a study's written instructions.

    Args:
        choice: Who wrote them.
        settled: What became of them.
        conditions: What the mask took of them.
    """
    written = tuple(_written_report(name, item) for name, item in settled.agreements.items())
    return LanguageReport(
        "" if choice.model is None else choice.model.name, choice.reason, written, conditions
    )


def _written_report(modality: str, agreement: Agreement) -> WrittenReport:
    used, told, confidence = agreement.used, agreement.told, agreement.confidence
    report = WrittenReport(
        modality,
        used.text,
        "rule" if used is agreement.rule else "llm",
        agreement.rule.text,
        None if told is None else told.text,
        tuple(
            f"{item.field}: {item.safe}, and {item.told} by the language model"
            for item in agreement.contradictions
        ),
        None if confidence is None else round(confidence, 4),
    )
    if told is None:
        return report
    return dataclasses.replace(
        report,
        model_sha256=told.model_sha256,
        seed=told.seed,
        tokens=told.tokens,
        seconds=told.seconds,
        is_kept=told.is_kept,
    )


def _channel_reports(made: Segmented) -> tuple[ChannelReport, ...]:
    reports = []
    for item in made.channels:
        series, decision = item.series, item.series.decision
        matrix = tuple(tuple(float(value) for value in row) for row in np.round(item.world, 6))
        reports.append(
            ChannelReport(
                modality=series.modality,
                series=series.uid if series.path is None else series.path.name,
                reason=decision.reason,
                certain=decision.certain,
                shape=series.volume.grid.shape,
                spacing_mm=tuple(round(float(value), 4) for value in series.volume.spacing_mm),
                is_reference=series is made.reference,
                used=item.used,
                registration=RegistrationReport(
                    item.method, round(item.residual_mm, 3), item.limit_mm, matrix
                ),
                gain=made.gains.get(series.modality, 0.0),
            )
        )
    return tuple(reports)


def _structure_report(item: Measurement, presence: float | None) -> StructureReport:
    structure = item.structure
    return StructureReport(
        name=structure.name,
        value=0 if structure.union_of else structure.value,
        code=f"{structure.kind.scheme} {structure.kind.value}",
        meaning=structure.kind.meaning,
        voxels=item.voxels,
        volume_ml=round(item.volume_ml, 3),
        touches_border=item.touches_border,
        presence=None if presence is None else round(presence, 4),
    )
