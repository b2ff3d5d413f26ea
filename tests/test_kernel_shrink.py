"""prepare onto much larger voxels: every voxel of the scan has its share in the result."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime import _kernels
from runtime.errors import ImageError
from runtime.kernels import kernel_names, open_kernels
from runtime.stages.prepare import Normalisation, prepare
from runtime.volume import Grid, Volume
from tests.test_kernel_prepare import aligned, oblique, random_source, reference, run

BRIGHT = 1000
PLAIN = Normalisation(0.0, 1.0)
MOST = settings(max_examples=40, deadline=None, derandomize=True, database=None)


def shrunk(
    source: NDArray[Any], matrix: NDArray[np.float64], shape: Any, **given: Any
) -> NDArray[np.float32]:
    """What the stage makes of a scan on a grid whose index is mapped to the scan's by a matrix."""
    affine = np.vstack([matrix[:3], [0, 0, 0, 1]])
    into = np.empty(shape, np.float32)
    prepare(Volume(source, np.eye(4)), Grid(shape, affine), into, PLAIN, open_kernels("cpu", 2), **given)
    return into


def covering(size: int, step: float) -> tuple[int, float]:
    """Voxels of a grid over a whole axis, all their centres in it, and where the first one lies."""
    count = int(np.ceil(size / step))
    return count, (size - 1) / 2 - step * (count - 1) / 2


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("step", [2.5, 4.0, 4.5, 5.0, 7.3, 8.0, 16.2, 40.0, 200.0])
def test_a_bright_voxel_never_vanishes_wherever_it_lies(axis: int, step: float) -> None:
    # Line q has one bright voxel, at q: every place along the shrunk axis is tried.
    size = 96
    source = np.moveaxis((np.eye(size) * BRIGHT).astype(np.int16)[:, :, None], 0, axis)
    source = np.ascontiguousarray(source)
    count, first = covering(size, step)
    matrix, shape = np.eye(3, 4), list(source.shape)
    matrix[axis, axis], matrix[axis, 3], shape[axis] = step, first, count
    made = np.moveaxis(shrunk(source, matrix, tuple(shape)), axis, 0)
    share = made.sum(axis=0).ravel() * step / BRIGHT
    # Evenly spaced samples less than a voxel apart: what a voxel gets is 1 on average, and from a
    # spacing just above one half up to one between 3/4 and 5/4. At the ends of the scan the edge
    # voxel is repeated, which only adds.
    assert share.min() > 0.74
    assert share[1:-1].max() < 1.26
    assert share[1:-1].mean() == pytest.approx(1.0, abs=0.05)


def test_four_samples_lose_what_lies_between_them() -> None:
    # What the stage did for every shrink beyond 4, and what `most_samples` still does when asked.
    source = (np.eye(96) * BRIGHT).astype(np.int16)[:, :, None].copy()
    matrix = np.eye(3, 4)
    matrix[0, 0], matrix[0, 3] = 12.0, 5.5
    made = shrunk(source, matrix, (8, 96, 1), most_samples=4)
    np.testing.assert_array_equal(made, run(source, (8, 96, 1), matrix, (4, 1, 1)))
    assert (made.sum(axis=0) == 0).any()
    assert (shrunk(source, matrix, (8, 96, 1)).sum(axis=0) > 0).all()


@pytest.mark.parametrize("step", [5.0, 8.0, 16.0])
def test_a_bright_voxel_never_vanishes_in_a_turned_grid(step: float) -> None:
    random = np.random.default_rng(int(step))
    turn, size, shape = oblique((1.0, 1.0, 1.0))[:, :3], 48, (7, 8, 9)
    matrix = np.hstack([turn * step, np.zeros((3, 1))])
    middle = (np.array(shape) - 1) / 2
    matrix[:, 3] = (size - 1) / 2 - matrix[:, :3] @ middle
    for _ in range(6):
        place = tuple(random.integers(12, size - 12, 3))
        source = np.zeros((size,) * 3, np.uint16)
        source[place] = BRIGHT
        made = shrunk(source, matrix, shape)
        share = made.astype(np.float64).sum() * step**3 / BRIGHT
        # 1 on average; the sampling cube is turned against the voxel's, and spaced up to one voxel.
        assert 0.5 < share < 1.5
        samples = (int(step),) * 3
        if step <= 8:
            expected = reference(source, shape, matrix, samples, outside=0.0)
            np.testing.assert_allclose(made, expected, rtol=0, atol=1e-6 * BRIGHT)


