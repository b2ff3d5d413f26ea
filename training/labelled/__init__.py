"""Data sets with labels of others: cases by name, with their images, and how they are split."""

from training.labelled.case import ImageFile, LabelledCase
from training.labelled.chaos import ChaosCase, read_chaos
from training.labelled.decathlon import read_decathlon
from training.labelled.folder import read_folder
from training.labelled.folds import fold_of

__all__ = [
    "ChaosCase",
    "ImageFile",
    "LabelledCase",
    "fold_of",
    "read_chaos",
    "read_decathlon",
    "read_folder",
]
