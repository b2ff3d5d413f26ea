"""What a device does around the network, recorded or not, gives the bits of the CPU's stages."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from runtime import _kernels
from runtime.cuda.arrays import DeviceArray
from runtime.cuda.stream import CudaStream
from runtime.cuda.table import CudaTable
from runtime.device_path import DevicePath, StudyKind
from runtime.errors import DeviceError, UsageError
from runtime.kernels import Kernels, open_kernels
from runtime.stages.label import label
from runtime.stages.prepare import Normalisation, prepare
from runtime.volume import Grid, Volume
from tests.cuda_emulated_driver import EmulatedDriver
from tests.cuda_emulator import KINDS, build_emulator, emulated_table, table_under_test

CPU = open_kernels("cpu_baseline", 1)
CLASSES = 14
WINDOW = Normalisation(-20.0, 1 / 120, 0.0, 1.0)


@pytest.fixture(scope="module", params=KINDS)
def cuda(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CudaTable]:
    """The table under test."""
    yield from table_under_test(request.param, tmp_path_factory)


def kind(network_type: str = "float16", turned: bool = False) -> StudyKind:
    """A CT of 0.9 x 0.9 x 2 mm and a network grid of 1.5 mm in the middle of it."""
    scan = np.diag([2.0, -0.9, -0.9, 1.0])
    scan[:3, 3] = [3.0, 12.0, 14.0]
    if turned:
        angle = np.deg2rad(9.0)
        scan[1:3, 1:3] = scan[1:3, 1:3] @ [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    grid = np.diag([1.5, 1.5, 1.5, 1.0])
    grid[:3, 3] = [2.0, -14.0, -15.0]
    values = np.random.default_rng(4).permutation(np.arange(CLASSES, dtype=np.uint8))
    return StudyKind(
        Grid((9, 31, 33), scan), "int16", Grid((12, 16, 16), grid), WINDOW, values, 1.5, -24.0, network_type
    )


def scan_of(given: StudyKind, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-200, 300, given.scan.shape, np.int16)


def scores_of(given: StudyKind, seed: int) -> np.ndarray:
    smooth = np.indices(given.grid.shape).sum(0) * 0.3
    random = np.random.default_rng(seed)
    made = [np.sin(smooth + n) + 0.2 * random.standard_normal(given.grid.shape) for n in range(CLASSES)]
    return np.array(made, given.network_type)


def image_on_cpu(given: StudyKind, scan: np.ndarray) -> np.ndarray:
    image = np.empty(given.grid.shape, given.network_type)
    prepare(Volume(scan, given.scan.affine, given.slope, given.intercept), given.grid, image, WINDOW, CPU)
    return image


def labels_on_cpu(given: StudyKind, scores: np.ndarray) -> np.ndarray:
    return label(scores, given.grid, given.scan, given.values, CPU)


def check(path: DevicePath, cuda: CudaTable, seed: int) -> None:
    """Run a study and compare with the CPU."""
    given = path.kind
    scan, scores = scan_of(given, seed), scores_of(given, seed)
    path.voxels[:] = scan
    path.stream.upload(path.scores.address, scores)
    path.run()
    on_stream = cuda.on(path.stream)
    image, expected = on_stream.to_host(path.image)[0], image_on_cpu(given, scan)
    np.testing.assert_array_equal(image.view(np.uint8), expected.view(np.uint8))
    np.testing.assert_array_equal(path.labels, labels_on_cpu(given, scores))
    assert len(np.unique(expected)) > 100
    assert len(np.unique(path.labels)) > 5


@pytest.mark.parametrize("zero_copy", [False, True])
@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("network_type", ["float16", "float32"])
def test_device_path_makes_the_bits_of_the_cpu_for_one_study_after_another(
    cuda: CudaTable, network_type: str, recorded: bool, zero_copy: bool
) -> None:
    path = DevicePath(kind(network_type), Kernels(cuda, 1), recorded=recorded, zero_copy=zero_copy)
    for seed in range(3):
        check(path, cuda, seed)


def shades(run: Any, image: Any, scores: Any, scratch: Any) -> None:
    """A network of one layer whose class c wins where the image is about c / 14."""
    for number in range(CLASSES):
        best = number / CLASSES
        intensity = _kernels.Intensity(
            slope=1, intercept=0, shift=best / 2, gain=2 * best, clamp_low=-9, clamp_high=9, outside=0
        )
        run.prepare(image, scores[number], np.eye(3, 4), (1, 1, 1), intensity, scratch, 1)


def test_device_path_runs_a_network_between_its_halves(cuda: CudaTable) -> None:
    given = kind("float32")
    image, scores = cuda.empty(given.grid.shape, np.float32), cuda.empty(given.grid.shape, np.float32)
    size = cuda.prepare_scratch(image, scores, np.eye(3, 4), (1, 1, 1), 1)
    scratch = cuda.empty((size,), np.uint8)

    def network(image: DeviceArray, scores: DeviceArray, stream: int) -> None:
        shades(cuda.on(CudaStream(cuda.stream.device, stream)), image[0], scores, scratch)

    path = DevicePath(given, Kernels(cuda, 1), network)
    for seed in (5, 6):
        path.voxels[:] = scan_of(given, seed)
        path.run()
        on_cpu = image_on_cpu(given, path.voxels)
        expected = np.empty((CLASSES, *given.grid.shape), np.float32)
        work = np.empty(CPU.cpu.prepare_scratch(on_cpu, expected[0], np.eye(3, 4), (1, 1, 1), 1), np.uint8)
        shades(CPU.cpu, on_cpu, expected, work)
        np.testing.assert_array_equal(path.labels, labels_on_cpu(given, expected))
        assert len(np.unique(path.labels)) > 5


def test_device_path_is_aimed_at_studies_elsewhere(cuda: CudaTable) -> None:
    path = DevicePath(kind(), Kernels(cuda, 1))
    check(path, cuda, 1)
    voxels = path.voxels
    path.aim(kind(turned=True))
    check(path, cuda, 2)
    assert path.voxels is voxels
    with pytest.raises(UsageError, match="make a path for each"):
        path.aim(kind("float32"))


def test_device_path_refuses_kernels_of_the_cpu_and_other_kinds_of_network() -> None:
    with pytest.raises(DeviceError, match="cpu_baseline runs on the CPU; give the kernels of a CUDA device"):
        DevicePath(kind(), CPU)
    with pytest.raises(UsageError, match="network_type is 'int8'; use float16 or float32"):
        kind("int8")
    with pytest.raises(UsageError, match="one uint8 a class"):
        dataclasses.replace(kind(), values=np.arange(3))


@pytest.fixture
def driver(tmp_path_factory: pytest.TempPathFactory) -> EmulatedDriver:
    return EmulatedDriver(build_emulator(tmp_path_factory))


def test_device_path_replays_one_graph_and_asks_for_no_memory(
    driver: EmulatedDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = DevicePath(kind(), Kernels(emulated_table(driver, monkeypatch), 1))
    driver.calls.clear()
    path.run()
    path.run()
    assert driver.calls == ["cuGraphLaunch", "cuStreamSynchronize"] * 2


def test_device_path_copies_nothing_where_the_device_shares_memory(
    driver: EmulatedDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.attributes["INTEGRATED"] = 1
    path = DevicePath(kind(), Kernels(emulated_table(driver, monkeypatch), 1), recorded=False)
    driver.calls.clear()
    path.run()
    assert set(driver.calls) == {"cuLaunchKernel", "cuStreamSynchronize"}


@pytest.mark.parametrize("pools", [0, 1])
def test_device_path_gives_everything_back(
    driver: EmulatedDriver, monkeypatch: pytest.MonkeyPatch, pools: int
) -> None:
    driver.attributes["MEMORY_POOLS_SUPPORTED"] = pools
    table = emulated_table(driver, monkeypatch)
    path = DevicePath(kind(), Kernels(table, 1))
    path.start()
    assert driver.memory
    assert sorted(driver.handles.values()) == sorted(["executable", "stream", *["pool"] * pools])
    gone = weakref.ref(path)
    del path
    assert gone() is None
    assert (driver.memory, driver.pinned) == ({}, {})
    del table
    assert driver.handles == {}
