"""Held-out synthetic heads as cases: maps that training never saw, painted with a fixed seed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.cases import Case, Reference
from runtime.volume import Grid
from training.structures import BRAIN_PARTS, CLASS_NAMES

__all__ = ["synthetic_cases"]

_SHAPE = (128, 160, 128)
_SPACING_MM = 1.5
_SETS = (("T1",), ("T2",), ("FLAIR",), ("CT",), ("T1", "T2", "FLAIR", "CT"))


def synthetic_cases(data: Path, work: Path) -> Iterator[Case]:
    """One deformed head with lesions of each held-out map, in several modalities.

    Args:
        data: The data folder.
        work: A temporary folder for the images.
    """
    try:
        import torch  # noqa: F401
    except ImportError:
        print("torch is not installed: synthetic heads not run", file=sys.stderr)
        return
    from training.anatomy import load_label_map
    from training.dataset import HELD_OUT
    from training.geometry import GeometryConfig, random_fractions
    from training.lesions import LesionConfig

    maps = data / "synthseg-labels" / "data" / "training_label_maps"
    config = GeometryConfig(
        _SHAPE,
        _SPACING_MM,
        bend_mm=2.5,
        reach_mm=(0.0, 0.0, 0.0),
        far=0.0,
        lesions=LesionConfig(0.5, 1.0, 0.0),
    )
    for number, name in enumerate(HELD_OUT):
        head = load_label_map(maps / f"{name}.nii.gz", work / "heads")
        fractions = random_fractions(head, np.random.default_rng((20, number)), config)
        reference = _reference(fractions.numpy())
        files = _write_channels(work / name, fractions, number, reference.grid)
        for chosen in _SETS:
            sources = tuple(f"{modality}={files[modality]}" for modality in chosen)
            yield Case(f"synthetic {name[-2:]} / {'+'.join(chosen)}", sources, reference)


def _reference(counts: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Reference:
    import torch

    from training.dataset import class_fractions

    classes = class_fractions(torch.from_numpy(counts)).argmax(0).numpy()
    affine = np.diag([_SPACING_MM] * 3 + [1.0])
    masks = {name: classes == index for index, name in enumerate(CLASS_NAMES) if index}
    masks = {name: mask for name, mask in masks.items() if mask.sum() > 50}
    masks["brain"] = np.isin(classes, [CLASS_NAMES.index(name) for name in BRAIN_PARTS])
    return Reference(Grid(_SHAPE, affine), masks)


def _write_channels(folder: Path, fractions: object, number: int, grid: Grid) -> dict[str, Path]:
    import nibabel
    import torch

    from training.contrast import CT_WINDOW, ContrastConfig, paint
    from training.tissues import CHANNELS

    assert isinstance(fractions, torch.Tensor)
    folder.mkdir(parents=True)
    config = ContrastConfig(wild=0.0, cropped=0.0, thick=0.5)
    random = np.random.default_rng((30, number))
    image, _ = paint(fractions, random, _SPACING_MM, config, chosen=(0, 1, 2, 3, 4))
    files = {}
    for index, modality in enumerate(CHANNELS):
        values = image[index].numpy()
        if modality == "CT":
            low, high = CT_WINDOW
            values = np.where(fractions[0].numpy() > 4, -1000.0, low + values * (high - low))
        else:
            values = values * 1000.0
        files[modality] = folder / f"{modality}.nii.gz"
        stored = nibabel.Nifti1Image(np.rint(values).astype(np.int16), grid.affine)
        nibabel.save(stored, files[modality])
    return files
