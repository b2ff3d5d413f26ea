"""A head made of formulas: training material and demo study that belong to nobody."""

from training.phantom.head import head_to_world, labels_at, sample_labels
from training.phantom.parameters import HeadParameters, Lesion

__all__ = ["HeadParameters", "Lesion", "head_to_world", "labels_at", "sample_labels"]