@pytest.mark.parametrize("factor", [5, 8, 16])
def test_shrinking_by_a_whole_number_is_the_mean_of_blocks(factor: int) -> None:
    source = random_source(np.int16, (factor * 3, factor * 2, factor * 4))
    matrix = np.hstack([np.eye(3) * factor, [[(factor - 1) / 2]] * 3])
    made = shrunk(source, matrix, (3, 2, 4))
    blocks = source.reshape(3, factor, 2, factor, 4, factor).astype(np.float64)
    # float32 sums: at most 2^-24 of the largest voxel for each of the rows and voxels summed.
    limit = 2.0**-24 * (factor**2 + factor) * 2**15
    np.testing.assert_allclose(made, blocks.mean(axis=(1, 3, 5)), rtol=0, atol=limit)


@MOST
@given(st.tuples(*[st.floats(3.0, 30.0)] * 3), st.sampled_from(list(itertools.permutations(range(3)))))
def test_any_shrink_is_its_definition_and_the_same_bits_everywhere(
    steps: tuple[float, float, float], permutation: tuple[int, int, int]
) -> None:
    source = random_source(np.int16, (31, 40, 35), seed=3)
    matrix = aligned(permutation, (1, -1, 1), steps, source.shape, shift=2.3)
    samples = tuple(int(np.ceil(step - 1e-3)) for step in steps)
    made = run(source, (3, 4, 2), matrix, samples)
    # The mean of samples along one axis after the other, in float64.
    mean = source.astype(np.float64)
    for axis, row in enumerate(permutation):
        at = [
            matrix[row, axis] * (n + (s + 0.5) / samples[axis] - 0.5) + matrix[row, 3]
            for n in range((3, 4, 2)[axis])
            for s in range(samples[axis])
        ]
        clipped = np.clip(at, 0, source.shape[row] - 1)
        low = np.minimum(clipped.astype(int), source.shape[row] - 2)
        part = (clipped - low).reshape([-1 if n == row else 1 for n in range(3)])
        taken = np.take(mean, low, row) * (1 - part) + np.take(mean, low + 1, row) * part
        split = [*taken.shape[:row], -1, samples[axis], *taken.shape[row + 1 :]]
        mean = taken.reshape(split).mean(axis=row + 1)
    expected = mean.transpose(permutation)
    inside = made != -7
    assert inside.any()
    limit = 2.0**-24 * (float(np.prod(sorted(samples)[1:])) + 40) * 2**15
    np.testing.assert_allclose(made[inside], expected[inside], rtol=0, atol=limit)
    for name, threads in itertools.product(kernel_names(), (1, 3)):
        assert run(source, (3, 4, 2), matrix, samples, name=name, threads=threads).tobytes() == made.tobytes()


@pytest.mark.parametrize("name", kernel_names())
def test_voxels_beside_the_scan_cost_no_samples_and_are_outside(name: str) -> None:
    source = random_source(np.int16, (20, 20, 20))
    matrix = oblique((6.0, 7.0, 5.0)) + np.array([0, 0, 0, 3.0])
    made = run(source, (4, 5, 130), matrix, (6, 7, 5), name=name)
    np.testing.assert_allclose(
        made, reference(source, (4, 5, 130), matrix, (6, 7, 5)), rtol=0, atol=1e-5 * 2**15
    )
    assert 0 < np.count_nonzero(made != -7) < made.size / 10


def test_shrinking_beyond_the_kernel_is_refused_with_the_way_out() -> None:
    source, far = np.ones((300, 3, 3), np.int16), np.eye(3, 4)
    far[0, 0] = 256.0
    assert shrunk(source, far, (2, 3, 3)).shape == (2, 3, 3)
    far[0, 0] = 257.0
    with pytest.raises(ImageError, match=r"257 voxels .* more than 256; .*resample it to larger voxels"):
        shrunk(source, far, (2, 3, 3))
    with pytest.raises(ImageError, match=r"17 voxels .* more than 16; "):
        shrunk(source, oblique((17.0, 1.0, 1.0)), (2, 3, 3))
    assert shrunk(source, far, (2, 3, 3), most_samples=4).shape == (2, 3, 3)


def test_most_samples_tells_aligned_and_turned_maps_apart() -> None:
    assert _kernels.most_samples((9, 9, 9), np.eye(3, 4)) == 256
    assert _kernels.most_samples((9, 9, 9), oblique()) == 16
    slightly = np.eye(3, 4)
    slightly[0, 1] = 1e-5  # moves no voxel of a small grid, but those of a large one
    assert _kernels.most_samples((9, 9, 9), slightly) == 256
    assert _kernels.most_samples((9, 900, 9), slightly) == 16
    for wrong in ((0, 1, 1), (1, 1, 1 << 40)):
        with pytest.raises(ValueError, match="shape must be 1 to"):
            _kernels.most_samples(wrong, np.eye(3, 4))
