"""SAM's image encoder as a folder of its own: the numbers of transformers, and what a picture must become."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is installed for training only (make check installs it)")

import onnx  # noqa: E402

import export.encoder  # noqa: E402
from export.__main__ import _NETWORKS, main  # noqa: E402
from export.proof import run_network  # noqa: E402
from runtime.bundle import file_sha256  # noqa: E402
from tests.sam_checkpoints import SIDE, close, first_code, sam_model, saved, tensors_of  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # the exporter warns
PREPROCESSOR = {
    **{"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "size": {"longest_edge": SIDE}},
    **{"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
}
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, Path]:
    """The model, its folder, and the encoder's."""
    folder = tmp_path_factory.mktemp("sam")
    model, source = sam_model(), folder / "source"
    saved(model, source)
    (source / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    assert main([str(source), "--out", str(folder / "out")]) == 0
    return model, source, folder / "out"


def test_encoder_answers_as_transformers_does_for_any_number_of_images(made: tuple[Any, Path, Path]) -> None:
    model, _, out = made
    for count in (1, 3):
        images = torch.randn(count, 3, SIDE, SIDE)
        found = run_network(out / "model.onnx", {"image": images.numpy()})["map"]
        with torch.inference_mode():
            close(torch.from_numpy(found), model.vision_encoder(images).last_hidden_state)
    assert onnx.load(out / "model.onnx").opset_import[0].version <= 22


def test_record_says_what_a_device_must_know(made: tuple[Any, Path, Path]) -> None:
    _, source, out = made
    record = json.loads((out / "encoder.json").read_text())
    assert record["inputs"] == [{"name": "image", "dtype": "float32", "shape": [0, 3, SIDE, SIDE]}]
    assert record["outputs"] == [{"name": "map", "dtype": "float32", "shape": [0, 32, 10, 10]}]
    pixels = record["pixels"]
    assert (pixels["low"], pixels["high"], pixels["resized"]) == (0, 1, "longest side")
    assert pixels["mean"] == PREPROCESSOR["image_mean"]
    assert record["files"]["model.onnx"]["sha256"] == file_sha256(out / "model.onnx")
    assert record["source"] == {"model.safetensors": file_sha256(source / "model.safetensors")}
    assert "differs from torch" in record["proofs"][0]


def test_a_file_needs_its_network(
    made: tuple[Any, Path, Path], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, source, out = made
    path = tmp_path / "weights.pth"
    torch.save(first_code(tensors_of(model, tmp_path / "again")), path)
    assert main([str(path), "--out", str(tmp_path / "out"), "--kind", "encoder"]) == 2
    assert "--network" in capsys.readouterr().err
    small = dataclasses.replace(export.encoder.NETWORKS["medsam"].sizes, image_size=SIDE)
    assert main([str(path), "--out", str(tmp_path / "out"), "--network", "medsam"]) == 4  # of another size
    assert not (tmp_path / "out").exists()
    small = dataclasses.replace(small, patch=8, width=24, layers=3, heads=2, hidden=40, window=4)
    monkeypatch.setattr(export.encoder, "_program", lambda encoder: onnx.load(out / "model.onnx"))
    small = dataclasses.replace(small, everywhere=(1,), out=32)
    networks = {"medsam": dataclasses.replace(export.encoder.NETWORKS["medsam"], sizes=small)}
    monkeypatch.setattr(export.encoder, "NETWORKS", MappingProxyType(networks))
    monkeypatch.setattr(export.encoder, "SamConfig", lambda sizes: sam_sizes(source, sizes))
    assert main([str(path), "--out", str(tmp_path / "out"), "--network", "medsam"]) == 0
    record = json.loads((tmp_path / "out" / "encoder.json").read_text())
    assert record["pixels"]["stretched"]
    assert record["pixels"]["resized"] == "square"


def sam_sizes(source: Path, sizes: Any) -> Any:
    """Sizes of a file: its encoder's, and a decoder as small."""
    from training.networks.sam.folder_config import sam_config

    return dataclasses.replace(sam_config(source), encoder=sizes)


def test_folder_that_does_not_say_its_pixels_is_refused(tmp_path: Path, capsys: Capture) -> None:
    source = saved(sam_model(), tmp_path / "source")
    out = ["--out", str(tmp_path / "out")]
    assert main([str(source), *out]) == 4
    assert "SAM and MedSAM want other pixels" in capsys.readouterr().err
    (source / "preprocessor_config.json").write_text('{"image_mean": [0.5]}')
    assert main([str(source), *out]) == 4
    assert "does not say how pixels" in capsys.readouterr().err
    assert main([str(source), *out, "--type", "F16"]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_wrong_numbers_leave_nothing(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = saved(sam_model(), tmp_path / "source")
    real = export.encoder.run_network
    monkeypatch.setattr(export.encoder, "run_network", lambda *given: {"map": 1.001 * real(*given)["map"]})
    assert main([str(source), "--out", str(tmp_path / "out"), "--network", "sam_vit_b"]) == 4
    assert "differs from torch" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_command_knows_every_network() -> None:
    assert tuple(export.encoder.NETWORKS) == _NETWORKS
