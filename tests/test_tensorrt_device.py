"""TensorRT on a real device: the shipped encoder's numbers, built, kept, recorded and replayed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime.bundle import open_bundle
from runtime.engines.choose import open_engine
from runtime.engines.shapes import input_ranges
from runtime.engines.tensorrt.kind import TensorRt
from runtime.engines.tensorrt.run import TensorRtEngine

pytestmark = pytest.mark.gpu

MOST_ERROR = 1e-2  # relative to the largest value: TensorRT may round products of float32 to TF32


@pytest.fixture
def kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TensorRt:
    made = TensorRt()
    if why_not := made.why_not():
        pytest.skip(f"no CUDA device for TensorRT: {why_not}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return made


def test_tensorrt_runs_the_shipped_encoder_as_onnx_runtime_does(kind: TensorRt) -> None:
    bundle = open_bundle()
    manifest = bundle.manifest
    path, ranges = bundle.path(manifest.encoder.file), input_ranges(manifest, manifest.encoder)
    image = np.load(bundle.path(manifest.golden.image)).astype(np.float32)
    larger = np.random.default_rng(0).random((*image.shape[:2], 48, 64, 32), np.float32)
    with open_engine(path, "cpu", 0) as reference:
        wanted = [reference.run({"image": given}) for given in (image, larger)]
    with open_engine(path, "auto", 0, kind=kind, inputs=ranges) as engine:
        assert isinstance(engine, TensorRtEngine)
        for given, expected in zip((image, larger), wanted, strict=True):
            for _ in range(4):
                found = engine.run({"image": given})
                for name, value in expected.items():
                    error = float(np.abs(found[name] - value).max())
                    assert error <= MOST_ERROR * float(np.abs(value).max()), name
            assert engine.is_recorded, engine.description.reason
        first = engine.sha256
    with open_engine(path, "auto", 0, kind=kind, inputs=ranges) as engine:
        assert isinstance(engine, TensorRtEngine)
        assert engine.description.reason.endswith("read from the cache")
        assert engine.sha256 == first
