"""The TensorRT-RTX plug-in runs a whole network or is an error; ONNX Runtime never takes over in silence."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from runtime.engines.choose import open_engine
from runtime.engines.engine import InputRange, NetworkFile
from runtime.engines.tensorrt_rtx import TensorRtRtx, profile_options
from runtime.errors import DeviceError
from tests.tiny_bundle import encoder_onnx

NAME = "NvTensorRTRTXExecutionProvider"
RANGES = (InputRange("image", (1, 8), (1, 16), (1, 32)), InputRange("ids", (1,), (2,), (3,)))


class Ready(TensorRtRtx):
    """As on a machine with a driver."""

    def why_not(self) -> str | None:
        return None

    def version(self) -> str:
        return "0.5.0"


class FakeRuntime(SimpleNamespace):
    """ONNX Runtime with devices of the plug-in once its library is registered."""

    def __init__(self, devices: int, takes_all: bool = True, error: str = "") -> None:
        super().__init__()
        self.__version__ = "9"
        self.asked: list[Any] = []
        self.entries: dict[str, str] = {}
        self._devices, self._found, self._error, self._takes_all = devices, 0, error, takes_all

    def set_default_logger_severity(self, level: int) -> None:
        pass

    def get_ep_devices(self) -> list[Any]:
        return [SimpleNamespace(ep_name="CPUExecutionProvider")] + self._found * [
            SimpleNamespace(ep_name=NAME)
        ]

    def register_execution_provider_library(self, name: str, library: str) -> None:
        assert (name, library, self._found) == (NAME, "plugin.so", 0)
        if self._error:
            raise RuntimeError(self._error)
        self._found = self._devices

    def SessionOptions(self) -> Any:  # noqa: N802
        return SimpleNamespace(
            add_session_config_entry=self.entries.__setitem__,
            add_provider_for_devices=lambda devices, options: self.asked.append((len(devices), options)),
        )

    def InferenceSession(self, path: str, options: Any, **how: Any) -> Any:  # noqa: N802
        assert how == {"enable_fallback": 0}
        assert self.entries["session.disable_cpu_ep_fallback"] == "1"
        if not self._takes_all:
            raise RuntimeError("This session contains graph nodes that are assigned to the default CPU EP")
        return SimpleNamespace(get_providers=lambda: [NAME, "CPUExecutionProvider"])


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    plugin = SimpleNamespace(get_ep_name=lambda: NAME, get_library_path=lambda: "plugin.so")
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_nv_tensorrt_rtx", plugin)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = tmp_path / "encoder.onnx"
    path.write_bytes(encoder_onnx())
    return path


def fake(monkeypatch: pytest.MonkeyPatch, *given: Any, **more: Any) -> FakeRuntime:
    made = FakeRuntime(*given, **more)
    monkeypatch.setitem(sys.modules, "onnxruntime", made)
    return made


def test_rtx_is_given_one_device_and_the_shapes(
    network: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    runtime = fake(monkeypatch, 2)
    about = open_engine(network, "auto", 1, kind=Ready(), inputs=RANGES).description
    assert (about.name, about.device, about.version) == ("tensorrt-rtx", "cuda:0", "0.5.0 (ONNX Runtime 9)")
    folder = tmp_path / "zeus-edge" / "tensorrt-rtx"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert runtime.asked == [
        (
            1,
            {
                "nv_profile_min_shapes": "image:1x8,ids:1",
                "nv_profile_opt_shapes": "image:1x16,ids:2",
                "nv_profile_max_shapes": "image:1x32,ids:3",
                "nv_runtime_cache_path": str(folder),
            },
        )
    ]
    open_engine(network, "auto", 1, kind=Ready())  # the library is registered once
    assert profile_options(NetworkFile(network)) == {}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"devices": 0}, "finds no device"),
        ({"devices": 1, "error": "libcuda.so.1: no such file\nmore"}, r"cannot be used \(libcuda"),
        ({"devices": 1, "takes_all": False}, "assigned to the default CPU EP"),
    ],
    ids=["no-device", "library", "operators"],
)
def test_rtx_never_leaves_work_to_the_cpu(
    network: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], words: str
) -> None:
    fake(monkeypatch, **given)
    with pytest.raises(DeviceError, match=f"{words}.*--device cpu") as caught:
        open_engine(network, "auto", 1, kind=Ready(), inputs=RANGES)
    assert "\n" not in str(caught.value)


def test_rtx_says_why_it_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.engines.tensorrt_rtx.find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "onnxruntime_ep_nv_tensorrt_rtx", raising=False)
    assert TensorRtRtx().why_not() == "tensorrt-rtx is not installed"
    with pytest.raises(DeviceError, match="not installed; use another engine"):
        TensorRtRtx().open(NetworkFile(Path("none")), 1, "")


@pytest.mark.gpu
def test_rtx_runs_the_tiny_encoder_as_onnx_runtime_does(tmp_path: Path) -> None:
    kind = TensorRtRtx()
    if why_not := kind.why_not():
        pytest.skip(f"no CUDA device for it: {why_not}")
    path = tmp_path / "encoder.onnx"
    path.write_bytes(encoder_onnx())
    image = np.random.default_rng(0).random((1, 5, 16, 16, 16), np.float32)
    ranges = (InputRange("image", image.shape, image.shape, image.shape),)
    with (
        open_engine(path, "cpu", 1) as reference,
        open_engine(path, "auto", 1, kind=kind, inputs=ranges) as one,
    ):
        expected, found = (engine.run({"image": image})["features"] for engine in (reference, one))
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-2)  # TF32
