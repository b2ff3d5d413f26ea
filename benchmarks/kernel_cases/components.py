"""components: only the largest connected part of every structure stays."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.comparison import Agreement, Case, CaseMaker, Peer, Setting, share_that_differs
from benchmarks.kernel_inputs import axial_affine, scores
from benchmarks.peers import with_cc3d, with_monai, with_scipy, with_simpleitk
from benchmarks.tasks import ComponentsTask, Triple, zoomed
from runtime.kernels import Kernels
from runtime.stages.components import keep_largest
from runtime.stages.label import label
from runtime.volume import Grid

__all__ = ["cases", "labels_of"]

_FINE: Triple = (300, 512, 512)
_FINE_QUICK: Triple = (36, 64, 64)
_COARSE: Triple = (100, 112, 112)
_COARSE_QUICK: Triple = (24, 28, 28)
_CLASSES = (2, 14, 105)
_ISLANDS_EVERY = 100_000
"""Voxels for each stray island: a network leaves some hundreds in a whole CT."""

_EXACT = Agreement(0.0, "integers; no structure's two largest parts have the same size")


def cases(setting: Setting) -> Iterator[CaseMaker]:
    """Every case of this kernel."""
    fine = _FINE_QUICK if setting.quick else _FINE
    coarse = _COARSE_QUICK if setting.quick else _COARSE
    for classes in _CLASSES:
        yield CaseMaker(
            f"components C={classes} {'x'.join(map(str, reversed(fine)))}",
            partial(_case, classes, coarse, fine, setting.kernels),
        )


def labels_of(classes: int, coarse: Triple, fine: Triple, kernels: Kernels) -> NDArray[np.uint8]:
    """Labels as the label kernel makes them from smooth scores, on `fine`; every class has voxels."""
    onto = Grid(fine, axial_affine(fine, (1.0, 0.7, 0.7)))
    made = scores(classes, coarse, "float16")
    labels = label(made, zoomed(onto, coarse), onto, np.arange(classes, dtype=np.uint8), kernels)
    # A class that others hide entirely gets a block, so that no structure is empty.
    seen = np.bincount(labels.ravel(), minlength=classes)
    for value in np.flatnonzero(seen == 0):
        i, j, k = (int(value * 7 + axis) % (size - 3) for axis, size in enumerate(fine))
        labels[i : i + 3, j : j + 3, k : k + 3] = value
    return labels


def _case(classes: int, coarse: Triple, fine: Triple, kernels: Kernels) -> Case:
    labels = labels_of(classes, coarse, fine, kernels)
    random = np.random.default_rng(5)
    for _ in range(max(1, labels.size // _ISLANDS_EVERY)):
        i, j, k = (int(random.integers(0, size - 2)) for size in fine)
        labels[i : i + 2, j : j + 2, k : k + 2] = random.integers(1, classes)
    task = ComponentsTask(labels, tuple(range(1, classes)), kernels.threads)

    def ours() -> object:
        cleaned = task.labels.copy()  # it works in place; peers copy too
        keep_largest(cleaned, task.values, kernels)
        return cleaned

    peers = (
        Peer("scipy label + bincount", "scipy", lambda: with_scipy.components(task), _EXACT),
        Peer("SimpleITK ConnectedComponent", "SimpleITK", lambda: with_simpleitk.components(task), _EXACT),
        Peer("cc3d largest_k a structure", "cc3d", lambda: with_cc3d.one_by_one(task), _EXACT),
        Peer("cc3d all structures at once", "cc3d", lambda: with_cc3d.at_once(task), _EXACT),
        Peer("MONAI KeepLargestConnectedComponent", "monai", lambda: with_monai.components(task), _EXACT),
    )
    return Case(
        ours,
        peers,
        2 * labels.nbytes,
        share_that_differs,
        "share of voxels that differ",
    )
