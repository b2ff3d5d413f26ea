"""An engine is built as each version wants it, in a process of its own, and every way to fail says so."""

from __future__ import annotations

import enum
import json
import os
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.bundle import open_bundle
from runtime.engines.engine import InputRange
from runtime.engines.tensorrt.build import build_engine
from runtime.engines.tensorrt.build_messages import Build, Built
from runtime.engines.tensorrt.builder import build_in_process
from runtime.engines.tensorrt.options import BuildLimits, BuildOptions
from runtime.errors import DeviceError
from tests import tensorrt_fake
from tests.tensorrt_fake import network
from tests.tiny_bundle import encoder_onnx

FAKE = "tests.tensorrt_fake"
TRT_AOT = Path(__file__).resolve().parents[2] / "shared" / "tools" / "trt_aot"
RANGE = InputRange("image", (1, 8), (1, 16), (1, 32))
FREE = {"image": (1, -1)}


def facts(onnx: bytes, options: BuildOptions | None = None, **given: Any) -> dict[str, Any]:
    made = build_engine(tensorrt_fake, onnx, options or BuildOptions((RANGE,)), **given)
    found: dict[str, Any] = json.loads(made.engine[6:])
    return found


@pytest.fixture(params=["10.3.0", "11.4.0"])
def version(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A version with its own numbers of flags, and without what it does not have."""
    if request.param == "10.3.0":
        flags = enum.IntEnum("Flags", {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1})
        builder = enum.IntEnum("BuilderFlag", {"GPU_FALLBACK": 3, "REFIT": 4, "STRIP_PLAN": 19})
        levels = enum.IntEnum("Levels", {"NONE": 0, "AMPERE_PLUS": 1})
        monkeypatch.setattr(tensorrt_fake, "NetworkDefinitionCreationFlag", flags)
        monkeypatch.setattr(tensorrt_fake, "BuilderFlag", builder)
        monkeypatch.setattr(tensorrt_fake, "HardwareCompatibilityLevel", levels)
    monkeypatch.setattr(tensorrt_fake, "__version__", request.param)
    return str(request.param)


def test_build_asks_for_flags_by_name(version: str) -> None:
    options = BuildOptions((RANGE,), 1 << 28, 5, "ampere-plus", refit=True, strip=True)
    found = facts(network(FREE), options)
    assert found["flags"] == [4, 19 if version == "10.3.0" else 18]
    assert found["pools"] == {"0": 1 << 28}
    assert found["hardware"] == 1
    assert found["profile"] == {"image": [[1, 8], [1, 16], [1, 32]]}


def test_build_says_what_a_version_cannot(version: str) -> None:
    options = BuildOptions((RANGE,), hardware="same-compute-capability")
    if version == "10.3.0":
        with pytest.raises(DeviceError, match=r"10\.3\.0 cannot build for same-compute-capability; use"):
            facts(network(FREE), options)
    else:
        assert facts(network(FREE), options)["hardware"] == 2


def test_build_keeps_measurements_for_the_next() -> None:
    made = build_engine(tensorrt_fake, network(FREE), BuildOptions((RANGE,)), b"earlier")
    assert made.timing_cache == b"earlier+"
    made = build_engine(tensorrt_fake, network(FREE), BuildOptions((RANGE,), use_timing_cache=False))
    assert made.timing_cache == b""


def test_build_tells_its_progress() -> None:
    told: list[tuple[str, float]] = []
    facts(network(FREE), progress=lambda *phase: told.append(phase))
    assert told == [("Building", 0.0), ("Building", 0.5), ("Building", 1.0)]


@pytest.mark.parametrize(
    ("onnx", "options", "words"),
    [
        (b"garbage", BuildOptions(), r"cannot read the network \(node 7: no such operator\)"),
        (network(FREE), BuildOptions(), r"cannot build the network \(no shapes of \['image'\]\)"),
        (network(FREE, "none"), BuildOptions((RANGE,)), "cannot build the network"),
        (network(FREE), BuildOptions((InputRange("image", (9,), (8,), (7,)),)), "refuses the shapes"),
        (network(FREE), BuildOptions((RANGE,), dla_core=0), r"no DLA core 0 \(0 here\)"),
        (network(FREE), BuildOptions((RANGE,), targets=("SM87",)), "cannot build for SM87"),
    ],
    ids=["parser", "no-profile", "none", "profile", "dla", "target"],
)
def test_build_refusals_say_why(onnx: bytes, options: BuildOptions, words: str) -> None:
    with pytest.raises(DeviceError, match=words):
        build_engine(tensorrt_fake, onnx, options)


def test_build_for_an_accelerator_leaves_the_rest_to_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_fake.Builder, "num_DLA_cores", 2)
    found = facts(network(FREE), BuildOptions((RANGE,), dla_core=1))
    assert (found["DLA"], found["flags"]) == (1, [3])


def built(onnx: bytes, weights: str = "", module: str = FAKE, **given: Any) -> Built:
    return build_in_process(Build(module, onnx, weights, BuildOptions((RANGE,)), b""), **given)


def test_build_process_gives_the_engine_and_what_it_cost() -> None:
    told: list[tuple[str, float]] = []
    made = built(network(FREE, "chatter"), progress=lambda *phase: told.append(phase))
    assert json.loads(made.engine[6:])["profile"] == {"image": [[1, 8], [1, 16], [1, 32]]}
    assert made.version == tensorrt_fake.__version__
    assert made.timing_cache == b"+"
    assert made.peak_bytes > 1 << 20
    assert told[0] == ("Building", 0.0)


def test_build_process_shows_the_parser_its_weights_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(99))
    (tmp_path / "other.bin").write_bytes(b"private")
    made = built(network(FREE, weights="weights.bin"), str(tmp_path / "weights.bin"))
    found = json.loads(made.engine[6:])
    assert (found["weights"], found["beside"]) == (99, ["weights.bin"])


def children() -> set[str]:
    """Processes that this one started and that are still there."""
    tasks = Path("/proc/self/task").iterdir()
    return {pid for task in tasks for pid in (task / "children").read_text(encoding="ascii").split()}


@pytest.mark.parametrize(
    ("onnx", "limits", "words"),
    [
        (network(FREE, "crash"), BuildLimits(), "builder died: SIGABRT"),
        (network(FREE, "hang"), BuildLimits(time_s=2), "did not build the network in 2 s; allow more"),
        (network(FREE, "grow"), BuildLimits(memory_bytes=1 << 28), r"took \d+ MB .* of 256 MB; allow more"),
        (network(FREE, "none"), BuildLimits(), "cannot build the network"),
    ],
    ids=["crash", "hang", "memory", "refusal"],
)
def test_build_process_that_fails_is_a_device_error(onnx: bytes, limits: BuildLimits, words: str) -> None:
    started, before = time.monotonic(), children()
    with pytest.raises(DeviceError, match=f"{words}.*or --device cpu") as caught:
        built(onnx, limits=limits)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - started < 60
    assert children() == before


def test_build_process_without_the_module_names_it() -> None:
    with pytest.raises(DeviceError, match=r"no_such_tensorrt cannot be imported \(ModuleNotFoundError"):
        built(network(FREE), module="no_such_tensorrt")


needs_real_builder = pytest.mark.skipif(
    not TRT_AOT.is_dir() or find_spec("onnxruntime_ep_nv_tensorrt_rtx") is None,
    reason="needs ../shared/tools/trt_aot and the TensorRT-RTX wheel (make check installs it)",
)


@pytest.mark.slow
@needs_real_builder
def test_real_builder_reads_weights_of_the_manifest_and_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx

    monkeypatch.setenv("PYTHONPATH", str(TRT_AOT), prepend=os.pathsep)
    path, side = tmp_path / "encoder.onnx", {"save_as_external_data": True, "location": "weights.bin"}
    model = onnx.load_from_string(encoder_onnx(np.ones((4, 5), np.float32)))
    onnx.save_model(model, path, convert_attribute=True, size_threshold=0, **side)
    shapes = InputRange("image", (1, 5, 8, 8, 8), (1, 5, 8, 8, 8), (1, 5, 16, 16, 16))
    options = BuildOptions((shapes,), use_timing_cache=False, targets=("SM86",))
    given = ("trtrtx_ct", path.read_bytes())
    assert build_in_process(Build(*given, str(tmp_path / "weights.bin"), options, b"")).engine
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DeviceError, match="Failed to import initializer"):
        build_in_process(Build(*given, "", options, b""))


@pytest.mark.slow
@needs_real_builder
def test_build_process_drives_a_real_builder(monkeypatch: pytest.MonkeyPatch) -> None:
    # The real builder of TensorRT for RTX needs no device. What it makes is built here, not run.
    monkeypatch.setenv("PYTHONPATH", str(TRT_AOT), prepend=os.pathsep)
    bundle = open_bundle()
    manifest = bundle.manifest
    channels, tile = len(manifest.channels), manifest.grid.tile_voxels
    least = (manifest.encoder.multiple_of,) * 3
    shapes = InputRange("image", (1, channels, *least), (1, channels, *tile), (1, channels, *tile))
    options = BuildOptions((shapes,), use_timing_cache=False, targets=("SM86", "SM89"))
    onnx = bundle.path(manifest.encoder.file).read_bytes()
    made = build_in_process(Build("trtrtx_ct", onnx, "", options, b""), BuildLimits(time_s=300))
    assert len(made.engine) > len(onnx) // 2
    assert made.version.startswith("1.")
    with pytest.raises(DeviceError, match=r"cannot read the network \(node -1: .*ParseFrom"):
        build_in_process(Build("trtrtx_ct", onnx[:1000], "", options, b""))
    refused = BuildOptions((shapes,), use_timing_cache=False, targets=("SM87",))
    with pytest.raises(DeviceError, match="cannot build for SM87"):
        build_in_process(Build("trtrtx_ct", onnx, "", refused, b""))
