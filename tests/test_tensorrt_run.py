"""A built engine runs on a stream of ours; nothing that goes wrong ever shows a former study's result."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from runtime.cuda.driver import CudaDevice
from runtime.engines.engine import EngineDescription, InputRange
from runtime.engines.tensorrt.build import build_engine
from runtime.engines.tensorrt.options import BuildOptions
from runtime.engines.tensorrt.run import EngineRefusedError, TensorRtEngine
from runtime.errors import BundleError, DeviceError
from tests import tensorrt_fake
from tests.cuda_emulated_driver import EmulatedDriver
from tests.cuda_emulator import bare_driver
from tests.tensorrt_fake import network

RANGE = InputRange("image", (1, 8), (1, 16), (1, 32))
FREE = {"image": (1, -1)}
ABOUT = EngineDescription("tensorrt", "cuda:0", "fp32", "11.4.0", "it was asked for")


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmulatedDriver]:
    made = bare_driver(monkeypatch)
    monkeypatch.setattr(tensorrt_fake, "DRIVER", made)
    monkeypatch.setattr(tensorrt_fake, "ENQUEUED", [])
    yield made
    made.check_guards()
    assert made.depth == 0


def plan(**given: Any) -> bytes:
    return build_engine(tensorrt_fake, network(FREE, **given), BuildOptions((RANGE,))).engine


def opened(data: bytes | None = None, recorded: bool = True) -> TensorRtEngine:
    return TensorRtEngine(tensorrt_fake, data or plan(), CudaDevice(), ABOUT, recorded)


def image(size: int, seed: int = 0, dtype: Any = np.float32) -> dict[str, np.ndarray]:
    return {"image": np.random.default_rng(seed).random((1, size)).astype(dtype)}


def check(engine: TensorRtEngine, given: dict[str, np.ndarray]) -> None:
    found = engine.run(given)
    np.testing.assert_array_equal(found["doubled"], given["image"] + given["image"])


def test_engine_doubles_what_it_is_given_run_after_run(driver: EmulatedDriver) -> None:
    with opened() as engine:
        results = []
        for seed in range(5):
            given = image(16, seed)
            results.append((given, engine.run(given)["doubled"]))
        for given, found in results:  # results are the caller's, not a buffer that the next run overwrites
            np.testing.assert_array_equal(found, 2 * given["image"])
        assert engine.description == ABOUT
        assert engine.sha256 == hashlib.sha256(plan()).hexdigest()
    driver.cuCtxSynchronize()
    assert not driver.memory
    assert not driver.pinned


def test_engine_is_recorded_once_for_a_shape_and_then_replayed(driver: EmulatedDriver) -> None:
    with opened() as engine:
        check(engine, image(16))
        assert not engine.is_recorded
        for seed in range(4):
            check(engine, image(16, seed))
        assert engine.is_recorded
        assert tensorrt_fake.ENQUEUED == [False, True]
        check(engine, image(8))  # another shape: nothing of the former stays
        assert not engine.is_recorded
        check(engine, image(8, 3))
        check(engine, image(16, 4))
        assert tensorrt_fake.ENQUEUED == [False, True, False, True, False]


def test_engine_may_be_left_unrecorded(driver: EmulatedDriver) -> None:
    with opened(recorded=False) as engine:
        for seed in range(3):
            check(engine, image(16, seed))
        assert tensorrt_fake.ENQUEUED == [False] * 3
        assert "cuStreamBeginCapture" not in driver.calls


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("refuse", "did not put the network on the stream (CUDA failure 900)"),
        ("skip", "nothing was recorded"),
        ("copy nothing", "what was recorded leaves an output unwritten"),
    ],
)
def test_engine_that_cannot_be_recorded_says_so_and_stays_right(
    driver: EmulatedDriver, monkeypatch: pytest.MonkeyPatch, behaviour: str, words: str
) -> None:
    monkeypatch.setattr(tensorrt_fake, "IN_CAPTURE", behaviour)
    with opened() as engine:
        for seed in range(4):
            check(engine, image(16, seed))
        reason = engine.description.reason
    assert reason.startswith("it was asked for; not recorded as a CUDA graph: ")
    assert words in reason
    assert tensorrt_fake.ENQUEUED.count(True) <= 1  # tried once


def test_engine_whose_driver_refuses_to_record_says_so(driver: EmulatedDriver) -> None:
    driver.answers["cuGraphInstantiate"] = driver.CUresult.CUDA_ERROR_NOT_SUPPORTED
    with opened() as engine:
        for seed in range(3):
            check(engine, image(16, seed))
        assert "CUDA cannot make a graph" in engine.description.reason


def test_engine_that_refuses_its_work_is_a_device_error(driver: EmulatedDriver) -> None:
    data = plan(fails=1)
    with opened(data) as engine, pytest.raises(DeviceError, match=r"CUDA failure 900.*or --device cpu"):
        engine.run(image(16))


def test_engine_fails_rather_than_show_a_former_result(driver: EmulatedDriver) -> None:
    with opened() as engine:
        check(engine, image(16))
        check(engine, image(16, 1))
        driver.answers["cuGraphLaunch"] = driver.CUresult.CUDA_ERROR_LAUNCH_FAILED
        with pytest.raises(DeviceError, match="launch a recorded graph"):
            engine.run(image(16, 2))


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        ({"picture": np.zeros((1, 16), np.float32)}, BundleError, r"takes \['image'\], not \['picture'\]"),
        (image(16, dtype=np.float64), BundleError, "takes float32 for 'image', not float64"),
        (image(64), DeviceError, r"built for 'image' from \(1, 8\) to \(1, 32\), not \(1, 64\)"),
        ({"image": np.zeros((16,), np.float32)}, DeviceError, r"not \(16,\)"),
    ],
    ids=["name", "type", "size", "axes"],
)
def test_engine_refuses_what_it_was_not_built_for(
    driver: EmulatedDriver, given: dict[str, np.ndarray], kind: type[Exception], words: str
) -> None:
    with opened() as engine:
        with pytest.raises(kind, match=words):
            engine.run(given)
        check(engine, image(16))  # and goes on


def test_engine_takes_arrays_that_are_not_contiguous(driver: EmulatedDriver) -> None:
    with opened() as engine:
        wide = np.random.default_rng(0).random((1, 32), np.float32)
        check(engine, {"image": wide[:, ::2]})


def test_engine_of_another_version_is_refused_by_name(driver: EmulatedDriver, monkeypatch: Any) -> None:
    data = plan()
    monkeypatch.setattr(tensorrt_fake, "__version__", "11.5.0")
    with pytest.raises(EngineRefusedError, match=r"11\.5\.0 does not take the engine \(version tag"):
        opened(data)
    with pytest.raises(EngineRefusedError, match="build it again"):
        opened(b"damaged")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"no context": 1}, "cannot prepare to run"),
        ({"dtype": "BF16"}, "of type BF16, which NumPy has not"),
        ({"refused": 1}, "does not take"),
        ({"unknown": ["doubled"]}, "cannot tell the size of 'doubled'"),
    ],
    ids=["context", "type", "shape", "data-dependent"],
)
def test_engine_that_cannot_run_says_why(driver: EmulatedDriver, more: dict[str, Any], words: str) -> None:
    with pytest.raises(DeviceError, match=words):
        opened(plan(**more)).run(image(16))


def test_engine_without_device_memory_is_a_device_error(driver: EmulatedDriver) -> None:
    engine = opened()
    driver.answers["cuMemAllocFromPoolAsync"] = driver.CUresult.CUDA_ERROR_OUT_OF_MEMORY
    with pytest.raises(DeviceError, match="close other programs"):
        engine.run(image(16))
    del driver.answers["cuMemAllocFromPoolAsync"]
    check(engine, image(16))
