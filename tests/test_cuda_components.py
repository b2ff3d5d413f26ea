"""Components on a CUDA device are the CPU's: on a device where there is one, and emulated anywhere."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from runtime.cuda.table import CudaTable
from runtime.kernels import Kernels, open_kernels
from runtime.stages.components import keep_largest, keep_largest_union, remove_islands
from tests.cuda_emulator import KINDS, table_under_test


@pytest.fixture(scope="module", params=KINDS)
def cuda(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CudaTable]:
    """The table under test."""
    yield from table_under_test(request.param, tmp_path_factory)


@pytest.mark.parametrize("neighbours", [6, 18, 26])
def test_cuda_components_are_those_of_the_cpu(cuda, neighbours):
    random = np.random.default_rng(neighbours)
    kernels = Kernels(cuda, 1)
    shapes = ((13, 21, 37), (13, 21, 37), (40, 3, 70), (1, 1, 9), (70, 1, 1))
    for shape, labels, share in zip(shapes, (3, 2, 2, 1, 1), (0.6, 0.3, 1.0, 0.5, 0.5), strict=True):
        given = random.integers(1, labels + 1, shape, np.uint8)
        given[random.random(shape) > share] = 0
        for work in (
            lambda labels, kernels: keep_largest(labels, [1, 3], kernels, neighbours),
            lambda labels, kernels: keep_largest_union(labels, [1, 2], kernels, neighbours),
            lambda labels, kernels: remove_islands(labels, [1, 2], 4, kernels, neighbours),
        ):
            expected, made = given.copy(), cuda.to_device(given)
            removed = work(expected, open_kernels("cpu", 1))
            assert work(made, kernels) == removed
            np.testing.assert_array_equal(cuda.to_host(made), expected)


def test_cuda_components_with_too_little_scratch_change_nothing(cuda):
    given = np.random.default_rng(0).integers(0, 3, (6, 9, 30), np.uint8)
    made, removed = cuda.to_device(given), cuda.zeros((256,), np.uint64)
    groups = cuda.to_device(np.arange(256, dtype=np.uint8))
    least = cuda.components_scratch(made, 0)
    options = (26, True, 0, 0, removed)
    needed = cuda.components(made, groups, *options, cuda.empty((least,), np.uint8), 1)
    assert needed > least
    np.testing.assert_array_equal(cuda.to_host(made), given)
    assert cuda.components(made, groups, *options, cuda.empty((needed,), np.uint8), 1) == needed
    assert not np.array_equal(cuda.to_host(made), given)
