"""Every real series of known modality in the shared data: what does the writer say of its pixels alone?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime.errors import ImageError, InstructionError
from runtime.formats.nifti_read import read_nifti
from runtime.formats.study_input import read_study
from runtime.language.sentence import parse
from runtime.language.views import slice_plane
from runtime.study import Modality
from runtime.volume import Volume
from training.writer.sentences import VOCABULARY

__all__ = ["evaluate_series"]

_IMAGES: dict[str, Modality] = {
    "openms/patient01/raw/study*_T1W.nii.gz": "T1",
    "openms/patient01/raw/study*_T2W.nii.gz": "T2",
    "openms/patient01/raw/study*_FLAIR.nii.gz": "FLAIR",
    "t1-aseg/norm.mgz": "T1",
    "t1-aseg/FLAIR.nii.gz": "FLAIR",
    "enhanced-xa30/Ref/*.nii": "T1",
    "totalseg/example_ct*.nii.gz": "CT",
    "msd-hippocampus/images/*.nii.gz": "T1",
}
"""Images by what the shared data's index says of them."""

_STUDIES = (
    "siemens-t1/sag-anon.tar.gz",
    "tcia-pgbm-002/PGBM-002_Study1.tar.gz",
    "ct-head-ge/ct_head_ge.tar.gz",
    "totalseg/example_ct_dicom",
    "dicom2nifti/ge/anatomical/001",
    "dicom2nifti/generic/anatomical/001",
)
"""DICOM, whose tags say what it is; those tags are not shown to the writer."""

_MANY = 10
"""Images of one kind that share a row."""

_LEAST_LIKENESS = 0.2
"""Of neighbouring voxels: below it somebody filled the image with noise, to hide the patient."""


@dataclass(frozen=True)
class _Known:
    """A series of known modality."""

    name: str
    modality: Modality
    volume: Volume


def _volumes(data: Path) -> Iterator[_Known | dict[str, Any]]:
    """Series, or a row that says why there is none."""
    for source in _STUDIES:
        try:
            for series in read_study([str(data / source)]).series:
                if series.modality != "other":
                    yield _Known(source, series.modality, series.volume)
        except ImageError as error:
            yield _skipped(source, "", str(error).partition(";")[0][-80:])
    for pattern, modality in _IMAGES.items():
        for path in sorted(data.glob(pattern)):
            try:
                yield _Known(str(path.relative_to(data)), modality, read_nifti(path, modality, "").volume)
            except ImageError as error:
                yield _skipped(str(path.relative_to(data)), modality, str(error)[-80:])


def _skipped(name: str, modality: str, reason: str) -> dict[str, Any]:
    return {"series": name, "known": modality, "written": "", "plane": "", "right": "", "note": reason}


def _likeness(volume: Volume) -> float:
    """Correlation of voxels with their neighbours along the axis of the smallest spacing."""
    axis = int(np.argmin(volume.spacing_mm))
    lines = np.moveaxis(volume.voxels, axis, -1).reshape(-1, volume.voxels.shape[axis])
    some = lines[:: max(1, len(lines) // 2000)].astype(np.float64)
    return float(np.corrcoef(some[:, :-1].ravel(), some[:, 1:].ravel())[0, 1])


def evaluate_series(say: Callable[[Volume], str], data: Path) -> list[dict[str, Any]]:
    """One row for each series, and the share that is right.

    Args:
        say: Voxels and affine to a sentence.
        data: The shared data; no rows where it is not there.
    """
    rows: list[dict[str, Any]] = []
    if not data.is_dir():
        return rows
    many: dict[str, list[dict[str, Any]]] = {}
    for known in _volumes(data):
        if isinstance(known, dict):
            rows.append(known)
        elif _likeness(known.volume) < _LEAST_LIKENESS:
            rows.append(_skipped(known.name, known.modality, "its voxels were replaced by noise"))
        else:
            row = _judged(known, say(known.volume))
            many.setdefault(str(Path(known.name).parent), []).append(row)
    for folder, found in many.items():
        rows += found if len(found) < _MANY else [_together(folder, found)]
    series = [row for found in many.values() if len(found) < _MANY for row in found]
    judged = [*series, *(row for found in many.values() if len(found) >= _MANY for row in found)]
    return [
        *rows,
        *(_total(name, found) for name, found in (("series", series), ("with boxes", judged)) if found),
    ]


def _judged(known: _Known, text: str) -> dict[str, Any]:
    row = _skipped(known.name, known.modality, "")
    try:
        found = parse(text, VOCABULARY)
    except InstructionError:
        return {**row, "right": 0, "note": "no sentence of the vocabulary"}
    plane = "" if found.plane == slice_plane(known.volume) else f"plane is {slice_plane(known.volume)}"
    lesion = f"{found.findings[0].size} lesion, {found.findings[0].side}" if found.findings else "no lesion"
    said = {"written": found.modality, "plane": found.plane, "right": int(found.modality == known.modality)}
    return {**row, **said, "note": "; ".join(part for part in (lesion, plane) if part)}


def _together(folder: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    said = [str(row["written"]) for row in found]
    counts = ", ".join(f"{name or 'none'} {said.count(name)}" for name in sorted(set(said)))
    row = _skipped(f"{folder} ({len(found)})", str(found[0]["known"]), counts)
    return {**row, "right": sum(int(row["right"]) for row in found)}


def _total(name: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    share = float(np.mean([row["right"] for row in found]))
    return {
        "measure": f"right modality, real {name}",
        "series judged": len(found),
        "share": share,
        "limit": 0.95,
    }
