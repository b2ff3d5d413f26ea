"""A finished segmentation: labels, figures, report, and how to save them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from runtime.bundle import Bundle
from runtime.errors import ImageError, InstructionError, UsageError, ZeusEdgeError
from runtime.kernels import Kernels
from runtime.pipeline import Segmented
from runtime.report import Clock, OutputReport, Report, library_versions, peak_bytes
from runtime.stages.measure import Measurement
from runtime.structure import Structure
from runtime.version import RESEARCH_USE
from runtime.volume import Labels

__all__ = ["FORMATS", "Format", "Result", "asked_labels", "check_formats"]

Format = Literal["seg", "nifti", "json", "png"]
FORMATS: tuple[Format, ...] = get_args(Format)


def check_formats(formats: Sequence[str] | None, is_dicom: bool) -> tuple[Format, ...]:
    """The formats to write.

    Args:
        formats: Some of `FORMATS` (one alone may be a plain string); all the input allows when absent.
        is_dicom: Whether the input is DICOM.

    Raises:
        UsageError: A format is unknown, none is given, or DICOM SEG is asked for and the input is not DICOM.
    """
    if formats is None:
        return FORMATS if is_dicom else FORMATS[1:]
    words = (formats,) if isinstance(formats, str) else formats
    if unknown := [word for word in words if word not in FORMATS]:
        raise UsageError(f"there is no format {unknown[0]!r}; use some of {','.join(FORMATS)}")
    if not words:
        raise UsageError(f"no format is given; use some of {','.join(FORMATS)}")
    if "seg" in words and not is_dicom:
        raise UsageError("a DICOM SEG needs a DICOM study; leave seg out of --format for NIfTI input")
    return tuple(word for word in FORMATS if word in words)


@dataclass(frozen=True)
class Result:
    """What a session answers with.

    Attributes:
        labels: The asked-for structures on the reference series' grid; unions are not in it, see `mask`.
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
    _kernels: Kernels

    def mask(self, name: str) -> Labels:
        """One structure alone, 1 inside; unions are put together.

        Raises:
            InstructionError: It was not asked for.
        """
        known = {item.name: item for item in self.structures}
        if name not in known:
            raise InstructionError(f"this result has no {name!r}; it has {', '.join(known)}")
        structure = known[name]
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
            UsageError: A format is unknown, or DICOM SEG was asked for and the input is not DICOM.
            DestinationError: The folder exists, or writing failed.
        """
        from runtime.formats.output_folder import output_folder

        chosen = check_formats(formats, is_dicom=bool(self._segmented.reference.instances))
        destination = Path(folder)
        clock = Clock()
        empty = "seg" in chosen and not any(item.voxels for item in self.measurements)
        left_out = ("labels.seg.dcm was left out: no structure has a voxel, and a SEG must have one",) * empty
        with output_folder(destination, force) as work:
            notes = self._write(work, chosen, clock)
            report = dataclasses.replace(
                self.report,
                assumptions=(*self.report.assumptions, *left_out),
                outputs=_outputs(work, notes),
                seconds={**self.report.seconds, **clock.seconds},
                peak_bytes=peak_bytes(),
                versions=library_versions(),
            )
            (work / "report.json").write_text(report.to_json(), encoding="utf-8")
        return tuple(sorted(destination.iterdir()))

    @property
    def _is_unqualified(self) -> bool:
        return self.report.engine["standing"] == "unqualified"

    @property
    def _engine_words(self) -> dict[str, str]:
        """What made the masks, where it was not the reference, whose objects stay what they always were."""
        engine = self.report.engine
        if engine["standing"] == "reference":
            return {}
        words = {"engine": f"{engine['name']} {engine['version']} {engine['precision']}"}
        if self._is_unqualified:
            return {**words, "qualification": "UNQUALIFIED"}
        return {**words, "passport_sha256": engine["passport_sha256"]}

    def _write(self, work: Path, formats: tuple[Format, ...], clock: Clock) -> dict[str, tuple[str, ...]]:
        notes: dict[str, tuple[str, ...]] = {}
        series, unqualified = self._segmented.reference, self._is_unqualified
        if "nifti" in formats:
            from runtime.formats.nifti_write import write_labels

            with clock.stage("write nifti"):
                if self.labels.names or not self.structures:  # nothing of ours was asked for: zeros say so
                    write_labels(work / "labels.nii.gz", self.labels, series.path, unqualified)
                for structure in self.structures:
                    if structure.union_of:
                        path = work / f"{structure.name}.nii.gz"
                        write_labels(path, self.mask(structure.name), series.path, unqualified)
        if "seg" in formats:
            with clock.stage("write seg"):
                notes["labels.seg.dcm"] = self._write_seg(work / "labels.seg.dcm")
        if "png" in formats:
            with clock.stage("write png"):
                self._write_preview(work / "preview.png")
        return notes

    def _write_seg(self, path: Path) -> tuple[str, ...]:
        """Write the SEG; returns what was assumed for it."""
        from runtime.formats.seg_write import SegOptions, write_seg

        series, identity = self._segmented.reference, self._bundle.identity
        parameters = {"channels": ", ".join(self._segmented.gains), "use": RESEARCH_USE, **self._engine_words}
        options = SegOptions(parameters=parameters, unqualified=self._is_unqualified)
        try:
            written = write_seg(
                path, self._segmented.labels, series, self.structures, identity, options, self._kernels
            )
        except (ZeusEdgeError, OSError):
            raise
        except Exception as error:  # pydicom converts on access; a damaged value may raise nearly anything
            raise ImageError(
                f"series {series.uid}: its headers cannot carry a DICOM SEG ({type(error).__name__}); "
                "leave seg out of --format, or export the series again"
            ) from error
        empty = f"structures without a voxel: {', '.join(written.empty)}"
        return (*written.notes, *((empty,) if written.empty else ()))

    def _write_preview(self, path: Path) -> None:
        from runtime.formats.preview import PreviewChannel, write_preview

        language = self.report.language
        channels = [
            PreviewChannel(name, item.series.volume, item.world, language.caption(name) if language else "")
            for item in self._segmented.channels
            if item.used and (name := item.series.modality)
        ]
        identity = self._bundle.identity
        caption = f"{identity.name} {identity.version}  bundle {identity.bundle_sha256[:12]}"
        caption = f"UNQUALIFIED ENGINE  {caption}" if self._is_unqualified else caption
        # All labels: a union is drawn from parts that were perhaps not asked for themselves.
        labels, content = self._segmented.labels, self._segmented.content
        write_preview(path, channels, labels, content, self.structures, caption, self.report.answers)


def asked_labels(made: Segmented, structures: tuple[Structure, ...]) -> Labels:
    """The label map with other structures removed; looks only where what is kept lies."""
    labels, content = made.labels, made.content
    kept = {structure.value: structure.name for structure in structures if not structure.union_of}
    if kept == labels.names:
        return labels
    table = np.zeros(256, np.uint8)
    table[list(kept)] = list(kept)
    shown = content.counts[:, list(kept)] > 0
    voxels: NDArray[np.uint8] = np.zeros(labels.voxels.shape, np.uint8)
    if shown.any():
        slices = np.flatnonzero(shown.any(axis=1))
        first = int(content.first_row[:, list(kept)][shown].min())
        box = np.s_[slices[0] : slices[-1] + 1, first : int(content.last_row[:, list(kept)].max())]
        voxels[box] = table[labels.voxels[box]]
    return Labels(voxels, labels.affine, kept)


def _outputs(work: Path, notes: dict[str, tuple[str, ...]]) -> tuple[OutputReport, ...]:
    reports = []
    for path in sorted(work.iterdir()):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        reports.append(OutputReport(path.name, path.stat().st_size, digest, notes.get(path.name, ())))
    return tuple(reports)
