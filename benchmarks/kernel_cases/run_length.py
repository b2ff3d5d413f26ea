"""run_length: a label map as frames of DICOM's RLE Lossless."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.comparison import Agreement, Case, CaseMaker, Peer, Setting, share_that_differs
from benchmarks.kernel_cases.components import labels_of
from benchmarks.peers import with_pydicom
from benchmarks.tasks import Triple
from runtime.formats.run_length import run_length_frames

__all__ = ["cases", "decoded"]

_FINE: Triple = (300, 512, 512)
_FINE_QUICK: Triple = (24, 48, 60)
_COARSE: Triple = (100, 112, 112)
_COARSE_QUICK: Triple = (12, 24, 30)
_STRUCTURES = 13
_HEADER_BYTES = 64
_EXACT = Agreement(0.0, "both are decoded to label maps; bits are bits")


def cases(setting: Setting) -> Iterator[CaseMaker]:
    """The one case of RLE."""
    fine, coarse = (_FINE_QUICK, _COARSE_QUICK) if setting.quick else (_FINE, _COARSE)
    name = f"run_length of {_STRUCTURES} structures, {fine[0]} slices of {fine[2]}x{fine[1]}"
    yield CaseMaker(name, partial(_case, coarse, fine, setting))


def _case(coarse: Triple, fine: Triple, setting: Setting) -> Case:
    voxels = labels_of(_STRUCTURES + 1, coarse, fine, setting.kernels)

    def ours() -> object:
        return list(run_length_frames(voxels, setting.kernels))

    def difference(mine: Any, theirs: Any) -> float:
        return max(share_that_differs(decoded(frames, fine), voxels) for frames in (mine, theirs))

    frames = list(run_length_frames(voxels, setting.kernels))
    return Case(
        ours,
        (Peer("pydicom RLELosslessEncoder", "pydicom", lambda: with_pydicom.encode_frames(voxels), _EXACT),),
        voxels.nbytes + sum(len(frame) for frame in frames),
        difference,
        "share of voxels of either that differ from the labels",
    )


def decoded(frames: Sequence[Any], shape: Triple) -> NDArray[np.uint8]:
    """The label map in frames of one segment each.

    Reads the bytes itself, so that no encoder is judged by its own decoder.

    Source:
        DICOM PS3.5 annex G.3: PackBits; a control byte of 129…255 repeats the next byte.
    """
    made = np.zeros((shape[0], shape[1] * shape[2]), np.uint8)
    for frame, pixels in zip(frames, made, strict=True):
        data, at, filled = bytes(frame), _HEADER_BYTES, 0
        while filled < len(pixels) and at < len(data):
            control = data[at]
            count = 257 - control if control > 128 else control + 1
            if control > 128:
                pixels[filled : filled + count] = data[at + 1]
                at += 2
            else:
                part = np.frombuffer(data, np.uint8, count, at + 1)
                pixels[filled : filled + count] = part[: len(pixels) - filled]
                at += 1 + count
            filled += count
    return made.reshape(shape)
