"""An engine says what it is, never runs elsewhere in silence, and blames the right thing."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from runtime.bundle import open_bundle
from runtime.engines.choose import open_engine
from runtime.engines.engine import Engine
from runtime.errors import BundleError, DeviceError
from runtime.infer import main
from runtime.session import Session
from tests.tiny_bundle import encoder_onnx, make_bundle, write_head

GARBAGE = bytes(np.random.default_rng(0).integers(0, 256, 5000, np.uint8))


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "encoder.onnx"
    path.write_bytes(encoder_onnx())
    return path


def has_cuda() -> bool:
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def test_engine_describes_itself(network: Path) -> None:
    import onnxruntime

    with open_engine(network, "cpu", 1) as engine:
        about = engine.description
    assert (about.name, about.device, about.precision) == ("onnxruntime-cpu", "cpu", "fp32")
    assert about.version == onnxruntime.__version__
    assert about.reason == "--device cpu was asked for"


@pytest.mark.skipif(has_cuda(), reason="this ONNX Runtime has CUDA")
def test_engine_auto_says_why_it_took_the_cpu(network: Path) -> None:
    with open_engine(network, "auto", 1) as engine:
        assert engine.description.device == "cpu"
        reasons = engine.description.reason.split("; ")
        assert reasons[0] == "auto: tensorrt is not installed"
        assert "this ONNX Runtime has no CUDA provider" in reasons


@pytest.mark.skipif(has_cuda(), reason="this ONNX Runtime has CUDA")
def test_engine_named_cuda_is_never_replaced(
    network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DeviceError, match=r"install onnxruntime-gpu or use --device cpu"):
        open_engine(network, "cuda", 1)
    write_head(tmp_path / "s")
    bundle = make_bundle(tmp_path / "b")
    arguments = [str(tmp_path / "s"), "--out", str(tmp_path / "o"), "--bundle", str(bundle)]
    assert main([*arguments, "--device", "cuda"]) == 5
    assert capsys.readouterr().err.startswith("error: this ONNX Runtime has no CUDA; install")
    assert not (tmp_path / "o").exists()


def test_engine_gives_the_same_bits_for_any_thread_count(network: Path) -> None:
    image = np.random.default_rng(0).random((1, 5, 20, 24, 28), np.float32)
    found = []
    for threads in (1, 2):
        with open_engine(network, "cpu", threads) as engine:
            found += [engine.run({"image": image})["features"] for _ in range(2)]
    assert all(np.array_equal(found[0], other) for other in found[1:])


@pytest.mark.parametrize("content", [GARBAGE, b"", encoder_onnx()[:150]], ids=["garbage", "empty", "cut"])
def test_engine_garbage_with_the_right_hash_is_a_bundle_error(
    tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = make_bundle(tmp_path / "b", model=content)
    network = open_bundle(folder).path("encoder.onnx")
    with pytest.raises(BundleError, match=r"encoder\.onnx cannot be loaded \(.+\); copy or export"):
        open_engine(network, "auto", 1)
    write_head(tmp_path / "s")
    assert main([str(tmp_path / "s"), "--out", str(tmp_path / "o"), "--bundle", str(folder)]) == 4
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (encoder_onnx(source="picture"), "does not fit its manifest"),
        (encoder_onnx(result="other"), "gave nothing for 'features'"),
        (encoder_onnx(np.ones((4, 3), np.float32)), "does not fit its manifest"),
        (encoder_onnx(np.ones((7, 5), np.float32)), r"gave \(1, 7, "),
    ],
    ids=["input", "output", "channels", "features"],
)
def test_engine_another_network_than_the_manifests_is_a_bundle_error(
    tmp_path: Path, model: bytes, words: str
) -> None:
    folder = make_bundle(tmp_path / "b", model=model)
    write_head(tmp_path / "s")
    with Session(folder, "cpu", 1) as session, pytest.raises(BundleError, match=words):
        session.segment(tmp_path / "s")


def test_engine_never_reads_a_file_that_the_manifest_does_not_list(tmp_path: Path) -> None:
    weights = TensorProto(
        name="weights", data_type=TensorProto.FLOAT, dims=[4, 5, 1, 1, 1], data_location=TensorProto.EXTERNAL
    )
    weights.external_data.add(key="location", value="weights.bin")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weights"], ["features"])],
        "outside",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 5, "i", "j", "k"])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, 4, "i", "j", "k"])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    folder = make_bundle(tmp_path / "b", model=model.SerializeToString())
    (folder / "weights.bin").write_bytes(np.ones((4, 5), np.float32).tobytes())
    assert onnx.load(folder / "encoder.onnx").graph.initializer[0].raw_data  # it is there to be read
    with pytest.raises(BundleError, match="cannot be loaded"):
        open_engine(open_bundle(folder).path("encoder.onnx"), "cpu", 1)


class RefusalError(Exception):
    """Stands in for an exception of ONNX Runtime; its name is what counts."""


def fake_runtime(
    monkeypatch: pytest.MonkeyPatch, refusal: Exception | None, providers: list[str]
) -> list[Any]:
    """Replace ONNX Runtime by one that has CUDA; returns the providers of every session asked for."""
    asked: list[Any] = []

    def session(network: str, options: object, providers: list[str], **other: object) -> object:
        asked.append((providers[0], other))
        if providers[0] == "CUDAExecutionProvider" and refusal is not None:
            raise refusal
        return SimpleNamespace(
            get_providers=lambda: found if providers[0] != "CPUExecutionProvider" else providers
        )

    found = providers
    module = ModuleType("onnxruntime")
    options = SimpleNamespace(add_session_config_entry=lambda key, value: None)
    contents = {
        "__version__": "9",
        "SessionOptions": lambda: options,
        "InferenceSession": session,
        "get_available_providers": lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"],
        "set_default_logger_severity": lambda level: None,
    }
    for name, value in contents.items():
        setattr(module, name, value)
    monkeypatch.setitem(importlib.import_module("sys").modules, "onnxruntime", module)
    return asked


def refusal(kind: str, text: str) -> Exception:
    made: Exception = type(kind, (RefusalError,), {})(text)
    return made


def opened(network: Path, device: Any) -> Engine:
    return open_engine(network, device, 1)


def test_engine_takes_cuda_where_it_works(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = fake_runtime(monkeypatch, None, ["CUDAExecutionProvider", "CPUExecutionProvider"])
    about = opened(network, "auto").description
    assert about.device == "cuda:0"
    assert about.reason.startswith("auto: a CUDA device is usable; tensorrt is not installed; ")
    assert opened(network, "cuda").description.name == "onnxruntime-cuda"
    assert all(other == {"enable_fallback": 0} for _, other in asked)  # it would print to our output


@pytest.mark.parametrize(
    ("error", "providers"),
    [
        (None, ["CPUExecutionProvider"]),
        (refusal("RuntimeException", "CUDA failure 100: no CUDA-capable device is detected\nmore"), []),
        (refusal("Fail", ""), []),
    ],
    ids=["silent", "no-device", "no-text"],
)
def test_engine_auto_goes_on_with_the_cpu_where_cuda_does_not_start(
    network: Path, monkeypatch: pytest.MonkeyPatch, error: Exception | None, providers: list[str]
) -> None:
    fake_runtime(monkeypatch, error, providers)
    about = opened(network, "auto").description
    assert about.device == "cpu"
    assert about.reason.startswith("auto: ")
    assert "CUDA" in about.reason
    assert "\n" not in about.reason
    with pytest.raises(DeviceError, match="use --device cpu"):
        opened(network, "cuda")


def test_engine_a_broken_network_is_the_bundles_fault_on_cuda_too(
    network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_runtime(monkeypatch, refusal("InvalidProtobuf", "Protobuf parsing failed"), [])
    for device in ("auto", "cuda"):
        with pytest.raises(BundleError, match="Protobuf parsing failed"):
            opened(network, device)


def test_engine_out_of_memory_is_a_device_error(network: Path) -> None:
    engine = opened(network, "cpu")
    broken = SimpleNamespace(get_outputs=list, run=lambda names, inputs: raised())

    def raised() -> None:
        raise refusal("RuntimeException", "Failed to allocate memory for requested buffer\nmore")

    engine._session = broken  # type: ignore[attr-defined]
    with pytest.raises(DeviceError, match=r"failed on cpu \(Failed to allocate memory.*\); close other"):
        engine.run({"image": np.zeros((1, 5, 4, 4, 4), np.float32)})


def test_report_names_the_engine_and_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_head(tmp_path / "s")
    bundle = make_bundle(tmp_path / "b")
    arguments = ["--out", str(tmp_path / "o"), "--bundle", str(bundle), "--device", "cpu", "--json"]
    assert main([str(tmp_path / "s"), *arguments]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["engine"]["name"] == "onnxruntime-cpu"
    assert report["engine"]["reason"] == "--device cpu was asked for"
    assert report["versions"]["onnxruntime"] == report["engine"]["version"]
