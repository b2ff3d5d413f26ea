"""statistics: percentiles, mean and standard deviation of a whole scan from one pass over it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.comparison import Agreement, Case, CaseMaker, Peer, Setting, largest_difference
from benchmarks.kernel_inputs import ct_volume, mr_channels
from benchmarks.peers import with_numpy, with_torch
from benchmarks.tasks import StatisticsTask, Triple
from runtime.kernels import Kernels
from runtime.stages.statistics import statistics
from runtime.volume import Volume

__all__ = ["cases"]

_CT: Triple = (300, 512, 512)
_CT_QUICK: Triple = (30, 52, 58)
_MR: Triple = (240, 240, 155)
_MR_QUICK: Triple = (24, 24, 16)
_PERCENTILES = (0.5, 50.0, 99.5)


def cases(setting: Setting) -> Iterator[CaseMaker]:
    """Every case of this kernel."""
    ct, mr = (_CT_QUICK, _MR_QUICK) if setting.quick else (_CT, _MR)
    yield CaseMaker(
        f"statistics CT {'x'.join(map(str, reversed(ct)))}",
        lambda: _case(ct_volume(ct, (1.0, 0.7, 0.7)), setting.kernels),
    )
    yield CaseMaker(
        f"statistics MR {'x'.join(map(str, mr))}",
        lambda: _case(Volume(mr_channels(1, mr)[0], np.eye(4)), setting.kernels),
    )


def _case(volume: Volume, kernels: Kernels) -> Case:
    task = StatisticsTask(volume, _PERCENTILES, kernels.threads)

    def ours() -> object:
        counted = statistics(volume, kernels)
        found = [counted.percentile(q) for q in _PERCENTILES]
        return np.array([*found, counted.mean(), counted.deviation()])

    largest = float(np.abs(volume.voxels).max())
    peers = (
        Peer(
            "numpy percentile + mean + std",
            "numpy",
            lambda: with_numpy.statistics(task),
            Agreement(1e-9 * largest, "float64 sums of integers"),
        ),
        Peer(
            "torch quantile + mean + std",
            "torch",
            lambda: with_torch.statistics(task),
            Agreement(64 * 2.0**-23 * largest, f"float32 sums of {volume.voxels.size} voxels"),
        ),
    )
    moved = volume.voxels.nbytes
    return Case(ours, peers, moved, largest_difference, "largest absolute difference of the five values")
