"""Half precision and int8 are kept where masks stay as they are, and refused where they do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.__main__ import main
from export.lowering import to_half
from runtime import Session
from runtime.bundle import open_bundle

SIGHT = {
    "channels": [
        {
            "modality": "CT",
            "normalisation": "window",
            "low": -160,
            "high": 240,
            "clamp": [0, 1],
            "required": True,
        }
    ],
    "grid": {"spacing_mm": [2, 2, 2], "tile_voxels": [16, 16, 16], "overlap": 0.25},
}


def network(widen: float = 1.0, outlier: float = 0.0) -> onnx.ModelProto:
    """Three voxelwise convolutions; scores as in `test_export_onnx`.

    Args:
        widen: What is between them is larger by so much.
        outlier: Of a map that nothing needs.
    """
    first = np.array([1.0, outlier]) * widen
    middle = np.eye(2)
    last = np.array([[0.0, 0.0], [4.0, 0.0], [8.0, 0.0]]) / widen
    constants: dict[str, Any] = {
        "first": first.reshape(2, 1, 1, 1, 1),
        "middle": middle.reshape(2, 2, 1, 1, 1),
        "last": last.reshape(3, 2, 1, 1, 1),
        "bias": np.array([0.0, -1.4, -4.0]),
    }
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "middle"], ["c"]),
        helper.make_node("InstanceNormalization", ["c", "ones", "zeros"], ["unused"]),
        helper.make_node("Conv", ["c", "last", "bias"], ["y"]),
    ]
    constants |= {"ones": np.ones(2), "zeros": np.zeros(2)}
    tensors = [numpy_helper.from_array(v.astype(np.float32), name) for name, v in constants.items()]
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, "i", "j", "k"])]
    made = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, "i", "j", "k"])]
    graph = helper.make_graph(nodes, "three", given, made, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A CT of three plain tissues and some noise."""
    random = np.random.default_rng(0)
    voxels = np.full((24, 20, 18), -100.0)
    voxels[4:20, 3:17, 2:16] = 40
    voxels[8:14, 6:12, 5:12] = 200
    voxels += random.normal(0, 8, voxels.shape)
    path = tmp_path_factory.mktemp("golden") / "ct.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.round(voxels).astype(np.int16), np.diag([2.0, 2, 2, 1])), path)
    return f"CT={path}"


def export(folder: Path, model: onnx.ModelProto, *options: str) -> int:
    onnx.save(model, folder / "model.onnx")
    labels = [{"value": 1, "name": "soft"}, {"value": 2, "name": "bright"}]
    about = {"labels": labels, "sight": SIGHT}
    (folder / "model.json").write_text(json.dumps(about))
    return main([str(folder / "model.onnx"), "--out", str(folder / "bundle"), *options])


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_lower_precision_is_kept_with_its_proof(
    precision: str, golden: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(tmp_path, network(), "--precision", precision, "--golden", golden) == 0
    assert f"{precision}: bright, golden case 1: Dice 1.0000" in capsys.readouterr().out
    bundle = open_bundle(tmp_path / "bundle")
    assert bundle.manifest.encoder.precision == precision
    assert bundle.manifest.encoder.inputs[0].dtype == "float32"
    assert any("Dice" in text for text in bundle.manifest.provenance.values())
    kinds = [node.op_type for node in onnx.load(bundle.path("model.onnx")).graph.node]
    assert ("DequantizeLinear" if precision == "int8" else "Cast") in kinds
    with Session(tmp_path / "bundle", "cpu", 1) as session:
        report = session.segment([golden]).report
    assert report.engine["precision"] == precision


@pytest.mark.parametrize(
    ("precision", "broken"),
    [("fp16", network(widen=3e5)), ("int8", network(outlier=3000.0))],
    ids=["fp16", "int8"],
)
def test_what_changes_masks_is_refused(
    precision: str,
    broken: onnx.ModelProto,
    golden: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert export(tmp_path, broken, "--precision", precision, "--golden", golden) == 4
    assert "against float32, less than 0.99" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()
    assert export(tmp_path, broken) == 0


def test_a_golden_case_that_shows_nothing_proves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "air.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.full((18, 18, 18), -900, np.int16), np.eye(4)), path)
    assert export(tmp_path, network(), "--precision", "fp16", "--golden", f"CT={path}") == 4
    assert "is not proved" in capsys.readouterr().err


def test_without_a_study_a_made_one_is_the_golden_case(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(tmp_path, network(), "--precision", "fp16") == 0
    assert "soft, golden case 1" in capsys.readouterr().out


def test_half_precision_keeps_normalisation_in_float32() -> None:
    model = network()
    model.graph.output.append(helper.make_tensor_value_info("unused", TensorProto.FLOAT, None))
    made = to_half(onnx.shape_inference.infer_shapes(model))
    kinds = {
        item.name: item.type.tensor_type.elem_type for item in (*made.graph.value_info, *made.graph.output)
    }
    (norm,) = [node for node in made.graph.node if node.op_type == "InstanceNormalization"]
    weights = {tensor.name: tensor.data_type for tensor in made.graph.initializer}
    assert weights[norm.input[1]] == TensorProto.FLOAT
    assert TensorProto.FLOAT16 in kinds.values()
    assert weights["middle"] == TensorProto.FLOAT16
