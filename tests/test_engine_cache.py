"""An engine is kept under all it depends on; what is stale, foreign or damaged is never loaded."""

from __future__ import annotations

import dataclasses
import hashlib
import multiprocessing
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.engines import choose
from runtime.engines.cache import ENGINES, TIMINGS, EngineFacts, kept_or_built
from runtime.engines.choose import open_engine
from runtime.engines.engine import EngineDescription, InputRange, NetworkFile
from runtime.engines.tensorrt.kind import TensorRt
from runtime.engines.tensorrt.options import BuildLimits
from runtime.errors import BundleError, DeviceError
from tests import tensorrt_fake
from tests.cuda_emulated_driver import EmulatedDriver
from tests.cuda_emulator import bare_driver
from tests.tensorrt_fake import network

FACTS = EngineFacts("a" * 64, "", "tensorrt 11.4.0", "Orin", "sm_87", "13000", "{}")
RANGE = InputRange("image", (1, 8), (1, 16), (1, 32))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "zeus-edge" / "engines"


def made(engine: bytes = b"engine") -> Callable[[], bytes]:
    return lambda: engine


def never() -> bytes:
    raise AssertionError("built although it was kept")


def test_cache_builds_once_and_then_reads() -> None:
    first = kept_or_built(FACTS, made(), 1)
    assert (first.engine, first.was_kept, first.origin) == (b"engine", False, "built")
    again = kept_or_built(FACTS, never, 1)
    assert (again.engine, again.was_kept, again.origin) == (b"engine", True, "read from the cache")
    assert again.path is not None
    assert again.path.stat().st_mode & 0o777 == 0o600
    assert again.sha256 == hashlib.sha256(b"engine").hexdigest()


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(EngineFacts)])
def test_cache_takes_no_engine_that_depends_on_something_else(folder: Path, field: str) -> None:
    kept_or_built(FACTS, made(b"old"), 1)
    other = dataclasses.replace(FACTS, **{field: "another"})
    assert kept_or_built(other, made(b"new"), 1).engine == b"new"
    assert kept_or_built(FACTS, never, 1).engine == b"old"  # and the old one is still there
    assert len(list(folder.glob("*.engine"))) == 2


def entry_of(folder: Path) -> Path:
    (path,) = folder.glob("*.engine")
    return path


def damage_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def of_another(path: Path) -> None:
    """A sound entry of other facts under this name, checksum included."""
    other = dataclasses.replace(FACTS, driver="older")
    ENGINES.save(FACTS.key, other.wrap(b"foreign"))


@pytest.mark.parametrize(
    "spoil",
    [
        damage_bit,
        lambda path: path.write_bytes(path.read_bytes()[:-3]),
        lambda path: path.write_bytes(b""),
        lambda path: path.chmod(0o666),
        lambda path: (path.rename(path.with_suffix(".x")), path.symlink_to(path.with_suffix(".x"))),
        of_another,
    ],
    ids=["bit", "cut", "empty", "writable", "link", "foreign"],
)
def test_cache_never_loads_a_spoilt_entry_and_removes_none(
    folder: Path, spoil: Callable[[Path], object]
) -> None:
    kept_or_built(FACTS, made(), 1)
    path = entry_of(folder)
    spoil(path)

    def build() -> bytes:
        assert path.exists()  # what may be needed by somebody else stays until there is a better one
        return b"engine again"

    again = kept_or_built(FACTS, build, 1)
    assert (again.engine, again.was_kept) == (b"engine again", False)
    assert again.origin == "built, in place of one that could not be used"
    assert kept_or_built(FACTS, never, 1).engine == b"engine again"


def test_cache_keeps_a_spoilt_entry_where_the_build_fails(folder: Path) -> None:
    kept_or_built(FACTS, made(), 1)
    damage_bit(entry_of(folder))
    before = entry_of(folder).read_bytes()

    def fail() -> bytes:
        raise DeviceError("no")

    with pytest.raises(DeviceError):
        kept_or_built(FACTS, fail, 1)
    assert entry_of(folder).read_bytes() == before


