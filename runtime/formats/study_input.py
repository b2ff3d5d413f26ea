"""The way in: folders, archives and files named on a command line become one study."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from runtime.errors import ImageError, UsageError
from runtime.formats.dicom_files import SourceFile, is_dicom, list_files
from runtime.formats.dicom_read import read_dicom
from runtime.formats.nifti_read import NIFTI_SUFFIXES, read_nifti
from runtime.formats.study_archive import is_archive, unpack
from runtime.study import MODALITIES, Modality, Series, Study, modality_named

__all__ = ["read_study"]

_HOW_TO_NAME = "name each NIfTI or MGH file by what it shows, e.g. T1=a.nii.gz FLAIR=b.mgz CT=c.nii"


def _named_image(source: str) -> tuple[Modality, str, Path] | None:
    """Modality, key as typed and path of `KEY=FILE`; None for anything else."""
    match = re.fullmatch(r"(\w+)=(.+)", source)
    if match is None or Path(source).exists():
        return None
    key, path = match.group(1), Path(match.group(2))
    modality = modality_named(key)
    if modality is None or modality == "other":
        raise UsageError(f"{key!r} in {source!r} is not a modality; use T1, T1c, T2, FLAIR or CT")
    if not path.is_file():
        raise UsageError(f"{path} is not a file")
    if not path.name.lower().endswith(NIFTI_SUFFIXES):
        raise UsageError(f"{path} is not named {', '.join(NIFTI_SUFFIXES)}; pass DICOM without a modality")
    return modality, key, path


def _read_images(named: Sequence[tuple[Modality, str, Path]]) -> Study:
    modalities = [modality for modality, _, _ in named]
    for modality in modalities:
        if modalities.count(modality) > 1:
            raise UsageError(
                f"{modality} is given {modalities.count(modality)} times; name each modality once"
            )
    return Study(
        tuple(read_nifti(path, modality, f"named {key} by the user") for modality, key, path in named)
    )


def _list_sources(sources: Sequence[str], folder: Path) -> list[SourceFile]:
    """Every file of the input; archives are unpacked below `folder`."""
    found: list[SourceFile] = []
    for at, source in enumerate(sources):
        path = Path(source)
        if path.is_dir():
            found += list_files(path)
        elif not path.is_file():
            raise UsageError(f"{path} is neither a file nor a folder")
        elif path.name.lower().endswith(NIFTI_SUFFIXES):
            raise UsageError(f"{path} does not say what it shows; {_HOW_TO_NAME}")
        elif is_archive(path):
            room = folder / str(at)
            room.mkdir()
            found += unpack(path, room)
        else:
            found.append(SourceFile(path, path.name, path))
    return list({file.path.resolve(): file for file in found}.values())


def _read_files(sources: Sequence[str]) -> Study:
    with TemporaryDirectory(prefix="zeus-edge-") as folder:
        files = _list_sources(sources, Path(folder))
        images = [file.name for file in files if file.name.lower().endswith(NIFTI_SUFFIXES)]
        if images and not any(is_dicom(file.path) for file in files):
            raise UsageError(
                f"the input holds NIfTI or MGH files and no DICOM, e.g. {images[0]}; {_HOW_TO_NAME}"
            )
        if not files:
            raise ImageError(f"there is no file in {', '.join(sources)}")
        series, notes = read_dicom(files)
    return Study(tuple(series), tuple(notes))


def _override(study: Study, overrides: Mapping[str, Modality]) -> Study:
    known = [series.uid for series in study.series]
    for uid, modality in overrides.items():
        if uid not in known:
            raise UsageError(f"no series {uid} in the input; found: {', '.join(dict.fromkeys(known))}")
        if modality not in MODALITIES:
            raise UsageError(f"{modality!r} is not a modality; use one of {', '.join(MODALITIES)}")

    def decided(series: Series) -> Series:
        if series.uid not in overrides:
            return series
        return series.read_as(overrides[series.uid], f"set by the user (was {series.modality})")

    return Study(tuple(decided(series) for series in study.series), study.notes)


def read_study(sources: Sequence[str], overrides: Mapping[str, Modality] | None = None) -> Study:
    """Read the study of one patient.

    Args:
        sources: Folders (searched to the bottom), zip or tar archives and DICOM files; or NIfTI and MGH
            files, each named by its modality: `T1=a.nii.gz`, `T1c=…`, `T2=…`, `FLAIR=…`, `CT=…`
            (T1w, T1ce, T1gd and T2w are understood, case does not matter).
        overrides: SeriesInstanceUID (or NIfTI path) to the modality that the user says it is.

    Returns:
        Every usable series, with notes on whatever was left out or assumed.

    Raises:
        UsageError: A path does not exist, NIfTI and DICOM are mixed, a NIfTI file has no modality, or
            an override names an unknown series.
        ImageError: More than one patient or study, or nothing that can be used; says why.
    """
    if not sources:
        raise UsageError("no input; pass a folder, an archive, DICOM files or T1=FILE")
    named = [_named_image(source) for source in sources]
    images = [image for image in named if image is not None]
    if images and len(images) < len(sources):
        other = next(source for source, image in zip(sources, named, strict=True) if image is None)
        if other.lower().endswith(NIFTI_SUFFIXES):
            raise UsageError(f"{other} does not say what it shows; {_HOW_TO_NAME}")
        raise UsageError(f"{images[0][2]} is NIfTI or MGH and {other} is not; pass either one or the other")
    study = _read_images(images) if images else _read_files(sources)
    return _override(study, overrides or {})
