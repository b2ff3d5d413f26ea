"""A head made of formulas: training material and demo study that belong to nobody."""

from training.phantom.head import head_to_world, labels_at, sample_labels
from training.phantom.parameters import HeadParameters, Lesion
from training.phantom.scanner import paint
from training.phantom.study import Truth, write_dicom_study

__all__ = [
    "HeadParameters",
    "Lesion",
    "Truth",
    "head_to_world",
    "labels_at",
    "paint",
    "sample_labels",
    "write_dicom_study",
]
