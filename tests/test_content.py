"""The hash of a label map's content: every voxel, and where it lies, counts."""

import numpy as np

from runtime.content import hash_beside, slice_content
from runtime.kernels import open_kernels


def _hash(voxels: np.ndarray) -> str:
    return hash_beside(voxels, slice_content(voxels, open_kernels()))().hexdigest()


def test_every_voxel_of_every_slice_counts():
    voxels = np.zeros((7, 5, 6), np.uint8)
    seen = {_hash(voxels)}
    for place in np.ndindex(voxels.shape):
        voxels[place] = 1
        seen.add(_hash(voxels))
    assert len(seen) == 1 + voxels.size
    voxels[3, 2, 2] = 2
    assert _hash(voxels) not in seen


def test_the_same_rows_elsewhere_are_something_else():
    voxels = np.zeros((7, 5, 6), np.uint8)
    voxels[2] = 1
    moved = np.roll(voxels, 1, axis=0)
    assert _hash(moved) != _hash(voxels) == _hash(voxels.copy())
    assert _hash(np.ascontiguousarray(voxels.reshape(7, 6, 5))) != _hash(voxels)


def test_slices_without_labels_around_are_told_apart():
    voxels = np.zeros((7, 5, 6), np.uint8)
    voxels[2] = 1
    assert _hash(np.ascontiguousarray(voxels[:5])) != _hash(voxels)
