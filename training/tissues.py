"""The tissues images are painted from: which class each belongs to and how it looks.

Intensities for MR are relative (white matter of a T1-weighted image is 0.80); CT is in Hounsfield
units. They are the centres of wide random distributions, not measurements: textbook order of
brightness (fat, white matter, grey matter, fluid) is what matters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.structures import CLASS_NAMES

__all__ = ["CHANNELS", "TISSUES", "Tissue", "class_table", "freesurfer_table", "index_of", "mean_table"]

CHANNELS = ("T1", "T1c", "T2", "FLAIR", "CT")


@dataclass(frozen=True)
class Tissue:
    """One tissue.

    Attributes:
        name: Unique name.
        structure: Name of its class in `training.structures`.
        means: Centre of the intensity in T1, T1c, T2, FLAIR (relative) and CT (Hounsfield units).
        freesurfer: Ids of the label maps that are this tissue.
    """

    name: str
    structure: str
    means: tuple[float, float, float, float, float]
    freesurfer: tuple[int, ...] = ()


def _tissue(name: str, structure: str, *means: float, ids: tuple[int, ...] = ()) -> Tissue:
    t1, t1c, t2, flair, ct = means
    return Tissue(name, structure, (t1, t1c, t2, flair, ct), ids)


TISSUES: tuple[Tissue, ...] = (
    _tissue("air", "background", 0.01, 0.01, 0.01, 0.01, -1000, ids=(0,)),
    _tissue(
        "cerebral white matter", "cerebral_white_matter", 0.80, 0.80, 0.34, 0.42, 28, ids=(2, 41, 25, 57)
    ),
    _tissue("cerebral cortex", "cerebral_cortex", 0.55, 0.57, 0.50, 0.56, 37, ids=(3, 42)),
    _tissue("lateral ventricle", "lateral_ventricles", 0.17, 0.18, 0.95, 0.12, 7, ids=(4, 5, 43, 44, 72)),
    _tissue(
        "choroid plexus", "lateral_ventricles", 0.40, 0.75, 0.75, 0.40, 30, ids=(136, 137, 163, 164, 31, 63)
    ),
    _tissue("third ventricle", "third_fourth_ventricles", 0.18, 0.19, 0.92, 0.15, 8, ids=(14, 15)),
    _tissue("thalamus", "thalamus", 0.66, 0.67, 0.42, 0.48, 35, ids=(10, 49)),
    _tissue("caudate", "caudate", 0.58, 0.60, 0.46, 0.53, 37, ids=(11, 50)),
    _tissue("accumbens", "caudate", 0.58, 0.60, 0.48, 0.55, 36, ids=(26, 58)),
    _tissue("putamen", "putamen_pallidum", 0.62, 0.63, 0.43, 0.51, 37, ids=(12, 51)),
    _tissue("pallidum", "putamen_pallidum", 0.72, 0.72, 0.32, 0.43, 38, ids=(13, 52)),
    _tissue("hippocampus", "hippocampus_amygdala", 0.55, 0.56, 0.52, 0.61, 35, ids=(17, 53)),
    _tissue("amygdala", "hippocampus_amygdala", 0.56, 0.57, 0.52, 0.60, 35, ids=(18, 54)),
    _tissue("ventral diencephalon", "ventral_diencephalon", 0.72, 0.73, 0.39, 0.46, 33, ids=(28, 60)),
    _tissue("cerebellar white matter", "cerebellum", 0.78, 0.78, 0.36, 0.43, 29, ids=(7, 46)),
    _tissue("cerebellar cortex", "cerebellum", 0.57, 0.59, 0.48, 0.53, 37, ids=(8, 47)),
    _tissue("brain stem", "brain_stem", 0.74, 0.75, 0.39, 0.46, 30, ids=(16,)),
    _tissue("sulcal fluid", "sulcal_csf", 0.20, 0.22, 0.90, 0.16, 10, ids=(24,)),
    _tissue("outer fluid", "outer_csf", 0.22, 0.26, 0.85, 0.18, 12),
    _tissue("vessel", "sulcal_csf", 0.35, 0.95, 0.25, 0.25, 45, ids=(30, 62)),
    _tissue("optic pathway", "sulcal_csf", 0.70, 0.72, 0.42, 0.48, 32, ids=(85,)),
    _tissue("dura and sinus", "outer_csf", 0.40, 0.95, 0.30, 0.35, 52, ids=(514,)),
    _tissue("spinal cord", "head", 0.74, 0.75, 0.40, 0.46, 30, ids=(512,)),
    _tissue("optic nerve", "head", 0.65, 0.68, 0.45, 0.50, 30, ids=(530,)),
    _tissue("eye", "head", 0.20, 0.21, 0.95, 0.30, 10, ids=(506,)),
    _tissue("lens", "head", 0.50, 0.52, 0.25, 0.35, 70, ids=(508,)),
    _tissue("muscle", "head", 0.45, 0.55, 0.22, 0.32, 55, ids=(507,)),
    _tissue("fat", "head", 1.00, 1.00, 0.75, 0.75, -90),
    _tissue("mucosa", "head", 0.50, 0.85, 0.80, 0.75, 40, ids=(509, 502)),
    _tissue("skin", "head", 0.75, 0.80, 0.50, 0.55, 0, ids=(511,)),
    _tissue("cortical bone", "head", 0.10, 0.11, 0.06, 0.08, 1000, ids=(515,)),
    _tissue("bone marrow", "head", 0.65, 0.70, 0.40, 0.42, 350, ids=(516,)),
    _tissue("plaque", "lesion", 0.58, 0.60, 0.72, 0.86, 24, ids=(77,)),
    _tissue("solid tumour", "lesion", 0.50, 0.60, 0.62, 0.72, 36),
    _tissue("enhancing tumour", "lesion", 0.52, 1.10, 0.62, 0.72, 40, ids=(9002,)),
    _tissue("blood", "lesion", 0.75, 0.80, 0.35, 0.55, 68),
    _tissue("cavity", "necrosis", 0.25, 0.28, 0.92, 0.35, 14, ids=(9001,)),
    _tissue("vasogenic oedema", "oedema", 0.55, 0.56, 0.75, 0.85, 20, ids=(9003,)),
    # Gliomas may be as bright as cortex in T2 and FLAIR: only T1 with and without contrast tell.
    _tissue("faint tumour", "lesion", 0.60, 0.92, 0.49, 0.47, 37),
)

_INDEX = {tissue.name: index for index, tissue in enumerate(TISSUES)}


def index_of(name: str) -> int:
    """Tissue index of a name in `TISSUES`."""
    return _INDEX[name]


def class_table() -> NDArray[np.uint8]:
    """Tissue index to class index (0 is background), (len(TISSUES),)."""
    return np.array([CLASS_NAMES.index(tissue.structure) for tissue in TISSUES], np.uint8)


def mean_table() -> NDArray[np.float32]:
    """Centre intensities, (len(CHANNELS), len(TISSUES))."""
    return np.ascontiguousarray(np.array([tissue.means for tissue in TISSUES], np.float32).T)


def freesurfer_table() -> NDArray[np.uint8]:
    """Label-map id (0…9999) to tissue index; ids that are not listed become sulcal fluid."""
    table = np.full(10_000, index_of("sulcal fluid"), np.uint8)
    for index, tissue in enumerate(TISSUES):
        table[list(tissue.freesurfer)] = index
    return table
