"""Candidate boxes and windows of labels: a device makes the bits of the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from runtime.cuda.table import CudaTable
from runtime.kernels import Kernels, open_kernels
from runtime.stages.candidates import candidate_window
from runtime.stages.label import mask_scores, relabel_window
from runtime.volume import Grid
from tests.cuda_emulator import KINDS, table_under_test
from tests.test_cuda import as_dtype, every_map, noise, rough_scores, shuffled
from tests.test_kernel_candidates import targets_of

CPU = open_kernels("cpu_baseline", 1)
WINDOW = ((2, 9), (0, 17), (5, 38))


@pytest.fixture(scope="module", params=KINDS)
def cuda(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CudaTable]:
    """The table under test."""
    yield from table_under_test(request.param, tmp_path_factory)


def box_on(table: Any, scores: Any, target: int, kernels: Kernels) -> list[int]:
    box = kernels.placed(np.full(6, 77, np.int64))
    work = kernels.scratch(table.candidate_scratch(scores, 1))
    table.candidate_box(scores, target, box, work, 1)
    return [int(n) for n in kernels.to_host(box)]


@pytest.mark.parametrize("dtype", [np.float32, np.float16, "bfloat16"])
@pytest.mark.parametrize("classes", [2, 6, 40])
def test_cuda_box_is_that_of_the_cpu(cuda: CudaTable, classes: int, dtype: Any) -> None:
    scores, boxes = rough_scores(classes, (9, 11, 13), dtype), set()
    if dtype != "bfloat16":
        scores = np.nan_to_num(scores, posinf=3, neginf=-3)
        scores[0, 5, 6, 8] = np.nan
        scores[1] = -9
        scores[1, 3:5, 4:8, 7:9] = 9
    for target in {0, 1, classes - 1}:
        expected = box_on(CPU.table, as_dtype(scores, dtype), target, CPU)
        assert box_on(cuda, as_dtype(cuda.to_device(scores), dtype), target, Kernels(cuda, 1)) == expected
        boxes.add(tuple(expected))
    assert len(boxes) > 1 or dtype == "bfloat16"


@pytest.mark.parametrize("size", [(1, 1, 1), (1, 7, 2), (5, 1, 9), (2, 3, 1)])
def test_cuda_box_is_that_of_the_cpu_for_thin_scores(cuda: CudaTable, size: tuple[int, ...]) -> None:
    scores = rough_scores(3, size, np.float32)
    for target in range(3):
        expected = box_on(CPU.table, scores, target, CPU)
        assert box_on(cuda, cuda.to_device(scores), target, Kernels(cuda, 1)) == expected


def test_cuda_window_makes_the_bits_of_the_cpu(cuda: CudaTable) -> None:
    features, vectors, biases = (
        noise((4, 9, 11, 13), np.float16),
        noise((6, 4), np.float32),
        noise((6,), np.float32),
    )
    values = shuffled(6)
    for matrix in every_map((0.45, 0.62, 0.31), (9, 11, 13)):
        affine = np.eye(4)
        affine[:3] = matrix
        grid, onto = Grid((9, 11, 13), np.eye(4)), Grid((19, 17, 41), affine)
        found = []
        for kernels in (CPU, Kernels(cuda, 1)):
            scores = mask_scores(features, targets_of(vectors, biases), kernels)
            labels = np.full(onto.shape, 201, np.uint8)
            relabel_window(labels, WINDOW, scores, grid, onto, values, kernels)
            found.append((labels, candidate_window(scores, grid, 2, onto, kernels)))
        (on_cpu, window), (on_device, other) = found
        np.testing.assert_array_equal(on_device, on_cpu)
        assert window == other
        outside = np.ones(onto.shape, np.bool_)
        outside[tuple(slice(*pair) for pair in WINDOW)] = False
        assert (on_cpu[outside] == 201).all()
        assert len(np.unique(on_cpu)) > 3
