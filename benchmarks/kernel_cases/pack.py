"""pack: a label map as a file of DICOM SEG bits, one frame for each structure and slice."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.comparison import Agreement, Case, CaseMaker, Peer, Setting, share_that_differs
from benchmarks.kernel_cases.components import labels_of
from benchmarks.kernel_inputs import IDENTITY, dicom_series, structures
from benchmarks.peers import with_highdicom
from benchmarks.tasks import PackTask, Triple
from runtime.formats.seg_write import write_seg
from runtime.volume import Labels

__all__ = ["cases", "decoded"]

_FINE: Triple = (300, 512, 512)
_FINE_QUICK: Triple = (24, 48, 60)
_COARSE: Triple = (100, 112, 112)
_COARSE_QUICK: Triple = (12, 24, 30)
_STRUCTURES = (13, 104)
_SPACING_MM = (1.0, 0.7, 0.7)
_EXACT = Agreement(0.0, "both files are decoded to label maps; bits are bits")


def cases(setting: Setting) -> Iterator[CaseMaker]:
    """Every case of writing a SEG."""
    fine, coarse = (_FINE_QUICK, _COARSE_QUICK) if setting.quick else (_FINE, _COARSE)
    for count in _STRUCTURES:
        yield CaseMaker(
            f"pack SEG of {count} structures, {fine[0]} slices of {fine[2]}x{fine[1]}",
            partial(_case, count, coarse, fine, setting),
        )


def _case(count: int, coarse: Triple, fine: Triple, setting: Setting) -> Case:
    series = dicom_series(fine, _SPACING_MM)
    named = structures(count)
    voxels = labels_of(count + 1, coarse, fine, setting.kernels)
    labels = Labels(voxels, series.volume.affine, {structure.value: structure.name for structure in named})
    task = PackTask(labels, series, named, IDENTITY, setting.folder)

    def ours() -> object:
        path = task.folder / "ours.dcm"
        write_seg(path, task.labels, task.series, task.structures, task.identity, kernels=setting.kernels)
        return path

    def difference(mine: Any, theirs: Any) -> float:
        wrong = share_that_differs(decoded(mine, series.instances, fine), voxels)
        return max(wrong, share_that_differs(decoded(theirs, series.instances, fine), voxels))

    frames = sum(np.count_nonzero(np.bincount(plane.ravel(), minlength=256)[1:]) for plane in voxels)
    return Case(
        ours,
        (Peer("highdicom Segmentation", "highdicom", lambda: with_highdicom.pack(task), _EXACT),),
        voxels.nbytes + int(frames) * fine[1] * fine[2] // 8,
        difference,
        "share of voxels of either file that differ from the labels",
    )


def decoded(path: Path, instances: Any, shape: Triple) -> NDArray[np.uint8]:
    """The label map in a SEG of non-overlapping segments; the segment's label ends with its value.

    Reads the bits itself, so that no writer is judged by its own reader.

    Source:
        DICOM PS3.5 8.1.1: frames end to end, lowest bit first.
    """
    import pydicom

    seg = pydicom.dcmread(path)
    values = {int(item.SegmentNumber): int(item.SegmentLabel.rsplit("_")[-1]) for item in seg.SegmentSequence}
    slices = {instance.sop_instance_uid: index for index, instance in enumerate(instances)}
    packed = np.frombuffer(seg.PixelData, np.uint8)
    pixels = int(seg.Rows) * int(seg.Columns)
    made = np.zeros(shape, np.uint8)
    for number, frame in enumerate(seg.PerFrameFunctionalGroupsSequence):
        first, last = number * pixels, (number + 1) * pixels
        bits = np.unpackbits(packed[first // 8 : -(-last // 8)], bitorder="little")
        mask = bits[first % 8 : first % 8 + pixels].reshape(shape[1:]).astype(np.bool_)
        source = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        segment = int(frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        made[slices[source]][mask] = values[segment]
    return made
