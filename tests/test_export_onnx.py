"""An ONNX network and its sidecar become a bundle that runs, or are refused with the reason."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from scipy import ndimage

from export.__main__ import main
from export.about import About, structures
from export.graph import WEIGHTS_FILE, ends, read_model, slim, write_model
from export.proof import run_network
from runtime import Session
from runtime.bundle import open_bundle
from runtime.engines.choose import open_engine
from runtime.errors import BundleError
from runtime.schema import build
from tests.source_tree import ROOT
from training.metrics import dice

SPACING_MM = (3.0, 2.0, 2.5)
LABELS = [{"value": 3, "name": "liver"}, {"value": 8, "name": "left kidney!", "colour": [1, 2, 3]}]


def network(
    maps: int = 3,
    sides: tuple[Any, ...] = ("i", "j", "k"),
    opset: int = 17,
    nodes: list[Any] | None = None,
) -> onnx.ModelProto:
    """Scores linear in brightness x: of three maps the second wins from 0.35, the third from 0.65."""
    ones = (1,) * (len(sides) + 1)
    slopes = {1: [4.0], 2: [1.0, 2.0], 3: [0.0, 4.0, 8.0]}[maps]
    offsets = {1: [-2.0], 2: [0.0, 0.0], 3: [0.0, -1.4, -4.0]}[maps]
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, *sides])]
    made = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", maps, *sides])]
    chain = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Conv", ["a", "slopes", "offsets"], ["y"]),
    ]
    constants = {"slopes": np.array(slopes).reshape(maps, *ones), "offsets": np.array(offsets)}
    tensors = [numpy_helper.from_array(v.astype(np.float32), name) for name, v in constants.items()]
    graph = helper.make_graph(nodes or chain, "voxelwise", given, made, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def sidecar(**other: Any) -> dict[str, Any]:
    channel = {
        "modality": "CT",
        "normalisation": "window",
        "low": -160,
        "high": 240,
        "clamp": [0, 1],
        "required": True,
    }
    sight = {
        "channels": [channel],
        "grid": {"spacing_mm": list(SPACING_MM), "tile_voxels": [16, 24, 8], "overlap": 0.25},
        "recipe": {"activation": "softmax", **other.pop("recipe", {})},
    }
    return {"name": "tiny-abdomen", "body_part": "abdomen", "labels": LABELS, "sight": sight, **other}


def write(folder: Path, model: onnx.ModelProto, about: dict[str, Any]) -> Path:
    onnx.save(model, folder / "model.onnx")
    (folder / "model.json").write_text(json.dumps(about))
    return folder / "model.onnx"


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smooth CT with slices of 4 mm, stored front to back and left to right, slightly oblique."""
    voxels = ndimage.gaussian_filter(np.random.default_rng(9).normal(0, 1, (28, 36, 14)), (2.5, 2.5, 1.2))
    voxels = voxels / voxels.std() * 150
    voxels[:4] = -1000  # air: the report doubts a CT without any
    affine = np.array([[-1.4, 0.1, 0, 20], [0.1, -1.4, 0, 30], [0, 0, 4.0, -50], [0, 0, 0, 1]])
    path = tmp_path_factory.mktemp("scan") / "ct.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.round(voxels).astype(np.int16), affine), path)
    return path


def by_hand(scan: Path, model: Path) -> np.ndarray:
    """Labels in the scan's own axes, by nibabel and SciPy alone."""
    image = nibabel.as_closest_canonical(nibabel.load(scan))
    voxels = np.asarray(image.dataobj, np.float64)
    old = np.linalg.norm(image.affine[:3, :3], axis=0)
    shape = [round((n - 1) * a / b + 1) for n, a, b in zip(voxels.shape, old, SPACING_MM, strict=True)]
    step = (np.array(SPACING_MM) / old)[:, None, None, None]
    seen = ndimage.map_coordinates(voxels, np.indices(shape) * step, order=1, mode="nearest")
    seen = np.clip((seen + 160) / 400, 0, 1).astype(np.float32)
    raw = run_network(model, {"x": seen[None, None]})["y"][0].astype(np.float64)
    shares = np.exp(raw) / np.exp(raw).sum(axis=0)
    back = np.indices(voxels.shape) / step
    returned = [ndimage.map_coordinates(share, back, order=1, mode="nearest") for share in shares]
    labels = np.array([0, 3, 8], np.uint8)[np.argmax(returned, axis=0)]
    turned = nibabel.Nifti1Image(labels, image.affine)
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.io_orientation(nibabel.load(scan).affine)
    )
    return np.asarray(turned.as_reoriented(turn).dataobj)


