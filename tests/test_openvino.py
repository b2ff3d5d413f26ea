"""OpenVINO runs the bundle's networks as ONNX Runtime does, and blames the right thing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtime.bundle import open_bundle
from runtime.engines.choose import open_engine
from runtime.engines.kinds import KINDS
from runtime.engines.openvino_cpu import OpenVinoCpu
from runtime.errors import BundleError, DeviceError
from tests.source_tree import ROOT
from tests.tiny_bundle import encoder_onnx

KIND = OpenVinoCpu()
MOST_ERROR = 1e-4  # of float32, relative to the largest value: kernels sum in another order


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "encoder.onnx"
    path.write_bytes(encoder_onnx())
    return path


def test_openvino_is_a_kind_that_is_there_and_describes_itself(network: Path) -> None:
    import openvino

    assert KIND.why_not() is None
    assert KIND.version() == openvino.__version__
    assert "openvino-cpu" in [kind.name for kind in KINDS]
    with open_engine(network, "auto", 1, kind=KIND) as engine:
        about = engine.description
    assert (about.name, about.device, about.precision) == ("openvino-cpu", "cpu", "fp32")
    assert about.reason == "openvino-cpu was asked for"


def test_openvino_meets_the_golden_case_of_the_shipped_bundle() -> None:
    bundle = open_bundle()
    manifest = bundle.manifest
    image = np.load(bundle.path(manifest.golden.image)).astype(np.float32)
    wanted = np.load(bundle.path(manifest.golden.features)).astype(np.float32)
    inputs = {manifest.encoder.inputs[0].name: image}
    path = bundle.path(manifest.encoder.file)
    with open_engine(path, "cpu", 1) as reference, open_engine(path, "cpu", 2, kind=KIND) as engine:
        expected, found = reference.run(inputs), engine.run(inputs)
        again = engine.run({"image": image + 1})  # results are the caller's: not overwritten
        assert not np.array_equal(again["features"], found["features"])
        assert np.array_equal(engine.run(inputs)["features"], found["features"])
    assert set(found) == set(expected)
    assert float(np.abs(found["features"] - wanted).max()) <= manifest.golden.tolerance
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        assert float(np.abs(found[name] - value).max()) <= MOST_ERROR * float(np.abs(value).max()), name


def test_openvino_runs_the_other_networks_of_the_shipped_bundle() -> None:
    bundle = open_bundle()
    given = bundle.manifest.instructions
    assert given is not None
    random = np.random.default_rng(0)
    present = np.array([[True, False, True, True, False]])
    bottom = random.standard_normal((1, 160, 4, 5, 3), np.float32)
    condition = random.standard_normal((1, 5, 7, 64), np.float32)
    cases = (
        (given.decoder.file, {"bottom": bottom, "condition": condition, "present": present}),
        (given.text.network.file, {"ids": random.integers(1, 50, (1, 9))}),
    )
    for file, inputs in cases:
        path = bundle.path(file)
        with open_engine(path, "cpu", 1) as reference, open_engine(path, "cpu", 1, kind=KIND) as engine:
            expected, found = reference.run(inputs), engine.run(inputs)
        for name, value in expected.items():
            error = float(np.abs(found[name] - value).max())
            assert error <= MOST_ERROR * max(1.0, float(np.abs(value).max())), (file, name)


@pytest.mark.parametrize(
    "content", [b"\xff" * 5000, b"", encoder_onnx()[:150]], ids=["garbage", "empty", "cut"]
)
def test_openvino_of_a_broken_file_is_a_bundle_error(network: Path, content: bytes) -> None:
    network.write_bytes(content)
    with pytest.raises(BundleError, match=r"encoder\.onnx cannot be loaded \(.+\); copy or export") as caught:
        open_engine(network, "cpu", 1, kind=KIND)
    assert "\n" not in str(caught.value)
    with pytest.raises(BundleError, match="cannot be read"):
        open_engine(network.with_name("none.onnx"), "cpu", 1, kind=KIND)


@pytest.mark.parametrize(
    "change",
    [
        lambda image: {"picture": image},
        lambda image: {"image": image.astype(np.float64)},
        lambda image: {"image": image[:, :4]},
        lambda image: {"image": image[0]},
    ],
    ids=["name", "type", "channels", "axes"],
)
def test_openvino_converts_nothing_in_silence(
    network: Path, change: Callable[[np.ndarray], dict[str, np.ndarray]]
) -> None:
    image = np.random.default_rng(0).random((1, 5, 4, 6, 8), np.float32)
    with open_engine(network, "cpu", 1, kind=KIND) as engine:
        with pytest.raises(BundleError, match="does not fit its manifest"):
            engine.run(change(image))
        assert engine.run({"image": image})["features"].shape[2:] == image.shape[2:]


def outside(tmp_path: Path) -> Path:
    """A network whose weights lie in a file beside it."""
    import onnx

    model = onnx.load_from_string(encoder_onnx(np.ones((4, 5), np.float32)))
    path = tmp_path / "encoder.onnx"
    options = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 0}
    onnx.save_model(model, path, convert_attribute=True, **options)
    assert (tmp_path / "weights.bin").stat().st_size > 0
    return path


def test_openvino_reads_weights_of_the_manifest_and_no_other_file(tmp_path: Path) -> None:
    path = outside(tmp_path)
    image = {"image": np.random.default_rng(0).random((1, 5, 4, 6, 8), np.float32)}
    with open_engine(path, "cpu", 1, tmp_path / "weights.bin", kind=KIND) as engine:
        np.testing.assert_allclose(engine.run(image)["features"][0, 0], image["image"][0].sum(0), rtol=1e-5)
    with pytest.raises(BundleError, match="cannot be loaded"):
        open_engine(path, "cpu", 1, kind=KIND)


def test_openvino_reports_no_import_to_anybody(tmp_path: Path) -> None:
    (tmp_path / "openvino_telemetry.py").write_text(
        "open(__file__ + '.called', 'w').close()\nraise ImportError"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    called = tmp_path / "openvino_telemetry.py.called"
    ours = "from runtime.engines.openvino_cpu import OpenVinoCpu; OpenVinoCpu().version()"
    for program, is_called in ((ours, False), ("import openvino", True)):  # it would
        subprocess.run([sys.executable, "-c", program], env=environment, check=True)
        assert called.exists() == is_called


def test_openvino_that_is_missing_is_named(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(DeviceError, match=r"OpenVINO cannot be imported .*zeus-edge\[openvino\]"):
        open_engine(network, "cpu", 1, kind=KIND)


def test_openvino_knows_tensors_by_the_names_of_the_file(tmp_path: Path) -> None:
    """Casts at both ends, as lowered networks have them, are folded into inputs and outputs."""
    from onnx import TensorProto, helper

    half, single = TensorProto.FLOAT16, TensorProto.FLOAT
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["image_half"], to=half),
            helper.make_node("Add", ["image_half", "image_half"], ["sum_half"]),
            helper.make_node("Cast", ["sum_half"], ["features"], to=single),
        ],
        "lowered",
        [helper.make_tensor_value_info("image", single, [1, 5, "i", "j", "k"])],
        [helper.make_tensor_value_info("features", single, [1, 5, "i", "j", "k"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = tmp_path / "lowered.onnx"
    path.write_bytes(model.SerializeToString())
    image = np.random.default_rng(0).random((1, 5, 4, 6, 8), np.float32)
    with open_engine(path, "cpu", 1, kind=KIND) as engine:
        found = engine.run({"image": image})
    assert list(found) == ["features"]
    np.testing.assert_allclose(found["features"], 2 * image, rtol=2e-3)
