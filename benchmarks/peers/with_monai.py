"""MONAI's way: its transforms and its sliding window, as a bundle would chain them."""

from __future__ import annotations

import numpy as np

from benchmarks.comparison import Run
from benchmarks.peers.with_torch import library
from benchmarks.tasks import (
    BlendTask,
    ComponentsTask,
    LabelTask,
    NormaliseTask,
    PercentileTask,
    ResampleTask,
)

__all__ = ["blend", "components", "label", "normalise", "percentiles", "resample"]


def resample(task: ResampleTask) -> Run:
    """Orientation + Spacing + ScaleIntensityRange; keeps the field of view, as our grid does."""
    torch = library(task.threads)
    from monai.data import MetaTensor
    from monai.transforms import Compose, Orientation, ScaleIntensityRange, Spacing

    spacing = task.grid.spacing_mm[::-1].tolist()  # after Orientation: right, front, up
    chain = Compose(
        [
            Orientation("RAS"),
            Spacing(spacing, mode="bilinear", padding_mode="border", align_corners=True, scale_extent=True),
            ScaleIntensityRange(task.low, task.high, 0.0, 1.0, clip=True),
        ]
    )
    affine = torch.from_numpy(task.volume.affine)
    voxels = torch.from_numpy(task.volume.voxels)[None]

    def run() -> object:
        made = chain(MetaTensor(voxels, affine=affine))[0].as_tensor().numpy()
        return np.flip(made.transpose(2, 1, 0), (1, 2))  # a view in the order of our axes

    return run


def normalise(task: NormaliseTask) -> Run:
    """NormalizeIntensity, channel by channel."""
    torch = library(task.threads)
    from monai.transforms import NormalizeIntensity

    transform = NormalizeIntensity(channel_wise=True, nonzero=task.masked)
    channels = torch.from_numpy(task.channels)
    return lambda: np.asarray(transform(channels.float()))


def percentiles(task: PercentileTask) -> Run:
    """ScaleIntensityRangePercentiles to 0…1, channel by channel, clipped."""
    torch = library(task.threads)
    from monai.transforms import ScaleIntensityRangePercentiles

    transform = ScaleIntensityRangePercentiles(task.low, task.high, 0.0, 1.0, clip=True, channel_wise=True)
    channels = torch.from_numpy(task.channels)
    return lambda: np.asarray(transform(channels.float()))


def label(task: LabelTask) -> Run:
    """Resize of the scores + AsDiscrete(argmax)."""
    torch = library(task.threads)
    from monai.transforms import AsDiscrete, Compose, Resize

    chain = Compose([Resize(task.onto.shape, mode="trilinear", align_corners=False), AsDiscrete(argmax=True)])
    scores = torch.from_numpy(task.scores)
    return lambda: np.asarray(chain(scores.float()))[0].astype(np.uint8)


def blend(task: BlendTask) -> Run:
    """sliding_window_inference with our weights and a predictor that copies one tile.

    The copy is needed: MONAI multiplies what the predictor gives in place. Ours copies too.
    """
    torch = library(task.threads)
    from monai.inferers import sliding_window_inference

    tile = torch.from_numpy(task.tile)[None]
    weight = torch.from_numpy(task.weight)
    image = torch.zeros((1, 1, *task.shape))

    def run() -> object:
        blended = sliding_window_inference(
            image,
            task.weight.shape,
            1,
            lambda window: tile.clone(),
            overlap=task.overlap,
            roi_weight_map=weight,
        )
        return blended[0].numpy()

    return run


def components(task: ComponentsTask) -> Run:
    """KeepLargestConnectedComponent, every value by itself, 26 neighbours."""
    torch = library(task.threads)
    from monai.transforms import KeepLargestConnectedComponent

    keep = KeepLargestConnectedComponent(list(task.values), is_onehot=False, independent=True, connectivity=3)
    labels = torch.from_numpy(task.labels)[None]
    return lambda: np.asarray(keep(labels))[0].astype(np.uint8)
