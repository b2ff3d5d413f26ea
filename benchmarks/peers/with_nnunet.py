"""nnU-Net's way: its preprocessor and its export, with plans that ask for our grid and our numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.comparison import Run
from benchmarks.peers.with_torch import library
from benchmarks.tasks import LabelTask, NormaliseTask, ResampleTask

__all__ = ["label", "normalise", "resample"]

_DEFAULT, _TORCH = "resample_data_or_seg_to_shape", "resample_torch_fornnunet"


def _resampling(order: int, by_torch: bool, threads: int, is_seg: bool) -> tuple[str, dict[str, Any]]:
    """Name and arguments of a resampling function, as plans give them."""
    if by_torch:
        return _TORCH, {"is_seg": is_seg, "force_separate_z": None, "num_threads": threads}
    return _DEFAULT, {"is_seg": is_seg, "order": order, "order_z": 0, "force_separate_z": None}


def _plans(spacing: list[float], normalisation: str, order: int, by_torch: bool, threads: int) -> Any:
    """Plans and configuration with every entry that the two paths read."""
    from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

    configuration: dict[str, Any] = {
        "architecture": {},
        "spacing": spacing,
        "normalization_schemes": [normalisation],
        "use_mask_for_norm": [False],
    }
    for what, is_seg in (("data", False), ("probabilities", False), ("seg", True)):
        chosen = order if what == "data" else 1
        name, arguments = _resampling(chosen, by_torch, threads, is_seg)
        configuration[f"resampling_fn_{what}"] = name
        configuration[f"resampling_fn_{what}_kwargs"] = arguments
    plans = {
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "label_manager": "LabelManager",
    }
    return PlansManager(plans), ConfigurationManager(configuration)


def resample(task: ResampleTask, order: int, by_torch: bool = False) -> Run:
    """DefaultPreprocessor.run_case_npy: crop to non-zero, CT normalisation, resampling of image and mask."""
    library(task.threads)
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

    plans, configuration = _plans(
        task.grid.spacing_mm.tolist(), "CTNormalization", order, by_torch, task.threads
    )
    plans.plans["foreground_intensity_properties_per_channel"] = {
        "0": {
            "mean": task.low,
            "std": task.high - task.low,
            "percentile_00_5": task.low,
            "percentile_99_5": task.high,
        }
    }
    preprocessor = DefaultPreprocessor(verbose=False)
    image = task.volume.voxels[None]
    spacing = task.volume.spacing_mm.tolist()

    def run() -> object:
        made, _, _ = preprocessor.run_case_npy(image, None, {"spacing": spacing}, plans, configuration, {})
        return np.asarray(made[0])

    return run


def normalise(task: NormaliseTask) -> Run:
    """DefaultPreprocessor.run_case_npy on the wanted spacing: crop to non-zero and z-score.

    Its mask is what is not 0 in any channel, holes filled: in our input the same voxels.
    """
    library(task.threads)
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

    channels = len(task.channels)
    spacing = [1.0, 1.0, 1.0]
    plans, configuration = _plans(spacing, "ZScoreNormalization", 1, False, task.threads)
    configuration.configuration["normalization_schemes"] *= channels
    configuration.configuration["use_mask_for_norm"] = [task.masked] * channels
    plans.plans["foreground_intensity_properties_per_channel"] = {str(n): {} for n in range(channels)}
    preprocessor = DefaultPreprocessor(verbose=False)

    def run() -> object:
        made, _, _ = preprocessor.run_case_npy(
            task.channels, None, {"spacing": spacing}, plans, configuration, {}
        )
        return made

    return run


def label(task: LabelTask, by_torch: bool) -> Run:
    """convert_predicted_logits_to_segmentation_with_correct_shape, from float32 scores."""
    torch = library(task.threads)
    from nnunetv2.inference.export_prediction import (
        convert_predicted_logits_to_segmentation_with_correct_shape as convert,
    )
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    plans, configuration = _plans(
        task.scores_grid.spacing_mm.tolist(), "NoNormalization", 1, by_torch, task.threads
    )
    names = {"background": 0, **{f"class_{n}": n for n in range(1, len(task.scores))}}
    manager = LabelManager(names, None)
    scores = torch.from_numpy(task.scores)
    shape = list(task.onto.shape)
    properties = {
        "spacing": task.onto.spacing_mm.tolist(),
        "shape_before_cropping": shape,
        "shape_after_cropping_and_before_resampling": shape,
        "bbox_used_for_cropping": [[0, size] for size in shape],
    }

    def run() -> object:
        return convert(
            scores.float(),
            plans,
            configuration,
            manager,
            properties,
            num_threads_torch=task.threads,
        )

    return run
