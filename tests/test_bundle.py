"""A bundle is not believed: anything missing, damaged, hostile or contradictory is its own clear error."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.bundle import default_bundle, dump_manifest, open_bundle
from runtime.engines.choose import open_engine
from runtime.errors import BundleError
from runtime.infer import main
from runtime.schema import SchemaError
from tests.tiny_bundle import make_bundle, tiny_manifest

Change = Callable[[dict[str, Any]], object]


def refused(folder: Path, words: str) -> str:
    """The message of the error, which names the bundle and says what to do."""
    with pytest.raises(BundleError, match=words) as caught:
        open_bundle(folder)
    message = str(caught.value)
    assert str(folder) in message
    assert re.search(r"; (copy|export|give|check|do not use) ", message), message
    assert len(message) < 1000
    return message


def test_bundle_reads_back_what_it_dumps(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path)
    text = (folder / "bundle.json").read_bytes()
    bundle = open_bundle(folder)
    assert dump_manifest(bundle.manifest) == text
    assert bundle.identity.bundle_sha256 == hashlib.sha256(text).hexdigest()
    assert bundle.manifest == dataclasses.replace(tiny_manifest(), files=bundle.manifest.files)
    assert bundle.path("encoder.onnx") == folder / "encoder.onnx"
    assert bundle.parts(bundle.structure("brain")) == (1, 2, 5)
    assert bundle.parts(bundle.structure("lesion")) == (5,)


def test_bundle_dump_refuses_what_open_would(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="spacing"):
        dump_manifest(
            dataclasses.replace(
                tiny_manifest(), grid=dataclasses.replace(tiny_manifest().grid, spacing_mm=(0.0, 1.0, 1.0))
            )
        )


def test_bundle_refuses_a_missing_folder_and_a_missing_manifest(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "has no bundle.json")
    refused(tmp_path, "has no bundle.json")
    (tmp_path / "bundle.json").mkdir()
    refused(tmp_path, "has no bundle.json")
    refused(tmp_path / ("x" * 300), "bundle.json")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b'{"schema": "zeus-edge-bundle/1", "na',
        b"\xff\xfe\x00garbage",
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b"1" * 10_000,
        b'{"schema": "zeus-edge-bundle/1", "schema": "zeus-edge-bundle/1"}',
    ],
    ids=["empty", "brace", "cut", "bytes", "deep-list", "deep-object", "long-number", "key-twice"],
)
def test_bundle_refuses_what_is_not_json(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "bundle.json").write_bytes(text)
    refused(tmp_path, "is not JSON")


@pytest.mark.parametrize(
    "text", [b"[]", b"1", b"null", b'{"schema": "zeus-edge-bundle/2"}', b'{"schema": []}']
)
def test_bundle_refuses_another_schema(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "bundle.json").write_bytes(text)
    refused(tmp_path, r"has schema .* this version reads 'zeus-edge-bundle/1'")


def test_bundle_refuses_a_huge_manifest(tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_bytes(b" " * ((4 << 20) + 1))
    refused(tmp_path, "larger than 4 MiB")


def structure(index: int, **values: object) -> Change:
    return lambda document: document["structures"][index].update(values)


def target(index: int, **values: object) -> Change:
    return lambda document: document["targets"][index].update(values)


def part(name: str, **values: object) -> Change:
    return lambda document: document[name].update(values)


def channel(**values: object) -> Change:
    return lambda document: document["channels"][0].update(values)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(colour="red"), "unknown key 'colour'"),
        (lambda d: d["grid"].update(depth=1), r"\$\.grid: unknown key 'depth'"),
        (lambda d: d.pop("licence"), "missing key 'licence'"),
        (lambda d: d["grid"].pop("overlap"), r"\$\.grid: missing key 'overlap'"),
        (lambda d: d.update(structures="all"), r"\$\.structures: expected a list"),
        (lambda d: d.update(name="../evil"), r"\$\.name"),
        (lambda d: d.update(name=""), r"\$\.name"),
        (lambda d: d.update(version="1 0"), r"\$\.version"),
        (lambda d: d.update(description="\x1b[2J"), r"\$\.description"),
        (target(1, vector=[float("nan"), 0, 0, 0]), r"targets\[1\]\.vector\[0\]: not a finite number"),
        (target(1, vector=[float("inf"), 0, 0, 0]), r"targets\[1\]\.vector\[0\]: not a finite number"),
        (target(1, bias=-float("inf")), r"targets\[1\]\.bias: not a finite number"),
        (target(1, vector=[1e30, 0, 0, 0]), "'shell' is absurd"),
        (target(1, vector=[0, 0, 0]), "vectors differ in length"),
        (target(1, structure="core"), "a structure has two vectors"),
        (target(0, structure="shell"), "two vectors|background"),
        (lambda d: d["targets"].reverse(), "first one must be the background"),
        (lambda d: d["targets"].pop(), "not one vector for every structure"),
        (lambda d: d["targets"].append({"structure": "ear", "vector": [0] * 4, "bias": 0}), "not one vector"),
        (target(1, structure="brain"), "not one vector for every structure"),
        (lambda d: d.update(targets=[]), "first one must be the background"),
        (structure(0, name="core"), "names are not unique"),
        (structure(0, value=2), "values are not unique"),
        (structure(0, value=0), r"outside 1…255"),
        (structure(0, value=256), r"outside 1…255"),
        (structure(0, name="../../etc/x"), "cannot name a file"),
        (structure(0, name="a,b"), "cannot name a file"),
        (structure(3, name="labels"), "cannot name a file"),
        (structure(3, union_of=["shell", "ear"]), "brain is made of unknown parts"),
        (structure(3, union_of=["brain"]), "brain is made of unknown parts"),
        (structure(3, union_of=["shell", "shell"]), "a part of brain appears twice"),
        (structure(3, name="skull"), 'none is called "brain"'),
        (structure(0, colour=[0, 0, 256]), "colour of shell"),
        (structure(0, kind={"value": "1" * 17, "scheme": "SCT", "meaning": "x"}), "too long for DICOM"),
        (structure(0, kind={"value": "", "scheme": "SCT", "meaning": "x"}), "a code of shell is empty"),
        (lambda d: d.update(structures=[]), "names are not unique"),
        (channel(modality="PET"), "expected one of"),
        (channel(modality="T2"), "a modality appears twice"),
        (channel(clamp=[1.0, 1.0]), "clamp of T1 is empty"),
        (channel(low=0.5), "range of T1 is empty"),
        (channel(normalisation="minmax"), r"expected one of \(.*'z_score', 'percentile'"),
        (channel(normalisation="percentile", low=-0.1, high=99.0), "percentiles of T1 are outside 0…100"),
        (channel(normalisation="percentile", low=1.0, high=100.5), "percentiles of T1 are outside 0…100"),
        (channel(normalisation="z_score", low=0.0, high=0.5), "z_score of T1 needs low 0 and high 1"),
        (part("grid", tile_voxels=[32, 32, 30]), "tile is not a multiple"),
        (part("grid", tile_voxels=[0, 32, 32]), "absurd tile size"),
        (part("grid", tile_voxels=[-32, -32, 32]), "absurd tile size"),
        (part("grid", tile_voxels=[4096, 4096, 4096]), "absurd tile size"),
        (part("grid", overlap=1.0), "overlap outside"),
        (part("grid", spacing_mm=[0.0, 1.0, 1.0]), "spacing outside"),
        (part("encoder", multiple_of=0), "multiple_of outside"),
        (part("encoder", inputs=[]), "one input and one output"),
        (lambda d: d["encoder"]["inputs"][0].update(shape=[1, 4, 0, 0, 0]), "input shape"),
        (lambda d: d["encoder"]["outputs"][0].update(shape=[1, 5, 0, 0, 0]), "output shape"),
        (part("encoder", file="other.onnx"), "'other.onnx' is named but not listed"),
        (part("golden", image="other.npy"), "'other.npy' is named but not listed"),
        (part("golden", tolerance=0.0), "tolerance"),
        (part("golden", study={"T1": "other.nii.gz"}), "'other.nii.gz' is named but not listed"),
        (part("golden", study={"PET": "encoder.onnx"}), "'PET' is shown by no channel"),
        (lambda d: d["files"].append(d["files"][0]), "a path appears twice"),
    ],
)
def test_bundle_refuses_a_manifest_that_contradicts_itself(
    tmp_path: Path, change: Change, words: str
) -> None:
    refused(make_bundle(tmp_path / "b", change=change), words)


def named(folder: Path, path: str) -> Path:
    """A bundle whose encoder is said to lie at `path`."""

    def change(document: dict[str, Any]) -> None:
        document["encoder"]["file"] = document["files"][0]["path"] = path

    return make_bundle(folder, change=change)


@pytest.mark.parametrize(
    "path", ["../secret.onnx", "a/../../secret.onnx", "a\\..\\secret", "/etc/hostname", "", "."]
)
def test_bundle_refuses_a_path_that_leaves_it(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret.onnx").write_bytes(b"secret")
    folder = named(tmp_path / "b", path)
    assert "do not use this bundle" in refused(folder, "points outside the bundle")


def test_bundle_refuses_a_link_that_leaves_it(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b")
    (folder / "encoder.onnx").rename(tmp_path / "outside.onnx")
    (folder / "encoder.onnx").symlink_to(tmp_path / "outside.onnx")
    refused(folder, "points outside the bundle")
    (folder / "encoder.onnx").unlink()
    (folder / "encoder.onnx").symlink_to(folder / "encoder.onnx")
    refused(folder, r"cannot be read|missing")


def test_bundle_accepts_being_reached_by_a_link(tmp_path: Path) -> None:
    make_bundle(tmp_path / "b")
    (tmp_path / "link").symlink_to(tmp_path / "b")
    assert open_bundle(tmp_path / "link").manifest.name == "tiny-head"


@pytest.mark.parametrize("path", ["x" * 300, "x/" * 5000 + "y"])
def test_bundle_refuses_an_absurd_file_name(tmp_path: Path, path: str) -> None:
    refused(named(tmp_path / "b", path), r"cannot be read|missing")


def test_bundle_refuses_a_missing_file(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path)
    (folder / "encoder.onnx").unlink()
    assert "encoder.onnx" in refused(folder, "is missing; copy")


def test_bundle_refuses_a_truncated_file(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path)
    os.truncate(folder / "encoder.onnx", 100)
    assert "encoder.onnx" in refused(folder, "has 100 bytes, its manifest says")


def test_bundle_refuses_a_wrong_size(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path, change=lambda d: d["files"][0].update(bytes=7))
    assert "encoder.onnx" in refused(folder, "its manifest says 7")


def test_bundle_refuses_a_wrong_hash(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path)
    data = bytearray((folder / "encoder.onnx").read_bytes())
    data[-1] ^= 1
    (folder / "encoder.onnx").write_bytes(data)
    assert "encoder.onnx" in refused(folder, "does not have the SHA-256")


def test_bundle_refusal_is_exit_code_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_bundle(tmp_path / "b", change=lambda d: d.update(colour="red"))
    for arguments in (["--list-targets"], [str(tmp_path), "--out", str(tmp_path / "o")]):
        assert main([*arguments, "--bundle", str(folder)]) == 4
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.startswith(f"error: {folder / 'bundle.json'}: $: unknown key 'colour'")
        assert shown.err.count("\n") == 1


def test_shipped_bundle_opens_and_its_manifest_is_what_would_be_dumped() -> None:
    bundle = open_bundle()
    text = (default_bundle() / "bundle.json").read_bytes()
    assert json.loads(dump_manifest(bundle.manifest)) == json.loads(text)
    assert open_bundle(str(default_bundle())).identity == bundle.identity


@pytest.mark.parametrize("make", [make_bundle, lambda folder: default_bundle()], ids=["tiny", "shipped"])
def test_bundle_golden_case_is_met_by_the_engine(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    bundle = open_bundle(make(tmp_path))
    manifest = bundle.manifest
    image = np.load(bundle.path(manifest.golden.image)).astype(np.float32)
    wanted = np.load(bundle.path(manifest.golden.features)).astype(np.float32)
    with open_engine(bundle.path(manifest.encoder.file), "cpu", 1) as engine:
        features = engine.run({manifest.encoder.inputs[0].name: image})[manifest.encoder.outputs[0].name]
    assert features.shape == wanted.shape
    assert float(np.abs(features - wanted).max()) <= manifest.golden.tolerance