def test_an_exported_network_labels_a_scan_as_if_done_by_hand(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write(tmp_path, network(), sidecar())
    assert main([str(model), "--out", str(tmp_path / "bundle")]) == 0
    shown = capsys.readouterr().out
    assert "differs from the original file by" in shown
    bundle = open_bundle(tmp_path / "bundle")
    assert bundle.manifest.encoder.inputs[0].shape == (1, 1, 16, 24, 8)
    assert bundle.manifest.provenance["proof 1"] in shown
    names = {item.name: (item.value, item.kind.scheme, item.colour) for item in bundle.manifest.structures}
    assert names["left_kidney"] == (8, "99ZEUSEDGE", (1, 2, 3))
    with Session(tmp_path / "bundle", "cpu", 1) as session:
        result = session.segment([f"CT={scan}"])
        result.save(tmp_path / "result", ["nifti"])
    found = np.asarray(nibabel.load(tmp_path / "result" / "labels.nii.gz").dataobj)
    expected = by_hand(scan, model)
    for value in (0, 3, 8):
        assert (expected == value).sum() > 300
        assert dice(found == value, expected == value) > 0.999
    assert result.report.warnings == ()
    language = result.report.language
    assert language is not None
    (written,) = language.written
    assert written.text.startswith("This is an axial CT scan with thick slices.")


def test_one_map_is_one_label_above_one_half(scan: Path, tmp_path: Path) -> None:
    about = sidecar(labels=LABELS[:1], recipe={"activation": "sigmoid"})
    assert main([str(write(tmp_path, network(1), about)), "--out", str(tmp_path / "a")]) == 0
    about = sidecar(labels=LABELS[:1], recipe={"activation": "none"})
    assert main([str(write(tmp_path, network(1), about)), "--out", str(tmp_path / "b")]) == 0
    found = []
    for name in ("a", "b"):
        with Session(tmp_path / name, "cpu", 1) as session:
            found.append(session.segment([f"CT={scan}"]).labels.voxels == 3)
    assert 0.1 < found[0].mean() < 0.9
    assert dice(found[0], found[1]) > 0.95  # one half of a chance is 0 of a score, but for interpolation


def test_a_network_of_slices_sees_slices(scan: Path, tmp_path: Path) -> None:
    about = sidecar(
        recipe={"axes": "stored"}
    )  # in a NIfTI file the slowest axis, here across slices, is last
    about["sight"]["grid"] = {"spacing_mm": [0, 2, 2], "tile_voxels": [1, 16, 16], "overlap": 0.5}
    model = write(tmp_path, network(sides=("i", "j")), about)
    assert main([str(model), "--out", str(tmp_path / "bundle")]) == 0
    with Session(tmp_path / "bundle", "cpu", 1) as session:
        result = session.segment([f"CT={scan}"])
        assert session.bundle.manifest.encoder.inputs[0].shape == (1, 1, 16, 16)
    assert result.report.model_grid["shape"][0] == 14  # the scan's own slices
    assert len(np.unique(result.labels.voxels)) == 3
    assert any("as they are stored" in note for note in result.report.assumptions)


CHANGES: list[tuple[Callable[[], onnx.ModelProto], dict[str, Any], str]] = [
    (network, {"labels": LABELS[:1]}, "3 maps, which are no background and 1 labels"),
    (lambda: network(2), {}, "maps that overlap are not supported"),
    (lambda: network(sides=(16, 16, 16)), {}, "fixed to other sides"),
    (lambda: network(sides=("i", "j")), {}, "correct the sidecar"),
    (lambda: network(opset=23), {}, "opset 23"),
    (lambda: network(nodes=[helper.make_node("Identity", ["missing"], ["y"])]), {}, "no usable ONNX file"),
    (network, {"sight": None}, '"sight" and "labels"'),
    (network, {"nonsense": 1}, "unknown key 'nonsense'"),
    (network, {"recipe": {"crop": "all"}}, "expected one of"),
    (network, {"recipe": {"axes": "RRR"}}, "three directions"),
    (network, {"labels": [{"value": 0, "name": "nothing"}, LABELS[0]]}, "outside 1…255"),
]


@pytest.mark.parametrize(("model", "other", "reason"), CHANGES, ids=[reason for _, _, reason in CHANGES])
def test_what_does_not_fit_is_refused_and_nothing_is_left(
    model: Callable[[], onnx.ModelProto],
    other: dict[str, Any],
    reason: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write(tmp_path, model(), sidecar(**other))
    before = sorted(tmp_path.iterdir())
    assert main([str(path), "--out", str(tmp_path / "bundle")]) == 4
    assert reason in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_a_destination_that_is_there_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, network(), sidecar())
    assert main([str(path), "--out", str(tmp_path / "bundle")]) == 0
    first = open_bundle(tmp_path / "bundle").identity.bundle_sha256
    assert main([str(path), "--out", str(tmp_path / "bundle")]) == 7
    assert "--force" in capsys.readouterr().err
    other = write(tmp_path, network(), sidecar(version="2"))
    assert main([str(other), "--out", str(tmp_path / "bundle"), "--force"]) == 0
    assert open_bundle(tmp_path / "bundle").identity.bundle_sha256 != first
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("mine")
    assert main([str(path), "--out", str(tmp_path / "thesis"), "--force"]) == 7


def test_what_is_no_source_is_a_wrong_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nowhere"), "--out", str(tmp_path / "bundle")]) == 2
    assert main([str(tmp_path), "--out", str(tmp_path / "bundle")]) == 2
    assert "plans.json" in capsys.readouterr().err


def test_large_weights_lie_beside_the_network_and_only_listed_ones_are_read(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    model = network()
    many = numpy_helper.from_array(random.normal(0, 1, (512, 1, 1, 1, 1)).astype(np.float32), "many")
    model.graph.initializer.append(many)
    del model.graph.node[:], model.graph.output[0].type.tensor_type.shape.dim[1:]
    model.graph.node.append(helper.make_node("Conv", ["x", "many"], ["y"]))
    tile = random.normal(0, 1, (1, 1, 4, 4, 4)).astype(np.float32)
    model = slim(model, tile.shape)
    whole = tmp_path / "whole.onnx"
    assert write_model(model, whole) is None
    parted = tmp_path / "parted.onnx"
    assert write_model(model, parted, most_inside=1000) == tmp_path / WEIGHTS_FILE
    with open_engine(parted, "cpu", 1, tmp_path / WEIGHTS_FILE, "fp32") as engine:
        found = engine.run({"x": tile})["y"]
    assert np.array_equal(found, run_network(whole, {"x": tile})["y"])
    with pytest.raises(BundleError, match="cannot be loaded"):
        open_engine(parted, "cpu", 1)
    assert ends(read_model(parted))[1].shape == (1, 512, 4, 4, 4)


def test_the_sidecar_of_the_documentation_is_one() -> None:
    text = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```json\n(.*?)```", text, flags=re.DOTALL)
    about = build(About, json.loads(example))
    assert about.sight is not None
    assert [item.kind.scheme for item in structures({1: "liver", 2: "spleen"}, about.labels)] == [
        "SCT",
        "99ZEUSEDGE",
    ]
