"""The analytic phantom as a case: its studies and its truth as masks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.cases import Case, Reference, read_grid
from runtime.bundle import Bundle
from runtime.volume import Labels
from training.anatomy import classes_of
from training.structures import BRAIN_PARTS, CLASS_NAMES

__all__ = ["phantom_cases", "phantom_reference", "read_labels"]

_SCORED = (
    "cerebral_white_matter",
    "cerebral_cortex",
    "lateral_ventricles",
    "thalamus",
    "caudate",
    "putamen_pallidum",
    "hippocampus_amygdala",
    "cerebellum",
    "brain_stem",
    "lesion",
)


def phantom_reference(truth: Path) -> Reference:
    """Masks of a truth map the phantom's program wrote."""
    voxels, grid = read_grid(truth)
    classes = classes_of(voxels.astype(np.int16), grid.spacing_mm)
    masks = {name: classes == CLASS_NAMES.index(name) for name in _SCORED}
    fluid = [CLASS_NAMES.index(name) for name in ("sulcal_csf", "outer_csf")]
    masks["csf"] = np.isin(classes, fluid)
    masks["brain"] = np.isin(classes, [CLASS_NAMES.index(name) for name in BRAIN_PARTS])
    return Reference(grid, masks)


def read_labels(path: Path, bundle: Bundle) -> Labels:
    """A label map this product wrote, as labels again."""
    voxels, grid = read_grid(path)
    names = {s.value: s.name for s in bundle.manifest.structures if not s.union_of}
    return Labels(np.ascontiguousarray(voxels, np.uint8), grid.affine, names)


def phantom_cases(work: Path) -> Iterator[Case]:
    """The demo study, whole and one modality at a time.

    Args:
        work: A temporary folder to write the study to.
    """
    from training.phantom import HeadParameters
    from training.phantom.study import write_dicom_study

    truth = write_dicom_study(work / "phantom", HeadParameters())
    whole = "T1" if "T1" in truth.labels else next(iter(truth.labels))
    yield Case("phantom / T1+T2+FLAIR+CT", (str(truth.dicom),), phantom_reference(truth.labels[whole]))
    for name, labels in truth.labels.items():
        yield Case(f"phantom / {name}", (str(truth.dicom / name),), phantom_reference(labels))
