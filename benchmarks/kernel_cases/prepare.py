"""prepare: a CT onto a coarser grid with a window."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, pairwise

import numpy as np

from benchmarks.comparison import Agreement, Case, CaseMaker, Peer, Setting, largest_difference
from benchmarks.kernel_inputs import ct_volume
from benchmarks.peers import with_monai, with_nnunet, with_scipy, with_simpleitk, with_torch
from benchmarks.tasks import ResampleTask, Triple, zoomed
from runtime._kernels import Intensity
from runtime.kernels import Kernels
from runtime.stages.prepare import Normalisation, prepare

__all__ = ["cases"]

_CT: Triple = (300, 512, 512)
_CT_QUICK: Triple = (30, 52, 58)
_SPACING_MM = (1.0, 0.7, 0.7)
_WANTED_MM = 1.5
_WINDOW_HU = (-1024.0, 3071.0)
"""Twelve bits, so that nothing is clipped: nnU-Net clips before it resamples, everybody else after."""
_EPSILON = 2.0**-23
_DIFFERENCE = "largest absolute difference, window = 1"


def cases(setting: Setting) -> Iterator[CaseMaker]:
    """Every case of this kernel."""
    shape = _CT_QUICK if setting.quick else _CT
    size = "x".join(map(str, reversed(shape)))
    yield CaseMaker(f"prepare CT {size} to {_WANTED_MM} mm", lambda: _one_sample(shape, setting.kernels))
    yield CaseMaker(
        f"prepare CT {size} to {_WANTED_MM} mm, anti-aliased", lambda: _anti_aliased(shape, setting.kernels)
    )


def _task(shape: Triple, kernels: Kernels) -> ResampleTask:
    volume = ct_volume(shape, _SPACING_MM)
    i, j, k = np.rint(np.array(shape) * _SPACING_MM / _WANTED_MM).astype(int).tolist()
    return ResampleTask(volume, zoomed(volume.grid, (i, j, k)), *_WINDOW_HU, kernels.threads)


def _moved_bytes(task: ResampleTask) -> int:
    return int(task.volume.voxels.nbytes + 4 * np.prod(task.grid.shape))


def _rounding(task: ResampleTask) -> Agreement:
    """Peers work in float32, and torch computes positions in it too."""
    voxels, gain = task.volume.voxels, 1 / (task.high - task.low)
    # A slice at a time, widened: a step between neighbours may not fit in 16 bits.
    inside = (np.diff(plane.astype(np.int32), axis=axis) for plane in voxels for axis in (0, 1))
    across = (a - b.astype(np.int32) for a, b in pairwise(voxels))
    step = max(int(np.abs(difference).max()) for difference in chain(inside, across))
    largest = max(abs(task.low), abs(task.high))
    position = 2 * max(voxels.shape) * _EPSILON
    return Agreement(
        (3 * position * step + 4 * _EPSILON * largest) * gain,
        f"float32: positions off by {position:.1e} voxel an axis where neighbours differ by up to {step} HU",
    )


def _one_sample(shape: Triple, kernels: Kernels) -> Case:
    """One trilinear sample a voxel, as the peers take; our product takes more."""
    task = _task(shape, kernels)
    matrix = np.ascontiguousarray(task.grid.index_to(task.volume.grid)[:3])
    intensity = Intensity(
        slope=1.0,
        intercept=0.0,
        shift=task.low,
        gain=1 / (task.high - task.low),
        clamp_low=0.0,
        clamp_high=1.0,
        outside=0.0,
    )

    def ours() -> object:
        voxels, into = task.volume.voxels, np.empty(task.grid.shape, np.float32)
        needed = kernels.table.prepare_scratch(voxels, into, matrix, (1, 1, 1), kernels.threads)
        work = kernels.scratch(needed)
        kernels.table.prepare(voxels, into, matrix, (1, 1, 1), intensity, work, kernels.threads)
        return into

    close = _rounding(task)
    peers = (
        Peer("scipy zoom, order 1", "scipy", lambda: with_scipy.resample(task), close),
        Peer("SimpleITK Resample", "SimpleITK", lambda: with_simpleitk.resample(task), close),
        Peer("torch interpolate + clamp", "torch", lambda: with_torch.resample(task), close),
        Peer("MONAI Orientation + Spacing", "monai", lambda: with_monai.resample(task), close),
        Peer("nnU-Net preprocessor, order 1", "nnunetv2", lambda: with_nnunet.resample(task, 1), close),
        Peer(
            "nnU-Net preprocessor, torch",
            "nnunetv2",
            lambda: with_nnunet.resample(task, 1, by_torch=True),
            close,
        ),
        Peer(
            "nnU-Net preprocessor, order 3",
            "nnunetv2",
            lambda: with_nnunet.resample(task, 3),
            None,
            note="nnU-Net's default; cubic, so no agreement is expected",
        ),
    )
    return Case(ours, peers, _moved_bytes(task), largest_difference, _DIFFERENCE)


def _anti_aliased(shape: Triple, kernels: Kernels) -> Case:
    """What the product does: each voxel the mean of samples spread over it."""
    task = _task(shape, kernels)
    normalisation = Normalisation(task.low, 1 / (task.high - task.low), 0.0, 1.0)
    ratio = np.array(task.volume.voxels.shape) / np.array(task.grid.shape)
    a, b, c = np.ceil(ratio - 1e-3).astype(int).tolist()  # as runtime.stages.prepare chooses

    def ours() -> object:
        into = np.empty(task.grid.shape, np.float32)
        prepare(task.volume, task.grid, into, normalisation, kernels)
        return into

    close = _rounding(task)
    peers = (
        Peer(
            f"scipy zoom, {a}x{b}x{c} finer + mean",
            "scipy",
            lambda: with_scipy.resample_mean(task, (a, b, c)),
            close,
        ),
        Peer(
            f"torch interpolate, {a}x{b}x{c} finer + mean",
            "torch",
            lambda: with_torch.resample_mean(task, (a, b, c)),
            close,
        ),
    )
    return Case(ours, peers, _moved_bytes(task), largest_difference, _DIFFERENCE)
