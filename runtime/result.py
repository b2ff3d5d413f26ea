"""A finished segmentation: labels, figures, report, and how to save them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from runtime.bundle import Bundle
from runtime.errors import UsageError
from runtime.pipeline import Segmented
from runtime.report import Clock, OutputReport, Report, library_versions, peak_bytes
from runtime.stages.measure import Measurement
from runtime.structure import Structure
from runtime.version import RESEARCH_USE
from runtime.volume import Labels

__all__ = ["FORMATS", "Format", "Result"]

Format = Literal["seg", "nifti", "json", "png"]
FORMATS: tuple[Format, ...] = get_args(Format)


@dataclass(frozen=True)
class Result:
    """What a session answers with.

    Attributes:
        labels: The asked-for structures on the reference series' grid.
        structures: What was asked for, unions included.
        measurements: Volume of each of them.
        report: Everything else.
    """

    labels: Labels
    structures: tuple[Structure, ...]
    measurements: tuple[Measurement, ...]
    report: Report
    _segmented: Segmented
    _bundle: Bundle

    def mask(self, name: str) -> Labels:
        """One structure alone, 1 inside; unions are put together.

        Raises:
            KeyError: It was not asked for.
        """
        structure = {item.name: item for item in self.structures}[name]
        parts = list(self._bundle.parts(structure))
        voxels = np.isin(self._segmented.labels.voxels, parts).view(np.uint8)
        return Labels(voxels, self.labels.affine, {1: name})

    def save(
        self, folder: Path | str, formats: Sequence[Format] | None = None, force: bool = False
    ) -> tuple[Path, ...]:
        """Write the result; the folder appears whole or not at all.

        Args:
            folder: Must not exist, unless `force`.
            formats: Some of `FORMATS`; all that the input allows when absent. `report.json` is
                always written.
            force: Replace an earlier result of ours.

        Raises:
            UsageError: DICOM SEG was asked for and the input is not DICOM.
            DestinationError: The folder exists, or writing failed.
        """
        from runtime.formats.output_folder import output_folder

        is_dicom = bool(self._segmented.reference.instances)
        chosen = tuple(formats) if formats is not None else FORMATS if is_dicom else FORMATS[1:]
        if "seg" in chosen and not is_dicom:
            raise UsageError("a DICOM SEG needs a DICOM study; leave seg out of --format for NIfTI input")
        destination = Path(folder)
        clock = Clock()
        with output_folder(destination, force) as work:
            notes = self._write(work, chosen, clock)
            report = dataclasses.replace(
                self.report,
                outputs=_outputs(work, notes),
                seconds={**self.report.seconds, **clock.seconds},
                peak_bytes=peak_bytes(),
                versions=library_versions(),
            )
            (work / "report.json").write_text(report.to_json(), encoding="utf-8")
        return tuple(sorted(destination.iterdir()))

    def _write(self, work: Path, formats: tuple[Format, ...], clock: Clock) -> dict[str, tuple[str, ...]]:
        notes: dict[str, tuple[str, ...]] = {}
        series = self._segmented.reference
        if "nifti" in formats:
            from runtime.formats.nifti_write import write_labels

            with clock.stage("write nifti"):
                write_labels(work / "labels.nii.gz", self.labels, series.path)
                for structure in self.structures:
                    if structure.union_of:
                        write_labels(
                            work / f"{structure.name}.nii.gz", self.mask(structure.name), series.path
                        )
        if "seg" in formats:
            from runtime.formats.seg_write import SegOptions, write_seg

            with clock.stage("write seg"):
                parameters = {"channels": ", ".join(self._segmented.gains), "use": RESEARCH_USE}
                written = write_seg(
                    work / "labels.seg.dcm",
                    self._segmented.labels,
                    series,
                    self.structures,
                    self._bundle.identity,
                    SegOptions(parameters=parameters),
                )
                empty = f"structures without a voxel: {', '.join(written.empty)}"
                notes["labels.seg.dcm"] = (*written.notes, *((empty,) if written.empty else ()))
        if "png" in formats:
            with clock.stage("write png"):
                self._write_preview(work / "preview.png")
        return notes

    def _write_preview(self, path: Path) -> None:
        from runtime.formats.preview import PreviewChannel, write_preview

        channels = [
            PreviewChannel(item.series.modality, item.series.volume, item.world)
            for item in self._segmented.channels
            if item.used
        ]
        identity = self._bundle.identity
        caption = f"{identity.name} {identity.version}  bundle {identity.bundle_sha256[:12]}"
        write_preview(path, channels, self.labels, self.structures, caption)


def _outputs(work: Path, notes: dict[str, tuple[str, ...]]) -> tuple[OutputReport, ...]:
    reports = []
    for path in sorted(work.iterdir()):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        reports.append(OutputReport(path.name, path.stat().st_size, digest, notes.get(path.name, ())))
    return tuple(reports)