def test_cache_that_cannot_be_written_costs_only_time(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    found = kept_or_built(FACTS, made(), 1)
    assert found.engine == b"engine"
    assert found.path is None
    assert "not kept because the cache cannot be written" in found.origin


def race(number: int, gate: Any, results: Any) -> None:
    def build() -> bytes:
        time.sleep(0.5)
        return b"engine of %d" % number

    gate.wait()
    found = kept_or_built(FACTS, build, 30)
    results.put((number, found.engine, found.origin))


def test_cache_two_processes_build_once(folder: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    gate, results = spawn.Barrier(2), spawn.Queue()
    workers = [spawn.Process(target=race, args=(number, gate, results)) for number in range(2)]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert len({engine for _, engine, _ in found}) == 1
    assert sorted(origin for *_, origin in found) == ["built", "built by another process"]
    assert kept_or_built(FACTS, never, 1).engine == found[0][1]


def test_cache_waits_no_longer_than_it_was_told() -> None:
    with ENGINES.locked(FACTS.key, 0) as is_held:
        assert is_held
        started = time.monotonic()
        assert kept_or_built(FACTS, made(), 0.2).engine == b"engine"
        assert 0.2 <= time.monotonic() - started < 10
    with ENGINES.locked(FACTS.key, 0) as is_held:
        assert is_held


# The whole way of a network with TensorRT: found, built in a process, kept, run on the emulated driver.


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmulatedDriver]:
    made = bare_driver(monkeypatch)
    monkeypatch.setattr(tensorrt_fake, "DRIVER", made)
    yield made
    assert made.depth == 0


KIND = TensorRt("tests.tensorrt_fake", limits=BuildLimits(time_s=60))


def opened(path: Path, kind: TensorRt = KIND) -> EngineDescription:
    image = {"image": np.arange(16, dtype=np.float32)[None]}
    with open_engine(path, "auto", 1, kind=kind, inputs=(RANGE,)) as engine:
        np.testing.assert_array_equal(engine.run(image)["doubled"], 2 * image["image"])
        return engine.description


def test_kind_builds_a_network_once_for_a_device(tmp_path: Path, driver: EmulatedDriver) -> None:
    path = tmp_path / "encoder.onnx"
    path.write_bytes(network({"image": (1, -1)}))
    about = opened(path)
    assert (about.name, about.device, about.version) == ("tensorrt", "cuda:0", "11.4.0")
    assert about.reason == "tensorrt was asked for; built"
    assert opened(path).reason == "tensorrt was asked for; read from the cache"
    driver.attributes["MINOR"] = 7
    assert opened(path).reason.endswith("; built")  # for another device
    assert TIMINGS.folder.is_dir()
    assert KIND.version() == "11.4.0"


def test_kind_builds_again_what_the_library_refuses(
    tmp_path: Path, driver: EmulatedDriver, folder: Path
) -> None:
    path = tmp_path / "encoder.onnx"
    path.write_bytes(network({"image": (1, -1)}))
    opened(path)
    entry = entry_of(folder)
    whole = ENGINES.load(entry.stem)
    assert whole is not None
    head = whole.partition(b"\n")[0]
    ENGINES.save(entry.stem, head + b"\nnot what it was")  # a sound entry, but no engine
    assert opened(path).reason.endswith("; built, in place of one that could not be used")
    assert opened(path).reason.endswith("; read from the cache")


def test_kind_says_why_it_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert TensorRt("no_such_tensorrt").why_not() == "no_such_tensorrt is not installed"
    with pytest.raises(DeviceError, match="no_such_tensorrt cannot be imported"):
        TensorRt("no_such_tensorrt").version()
    missing = NetworkFile(tmp_path / "none.onnx")
    bare_driver(monkeypatch)
    with pytest.raises(BundleError, match=r"none\.onnx cannot be read"):
        KIND.open(missing, 1, "")


def test_auto_takes_no_engine_that_nobody_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from runtime.engines import kinds
    from tests.tiny_bundle import encoder_onnx

    class Ready(TensorRt):
        def why_not(self) -> str | None:
            return None

    monkeypatch.setattr(kinds, "KINDS", (Ready(), *kinds.KINDS[1:]))
    path = tmp_path / "encoder.onnx"
    path.write_bytes(encoder_onnx())
    with choose.open_engine(path, "auto", 1) as engine:
        assert engine.description.name == "onnxruntime-cpu"
        assert "tensorrt was not compared with the reference" in engine.description.reason
