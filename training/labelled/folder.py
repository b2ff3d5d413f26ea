"""Plain folders of NIfTI files: one for each modality, and one with labels of the same names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from runtime.errors import ImageError
from runtime.formats.nifti_read import NIFTI_SUFFIXES
from training.labelled.case import ImageFile, LabelledCase

__all__ = ["read_folder"]


def read_folder(
    images: Mapping[str, Path], labels: Path, structures: Mapping[int, str]
) -> tuple[list[LabelledCase], tuple[str, ...]]:
    """List the cases that have labels and an image of every modality.

    Args:
        images: Folder of each modality.
        labels: Folder of the label maps; a file's name is the case's in every folder.
        structures: Label value to name, background left out.

    Returns:
        The cases by name, and the names of those that lack something.

    Raises:
        ImageError: A folder cannot be read, or no case is whole.
    """
    found = {modality: _files(folder) for modality, folder in images.items()}
    labelled = _files(labels)
    every = sorted(labelled.keys() | {name for files in found.values() for name in files})
    whole = [name for name in every if name in labelled and all(name in files for files in found.values())]
    if not whole:
        raise ImageError(f"{labels} and {', '.join(str(f) for f in images.values())} have no case in common")
    cases = [
        LabelledCase(
            name,
            {modality: ImageFile(files[name]) for modality, files in found.items()},
            labelled[name],
            structures,
        )
        for name in whole
    ]
    return cases, tuple(name for name in every if name not in set(whole))


def _files(folder: Path) -> dict[str, Path]:
    try:
        paths = sorted(path for path in folder.iterdir() if path.name.lower().endswith(NIFTI_SUFFIXES))
    except OSError as error:
        raise ImageError(f"{folder} cannot be read ({error.strerror})") from error
    files: dict[str, Path] = {}
    for path in paths:
        name = path.name.split(".")[0]
        if name in files:
            raise ImageError(f"{folder} has {files[name].name} and {path.name}: one case, two files")
        files[name] = path
    return files
