"""The layout of the Medical Segmentation Decathlon: `dataset.json` beside `imagesTr` and `labelsTr`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from runtime.errors import ImageError
from training.labelled.case import ImageFile, LabelledCase

__all__ = ["read_decathlon"]


def read_decathlon(folder: Path) -> list[LabelledCase]:
    """List the training cases; images of several modalities are one 4-D file each.

    Args:
        folder: With `dataset.json`.

    Raises:
        ImageError: `dataset.json` is missing or damaged, names a file that is not there, one outside the
            folder, or one twice.

    Source:
        Medical Segmentation Decathlon (Antonelli et al. 2022): `modality` and `labels` by number as text,
        `training` pairs of relative paths.
    """
    path = folder / "dataset.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        modalities = _by_number(found["modality"])
        structures = {value: name for value, name in _by_number(found["labels"]).items() if value}
        pairs = [(str(pair["image"]), str(pair["label"])) for pair in found["training"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ImageError(
            f"{path} cannot be read as a Decathlon data set ({type(error).__name__}: {error})"
        ) from error
    cases = [
        _case(folder, modalities, structures, _inside(folder, image, path), _inside(folder, label, path))
        for image, label in pairs
    ]
    names = [case.name for case in cases]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ImageError(f"{path} lists {twice[0]} twice")
    return cases


def _by_number(entries: Any) -> dict[int, str]:
    return {int(number): str(name) for number, name in entries.items()}


def _inside(folder: Path, relative: str, listed: Path) -> Path:
    path = folder / relative
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ImageError(f"{listed} names {relative}, which lies outside its folder")
    if not path.is_file():
        raise ImageError(f"{listed} names {relative}, which is not there")
    return path


def _case(
    folder: Path, modalities: dict[int, str], structures: dict[int, str], image: Path, label: Path
) -> LabelledCase:
    several = len(modalities) > 1
    images = {
        modalities[number]: ImageFile(image, number if several else None) for number in sorted(modalities)
    }
    return LabelledCase(image.name.split(".")[0], images, label, structures)
