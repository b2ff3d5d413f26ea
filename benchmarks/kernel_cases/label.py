"""label and argmax: class scores to labels, on the scanner's grid or on the scores' own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.comparison import Agreement, Case, CaseMaker, Peer, Setting, share_that_differs
from benchmarks.kernel_inputs import axial_affine, scores
from benchmarks.peers import with_monai, with_nnunet, with_numpy, with_scipy, with_torch
from benchmarks.tasks import LabelTask, Triple, zoomed
from runtime.bundle import Target
from runtime.kernels import Kernels
from runtime.stages.candidates import candidate_window
from runtime.stages.label import label, label_features, mask_scores, relabel_window
from runtime.volume import Grid

__all__ = ["cases"]

_SCORES: Triple = (200, 224, 224)
_SCORES_QUICK: Triple = (32, 28, 28)
_LABELS: Triple = (300, 512, 512)
_LABELS_QUICK: Triple = (48, 64, 64)
"""More slices than a slab of the torch peer has."""
_CLASSES = (2, 14, 105)
_ARGMAX_CLASSES = (14, 105)
_FEATURES, _FEATURE_CLASSES = 16, (14,)
_MIXED = 0.1
"""How much of every other feature a class takes up, so that no product is with 0."""

_MOST_CLASSES_OF_SLOW = 14
"""More classes take SciPy minutes a round and show nothing new."""

_INDEX_BYTES = 8
"""torch and NumPy answer an argmax in int64."""

_TIES = Agreement(
    1e-6, "where two interpolated float32 scores differ by a rounding, either may win: one voxel in a million"
)
_PRODUCTS = Agreement(
    1e-5, "a BLAS adds products in another order: where two scores differ by roundings, either class may win"
)
_EXACT = Agreement(0.0, "nothing is computed, only compared")


def cases(setting: Setting) -> Iterator[CaseMaker]:
    """Every case of these kernels."""
    coarse, fine = (_SCORES_QUICK, _LABELS_QUICK) if setting.quick else (_SCORES, _LABELS)
    onto = "x".join(map(str, reversed(fine)))
    own = "x".join(map(str, reversed(coarse)))
    for classes in _CLASSES:
        for dtype in ("float32", "float16"):
            yield CaseMaker(
                f"label C={classes} {dtype} onto {onto}",
                partial(_label, classes, dtype, coarse, fine, setting.kernels),
            )
    for classes in _FEATURE_CLASSES:
        yield CaseMaker(
            f"label_window of one target C={classes} onto {onto}",
            partial(_one_target, classes, coarse, fine, setting.kernels),
        )
        yield CaseMaker(
            f"label_features F={_FEATURES} C={classes} float32 onto {onto}",
            partial(_label_features, classes, coarse, fine, setting.kernels),
        )
    for classes in _ARGMAX_CLASSES:
        yield CaseMaker(
            f"argmax C={classes} float32 {own}",
            partial(_argmax, classes, coarse, setting.kernels),
        )


def _task(classes: int, dtype: str, coarse: Triple, fine: Triple, kernels: Kernels) -> LabelTask:
    onto = Grid(fine, axial_affine(fine, (1.0, 0.7, 0.7)))
    return LabelTask(scores(classes, coarse, dtype), zoomed(onto, coarse), onto, kernels.threads)


def _label(classes: int, dtype: str, coarse: Triple, fine: Triple, kernels: Kernels) -> Case:
    task = _task(classes, dtype, coarse, fine, kernels)
    values = np.arange(classes, dtype=np.uint8)
    voxels = int(np.prod(fine))
    whole, index = 4 * classes * voxels, _INDEX_BYTES * voxels
    widened = task.scores.size * 4 if dtype == "float16" else 0
    note = "float16 scores are widened to float32 first, in the clock" if dtype == "float16" else ""
    peers = [
        Peer(
            "torch interpolate + argmax",
            "torch",
            lambda: with_torch.label_whole(task),
            _TIES,
            whole + index + widened,
            note,
        ),
        Peer(
            "torch by slabs, running maximum", "torch", lambda: with_torch.label_slabs(task), _TIES, note=note
        ),
        Peer(
            "MONAI Resize + AsDiscrete",
            "monai",
            lambda: with_monai.label(task),
            _TIES,
            whole + 2 * index + widened,
            note,
        ),
        Peer(
            "nnU-Net export, torch resampling",
            "nnunetv2",
            lambda: with_nnunet.label(task, by_torch=True),
            _TIES,
            2 * whole + index + widened,
            note,
        ),
        Peer(
            "nnU-Net export, default resampling",
            "nnunetv2",
            lambda: with_nnunet.label(task, by_torch=False),
            _TIES,
            whole + index + widened + 8 * task.scores.size,  # scikit-image works in float64
            note,
        ),
    ]
    if classes <= _MOST_CLASSES_OF_SLOW:
        peers.insert(
            0, Peer("scipy zoom, running maximum", "scipy", lambda: with_scipy.label(task), _TIES, note=note)
        )
    return Case(
        lambda: label(task.scores, task.scores_grid, task.onto, values, kernels),
        peers,
        task.scores.nbytes + voxels,
        share_that_differs,
        "share of voxels that differ",
    )


def _label_features(classes: int, coarse: Triple, fine: Triple, kernels: Kernels) -> Case:
    task = _task(_FEATURES, "float32", coarse, fine, kernels)
    features, onto = task.scores, task.onto
    random = np.random.default_rng(4)
    vectors = np.eye(classes, _FEATURES) + _MIXED * random.standard_normal((classes, _FEATURES))
    vectors = vectors.astype(np.float32)
    biases = random.standard_normal(classes).astype(np.float32)
    targets = [Target(str(n), tuple(vectors[n].tolist()), float(biases[n])) for n in range(classes)]
    values = np.arange(classes, dtype=np.uint8)

    def multiplied() -> NDArray[np.float32]:
        made = vectors @ features.reshape(_FEATURES, -1)
        made += biases[:, None]
        return np.asarray(made.reshape(classes, *coarse))

    def by_slabs() -> object:
        return with_torch.label_slabs(replace(task, scores=multiplied()))()

    peers = (
        Peer(
            "numpy matmul, then our label",
            "numpy",
            lambda: lambda: label(multiplied(), task.scores_grid, onto, values, kernels),
            _PRODUCTS,
        ),
        Peer("torch by slabs of a numpy matmul", "torch", lambda: by_slabs, _PRODUCTS),
    )
    return Case(
        lambda: label_features(features, task.scores_grid, targets, onto, values, kernels),
        peers,
        features.nbytes + int(np.prod(fine)),
        share_that_differs,
        "share of voxels that differ",
    )


def _one_target(classes: int, coarse: Triple, fine: Triple, kernels: Kernels) -> Case:
    """A target of a finished label map grows: a ball about an eighth as wide as the scan."""
    task = _task(_FEATURES, "float32", coarse, fine, kernels)
    features, grid, onto = task.scores, task.scores_grid, task.onto
    away = [(np.arange(side) - side / 2) * 16 / side for side in coarse]
    features[1] = 8 * (1 - np.sqrt(sum(np.ix_(*(axis**2 for axis in away)))))
    vectors = np.eye(classes, _FEATURES, dtype=np.float32)
    targets = [Target(str(n), tuple(vectors[n].tolist()), 0.0) for n in range(classes)]
    changed = [replace(target, bias=float(n == 1)) for n, target in enumerate(targets)]
    values = np.arange(classes, dtype=np.uint8)
    labels = label_features(features, grid, targets, onto, values, kernels)
    made = mask_scores(features, changed, kernels)

    def ours() -> object:
        window = candidate_window(made, grid, 1, onto, kernels)  # it has grown, so this is all
        if window is not None:
            relabel_window(labels, window, made, grid, onto, values, kernels)
        return labels

    def everything() -> object:
        return label_features(features, grid, changed, onto, values, kernels)

    peers = (Peer("our label of everything", "numpy", lambda: everything, _EXACT),)
    return Case(ours, peers, features.nbytes, share_that_differs, "share of voxels that differ")


def _argmax(classes: int, shape: Triple, kernels: Kernels) -> Case:
    task = _task(classes, "float32", shape, shape, kernels)
    values = np.arange(classes, dtype=np.uint8)

    def ours() -> object:
        labels = np.empty(shape, np.uint8)
        kernels.table.argmax(task.scores, labels, values, kernels.threads)
        return labels

    peers = (
        Peer("numpy argmax", "numpy", lambda: with_numpy.argmax(task), _EXACT),
        Peer("torch argmax", "torch", lambda: with_torch.argmax(task), _EXACT),
    )
    moved = task.scores.nbytes + int(np.prod(shape))
    return Case(ours, peers, moved, share_that_differs, "share of voxels that differ")
