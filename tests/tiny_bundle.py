"""A tiny valid bundle, made without torch, and a head that it segments: intensities decide every label.

The encoder is a 1 x 1 x 1 convolution: feature 0 is the sum of T1, T1c, T2 and CT, feature 1 is FLAIR.
Scores are linear in those, so labels follow from intensities by hand: background below 0.2, shell
to 0.65, core above; lesion where FLAIR is above 0.6 and wins.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from runtime.bundle import (
    Channel,
    FileEntry,
    GoldenCase,
    Manifest,
    ModelGrid,
    Network,
    Target,
    Tensor,
    dump_manifest,
)
from runtime.structure import Code, Structure
from tests.dicom_factory import T1_TAGS, SeriesPlan, ras_affine, write_series

__all__ = [
    "BALL_CENTRE_MM",
    "BALL_RADIUS_MM",
    "CORE_CENTRE_MM",
    "CORE_RADIUS_MM",
    "FLAIR_TAGS",
    "T2_TAGS",
    "encoder_onnx",
    "expected_labels",
    "head_plan",
    "make_bundle",
    "tiny_manifest",
    "write_head",
]

FLAIR_TAGS: dict[str, Any] = {
    "ScanningSequence": ["SE", "IR"],
    "SequenceVariant": ["SK"],
    "EchoTime": 120,
    "RepetitionTime": 9000,
    "InversionTime": 2500,
}
T2_TAGS: dict[str, Any] = {
    "ScanningSequence": ["SE"],
    "SequenceVariant": ["SK"],
    "EchoTime": 100,
    "RepetitionTime": 5000,
}

BALL_CENTRE_MM = (11.0, -23.0, 37.0)
"""RAS+; no two coordinates alike, so that a swapped or mirrored axis shows."""
BALL_RADIUS_MM = 36.0
CORE_CENTRE_MM = (23.0, -29.0, 42.0)
"""RAS+; off centre, so that a mirrored ball shows too."""
CORE_RADIUS_MM = 13.0
_SHELL, _CORE = 80, 160
_SIDE_MM = 100.0

_ANATOMY = Code("123037004", "SCT", "Anatomical Structure")
_STRUCTURES = (
    Structure(1, "shell", _ANATOMY, Code("40146001", "SCT", "Cerebral cortex"), (205, 92, 120)),
    Structure(2, "core", _ANATOMY, Code("42695009", "SCT", "Thalamus"), (0, 118, 14)),
    Structure(
        5,
        "lesion",
        Code("49755003", "SCT", "Morphologically Abnormal Structure"),
        Code("52988006", "SCT", "Lesion"),
        (255, 0, 0),
    ),
    Structure(
        200, "brain", _ANATOMY, Code("12738006", "SCT", "Brain"), (255, 255, 0), ("shell", "core", "lesion")
    ),
)
_WEIGHTS = np.array([[1, 1, 1, 0, 1], [0, 0, 0, 1, 0], [0] * 5, [0] * 5], np.float32)
_TARGETS = (
    Target("", (0.0, 0.0, 0.0, 0.0), 0.0),
    Target("shell", (1.0, 0.0, 0.0, 0.0), -0.2),
    Target("core", (2.0, 0.0, 0.0, 0.0), -0.85),
    Target("lesion", (0.0, 5.0, 0.0, 0.0), -3.0),
)


def encoder_onnx(
    weights: NDArray[np.float32] = _WEIGHTS, source: str = "image", result: str = "features"
) -> bytes:
    """A serialised 1 x 1 x 1 convolution, (features, channels) weights."""
    features, channels = weights.shape
    tensor = numpy_helper.from_array(weights.reshape(features, channels, 1, 1, 1), "weights")
    graph = helper.make_graph(
        [helper.make_node("Conv", [source, "weights"], [result])],
        "tiny",
        [helper.make_tensor_value_info(source, TensorProto.FLOAT, [1, channels, "i", "j", "k"])],
        [helper.make_tensor_value_info(result, TensorProto.FLOAT, [1, features, "i", "j", "k"])],
        [tensor],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def tiny_manifest(files: tuple[FileEntry, ...] = ()) -> Manifest:
    """The manifest; `files` as they lie on the disk."""
    names: tuple[Literal["T1", "T1c", "T2", "FLAIR"], ...] = ("T1", "T1c", "T2", "FLAIR")
    free = (0, 0, 0)
    return Manifest(
        schema="zeus-edge-bundle/1",
        name="tiny-head",
        version="0.0.1",
        description="Labels by brightness, for tests.",
        licence="Apache-2.0",
        provenance={"method": "made by hand"},
        body_part="head",
        encoder=Network(
            "encoder.onnx",
            (Tensor("image", "float32", (1, 5, *free)),),
            (Tensor("features", "float32", (1, 4, *free)),),
            4,
        ),
        channels=(
            *(Channel(name, "foreground_mean", 0.0, 0.5, (0.0, 2.0)) for name in names),
            Channel("CT", "window", -20.0, 100.0, (0.0, 1.0)),
        ),
        grid=ModelGrid((3.0, 3.0, 3.0), (32, 32, 32), 0.25),
        structures=_STRUCTURES,
        targets=_TARGETS,
        files=files or (FileEntry("encoder.onnx", 1, "0" * 64), *_no_golden()),
        golden=GoldenCase("golden_image.npy", "golden_features.npy", 1e-3),
    )


def _no_golden() -> tuple[FileEntry, ...]:
    return tuple(FileEntry(f"golden_{name}.npy", 1, "0" * 64) for name in ("image", "features"))


def make_bundle(
    folder: Path,
    model: bytes | None = None,
    change: Callable[[dict[str, Any]], object] | None = None,
    more: Mapping[str, bytes] | None = None,
) -> Path:
    """Write a bundle whose hashes are right.

    Args:
        folder: Where; made when absent.
        model: The encoder's file; the tiny one when absent.
        change: Changes the decoded `bundle.json` in place before it is written; nothing checks it then.
        more: More files, listed as the others are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(0).random((1, 5, 8, 8, 8), np.float32).astype(np.float16)
    features = np.einsum("fc,ncijk->nfijk", _WEIGHTS, image.astype(np.float32)).astype(np.float16)
    (folder / "encoder.onnx").write_bytes(encoder_onnx() if model is None else model)
    np.save(folder / "golden_image.npy", image)
    np.save(folder / "golden_features.npy", features)
    for name, content in (more or {}).items():
        (folder / name).write_bytes(content)
    files = tuple(
        FileEntry(path.name, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(folder.iterdir())
        if path.name != "bundle.json"
    )
    text = dump_manifest(tiny_manifest(files))
    if change is not None:
        document = json.loads(text)
        change(document)
        text = json.dumps(document).encode()
    (folder / "bundle.json").write_bytes(text)
    return folder


def _inside(points: NDArray[np.float64], centre_mm: tuple[float, ...], radius_mm: float) -> NDArray[np.bool_]:
    return np.asarray(np.linalg.norm(points - np.array(centre_mm), axis=-1) <= radius_mm)


def _points(shape: tuple[int, ...], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """RAS+ millimetres of every voxel, (*shape, 3)."""
    index = np.moveaxis(np.indices(shape, dtype=np.float64), 0, -1)
    return np.asarray(index @ affine[:3, :3].T + affine[:3, 3])


def expected_labels(
    shape: tuple[int, ...], affine: NDArray[np.float64], clear_mm: float
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Labels by geometry alone, and which voxels lie at least `clear_mm` from any border."""
    points = _points(shape, affine)
    labels = np.zeros(shape, np.uint8)
    clear = np.ones(shape, np.bool_)
    balls = ((1, BALL_CENTRE_MM, BALL_RADIUS_MM), (2, CORE_CENTRE_MM, CORE_RADIUS_MM))
    for value, centre_mm, radius_mm in balls:
        labels[_inside(points, centre_mm, radius_mm)] = value
        near = _inside(points, centre_mm, radius_mm + clear_mm)
        clear &= ~near | _inside(points, centre_mm, radius_mm - clear_mm)
    return labels, clear


def head_plan(
    orientation: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    spacing_mm: tuple[float, float, float] = (3.0, 2.5, 2.5),
    **other: Any,
) -> SeriesPlan:
    """A series centred near the ball, in any orientation."""
    plan = SeriesPlan(orientation=orientation, spacing_mm=spacing_mm, **{"tags": T1_TAGS, **other})
    sides = np.array(_shape(spacing_mm)) - 1
    column, row = np.array(orientation[3:]), np.array(orientation[:3])
    spans = sides[0] * plan.step_mm + sides[1] * spacing_mm[1] * column + sides[2] * spacing_mm[2] * row
    middle = np.array(BALL_CENTRE_MM) * [-1, -1, 1] + [3.0, -2.0, 1.0]  # LPS
    first = middle - spans / 2
    return dataclasses.replace(plan, first_mm=(float(first[0]), float(first[1]), float(first[2])))


def _shape(spacing_mm: tuple[float, float, float]) -> tuple[int, int, int]:
    i, j, k = (round(_SIDE_MM / spacing) for spacing in spacing_mm)
    return i, j, k


def write_head(folder: Path, plan: SeriesPlan | None = None, lesion_mm: float = 0.0) -> list[Path]:
    """Write the head as a DICOM series.

    Args:
        folder: Where.
        plan: From `head_plan`.
        lesion_mm: Radius of a spot three times as bright as the shell, at the core's mirror image;
            the core is then as bright as the shell.
    """
    plan = plan or head_plan()
    shape = _shape(plan.spacing_mm)
    affine = ras_affine(plan)
    labels, _ = expected_labels(shape, affine, 0.0)
    brightness = np.array([0, _SHELL, _SHELL if lesion_mm else _CORE], np.int16)
    voxels = brightness[labels]
    mirrored = tuple(2 * b - c for b, c in zip(BALL_CENTRE_MM, CORE_CENTRE_MM, strict=True))
    voxels[_inside(_points(shape, affine), mirrored, lesion_mm)] = 3 * _SHELL
    if plan.modality == "CT":  # air -1000, shell 40 HU (0.5 of the window), core 95 HU
        voxels = np.array([24, 1064, 1119], np.int16)[labels]
    return write_series(folder, voxels, plan)
