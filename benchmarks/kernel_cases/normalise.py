"""prepare again: four MR channels to mean 0 and deviation 1, or between two percentiles."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.comparison import Agreement, Case, CaseMaker, Peer, Run, Setting, largest_difference
from benchmarks.kernel_inputs import mr_channels
from benchmarks.peers import with_monai, with_nnunet, with_numpy
from benchmarks.tasks import NormaliseTask, PercentileTask, Triple
from runtime.bundle import Channel
from runtime.kernels import Kernels
from runtime.stages.normalise import channel_normalisation
from runtime.stages.prepare import prepare
from runtime.volume import Volume

__all__ = ["cases"]

_MR: Triple = (240, 240, 155)
_MR_QUICK: Triple = (24, 24, 16)
_CHANNELS = 4
_PERCENTILES = (1.0, 99.0)
_EPSILON = 2.0**-23
_UNCLAMPED = (-1e6, 1e6)


def cases(setting: Setting) -> Iterator[CaseMaker]:
    """Every case of normalising without resampling."""
    mr, kernels = _MR_QUICK if setting.quick else _MR, setting.kernels
    name = f"prepare MR {_CHANNELS}x{'x'.join(map(str, mr))}"
    yield CaseMaker(f"{name}, z-score", lambda: _z_score(mr, False, kernels))
    yield CaseMaker(f"{name} without air, z-score", lambda: _z_score(mr, True, kernels))
    yield CaseMaker(f"{name}, percentiles", lambda: _percentiles(mr, kernels))


def _ours(channels: NDArray[np.int16], wanted: Channel, kernels: Kernels) -> Run:
    """Two passes over each channel: count, then shift and scale."""
    volumes = [Volume(channel, np.eye(4)) for channel in channels]

    def run() -> object:
        into = np.empty(channels.shape, np.float32)
        for volume, made in zip(volumes, into, strict=True):
            prepare(volume, volume.grid, made, channel_normalisation(volume, wanted, kernels), kernels)
        return into

    return run


def _moved_bytes(channels: NDArray[np.int16]) -> int:
    return 2 * channels.nbytes + 4 * channels.size  # what is measured is known after the first pass


def _z_score(shape: Triple, masked: bool, kernels: Kernels) -> Case:
    task = NormaliseTask(mr_channels(_CHANNELS, shape, blanked=masked), kernels.threads, masked)
    largest = max(float(channel.max() - channel.mean()) / float(channel.std()) for channel in task.channels)
    close = Agreement(
        64 * _EPSILON * largest, f"float32 sums of {task.channels[0].size} voxels; values up to {largest:.1f}"
    )
    peers = (
        Peer("numpy mean + std", "numpy", lambda: with_numpy.normalise(task), close),
        Peer("MONAI NormalizeIntensity", "monai", lambda: with_monai.normalise(task), close),
        Peer("nnU-Net preprocessor, z-score", "nnunetv2", lambda: with_nnunet.normalise(task), close),
    )
    ours = _ours(task.channels, Channel("T1", "z_score", 0.0, 1.0, _UNCLAMPED), kernels)
    return Case(
        ours,
        peers,
        _moved_bytes(task.channels),
        largest_difference,
        "largest absolute difference, deviation = 1",
    )


def _percentiles(shape: Triple, kernels: Kernels) -> Case:
    task = PercentileTask(mr_channels(_CHANNELS, shape), *_PERCENTILES, kernels.threads)
    close = Agreement(16 * _EPSILON, "float32 scaling of values within 0…1; the percentiles are exact")
    peers = (
        Peer("numpy percentile + clip", "numpy", lambda: with_numpy.percentiles(task), close),
        Peer("MONAI ScaleIntensityRangePercentiles", "monai", lambda: with_monai.percentiles(task), close),
    )
    ours = _ours(task.channels, Channel("T1", "percentile", *_PERCENTILES, (0.0, 1.0)), kernels)
    return Case(
        ours, peers, _moved_bytes(task.channels), largest_difference, "largest absolute difference, range = 1"
    )
