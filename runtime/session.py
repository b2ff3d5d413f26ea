"""The Python face: a model stays loaded, studies go in, results come out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

import numpy as np

from runtime.bundle import Bundle, open_bundle
from runtime.engines.choose import Device as DeviceName
from runtime.engines.choose import open_engine
from runtime.engines.engine import Engine
from runtime.errors import ImageError, InstructionError, UsageError
from runtime.kernels import Kernels, open_kernels
from runtime.pipeline import Device, Progress, Segmented, run
from runtime.report import (
    ChannelReport,
    Clock,
    RegistrationReport,
    Report,
    StructureReport,
    library_versions,
    machine,
    peak_bytes,
)
from runtime.result import Result
from runtime.stages.measure import Measurement
from runtime.structure import Structure
from runtime.study import Modality
from runtime.volume import Labels

__all__ = ["Session"]


def _quiet(stage: str, share: float) -> None:
    """Show nothing."""


class Session:
    """A loaded model.

        with Session() as session:
            result = session.segment("study/")
            result.save("out/")

    Args:
        bundle: Folder of a model bundle; the shipped `zeus-nano-head` when absent.
        device: "auto", "cpu" or "cuda".
        threads: CPU threads; 0 takes every usable CPU.

    Raises:
        BundleError: The bundle is damaged.
        UsageError: `device` or `threads` is not one of the above.
    """

    def __init__(
        self, bundle: Path | str | None = None, device: DeviceName = "auto", threads: int = 0
    ) -> None:
        if device not in ("auto", "cpu", "cuda"):
            raise UsageError(f"device is {device!r}; use auto, cpu or cuda")
        self._bundle = open_bundle(bundle)
        self._kernels: Kernels = open_kernels("cpu", threads)
        network = self._bundle.path(self._bundle.manifest.encoder.file)
        self._pool = ThreadPoolExecutor(1, "zeus-edge-load")
        # The network loads while the first study is read; a failure shows at first use.
        self._closed = False
        self._engine: Future[Engine] = self._pool.submit(open_engine, network, device, self._kernels.threads)

    @property
    def bundle(self) -> Bundle:
        """The loaded bundle."""
        return self._bundle

    def segment(
        self,
        study: str | Path | Sequence[str | Path],
        targets: Sequence[str] | None = None,
        modalities: Mapping[str, Modality] | None = None,
        progress: Progress = _quiet,
    ) -> Result:
        """Segment one study.

        Args:
            study: A folder, archive, DICOM files, or NIfTI files as "T1=a.nii.gz".
            targets: Names of structures (a name alone is one of them); all the bundle knows when absent.
            modalities: SeriesInstanceUID to modality, where the tags mislead.
            progress: Told the stage and its finished share.

        Raises:
            UsageError: A path does not exist, or the session is closed.
            ImageError: The study cannot be read or segmented.
            BundleError: The network cannot be loaded.
            InstructionError: The bundle does not know a target, or none is asked for.
            DeviceError: The device is not there or failed.
        """
        from runtime.formats.study_input import read_study

        if self._closed:
            raise UsageError("this session is closed; make a new one")
        structures = self._structures(targets)
        clock = Clock()
        paths = [study] if isinstance(study, (str, Path)) else list(study)
        progress("read", 0.0)
        with clock.stage("read"):
            try:
                found = read_study([str(path) for path in paths], modalities)
            except PermissionError as error:
                raise ImageError(f"{error.filename} cannot be read ({error.strerror})") from error
        with clock.stage("load"):
            engine = self._engine.result()
        made = run(found, self._bundle, Device(engine, self._kernels), clock, progress)
        chosen = tuple(item for item in made.measurements if item.structure in structures)
        labels = _only(made.labels, structures)
        clock.seconds["total"] = clock.total()
        report = self._report(made, engine, chosen, clock)
        return Result(labels, structures, chosen, report, made, self._bundle, self._kernels)

    def close(self) -> None:
        """Free the network; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._engine.done() and not self._engine.cancelled() and self._engine.exception() is None:
            self._engine.result().__exit__(None, None, None)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _structures(self, targets: Sequence[str] | None) -> tuple[Structure, ...]:
        known = self._bundle.manifest.structures
        if targets is None:
            return known
        targets = (targets,) if isinstance(targets, str) else targets
        names = [structure.name for structure in known]
        if not targets:
            raise InstructionError(f"no target is asked for; name some of {', '.join(names)}")
        for target in targets:
            if target not in names:
                raise InstructionError(
                    f"{self._bundle.identity.name} has no target {target!r}; it has {', '.join(names)}"
                )
        return tuple(structure for structure in known if structure.name in targets)

    def _report(
        self, made: Segmented, engine: Engine, chosen: tuple[Measurement, ...], clock: Clock
    ) -> Report:
        grid = made.grid
        return Report(
            model=dataclasses.asdict(self._bundle.identity),
            engine=dataclasses.asdict(engine.description),
            kernels=self._kernels.name,
            threads=self._kernels.threads,
            machine=machine(),
            channels=_channel_reports(made),
            structures=tuple(_structure_report(item) for item in chosen),
            warnings=made.warnings,
            assumptions=made.assumptions,
            seconds=dict(clock.seconds),
            peak_bytes=peak_bytes(),
            model_grid={"shape": grid.shape, "affine": np.round(grid.affine, 4).tolist()},
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            versions=library_versions(),
        )


def _only(labels: Labels, structures: tuple[Structure, ...]) -> Labels:
    """The label map with other structures removed."""
    kept = {structure.value: structure.name for structure in structures if not structure.union_of}
    if kept == labels.names:
        return labels
    table = np.zeros(256, np.uint8)
    table[list(kept)] = list(kept)
    return Labels(table[labels.voxels], labels.affine, kept)


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


def _structure_report(item: Measurement) -> StructureReport:
    structure = item.structure
    return StructureReport(
        name=structure.name,
        value=0 if structure.union_of else structure.value,
        code=f"{structure.kind.scheme} {structure.kind.value}",
        meaning=structure.kind.meaning,
        voxels=item.voxels,
        volume_ml=round(item.volume_ml, 3),
        touches_border=item.touches_border,
    )
