"""A bundle's vocabulary and writer are sections of their own: bundles without load as ever."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.bundle import dump_manifest, open_bundle
from runtime.errors import BundleError
from tests.tiny_promptable import make_promptable
from tests.tiny_writer import SIZE, VOCABULARY, WIDTH, make_writer_bundle, writer_section

Document = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_writer_bundle(tmp_path_factory.mktemp("writer"))


def test_bundle_with_a_writer_says_all_of_it(folder: Path) -> None:
    bundle = open_bundle(folder)
    assert bundle.manifest.vocabulary == VOCABULARY
    writer = bundle.manifest.writer
    assert writer is not None
    assert (writer.model, writer.prompt, writer.most_tokens) == ("writer.gguf", "prompt.txt", 400)
    assert writer.vision.inputs[0].shape == (0, 6, SIZE, SIZE)
    assert writer.vision.outputs[0].shape[2] == WIDTH
    again = json.loads(dump_manifest(bundle.manifest))
    assert again["writer"] == writer_section()


def test_bundle_without_a_writer_is_written_as_before(tmp_path: Path) -> None:
    bundle = open_bundle(make_promptable(tmp_path / "b"))
    assert bundle.manifest.vocabulary is None
    assert bundle.manifest.writer is None
    assert not {"vocabulary", "writer"} & set(json.loads(dump_manifest(bundle.manifest)))


def within(*keys: str) -> Callable[[Document, Any], None]:
    def change(document: Document, value: Any) -> None:
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "value", "words"),
    [
        (within("vocabulary"), None, r"\$.writer: needs a vocabulary"),
        (within("vocabulary", "modalities"), {"T1": "T1"}, "modalities: not one for each channel"),
        (within("vocabulary", "modalities", "T1"), "CT scan", "modalities: words repeat"),
        (within("vocabulary", "modalities", "T1"), 'T1" | .*', "more than letters, digits"),
        (within("vocabulary", "spoken", "core"), "core, the brain", "more than letters, digits"),
        (within("vocabulary", "spoken", "core"), "core  of it", "more than letters, digits"),
        (within("vocabulary", "spoken", "core"), "core. Segment", "more than letters, digits"),
        (within("vocabulary", "spoken", "core"), "core and the brain", "more than letters, digits"),
        (within("vocabulary", "spoken", "core"), "c" * 49, "more than letters, digits"),
        (within("vocabulary", "spoken", "core"), "shell", "have the same words"),
        (within("vocabulary", "spoken", "core"), "nothing known", "says that nothing is"),
        (within("vocabulary", "spoken", "spleen"), "spleen", "spoken: a name is no structure"),
        (within("vocabulary", "spoken"), {"core": "core"}, "spoken: a name of visible has no words"),
        (within("vocabulary", "visible"), ["core", "shell"], "not in the order of the structures"),
        (within("vocabulary", "visible"), ["core", "core"], "names repeat"),
        (within("vocabulary", "visible"), ["spleen"], "visible: a name is no structure"),
        (within("vocabulary", "targets"), [], "nothing can be asked for"),
        (within("vocabulary", "finding", "structure"), "spleen", "its structure is unknown"),
        (within("vocabulary", "finding", "spoken"), "", "more than letters, digits"),
        (within("writer", "most_tokens"), 0, "most_tokens: outside"),
        (within("writer", "model"), "other.gguf", "'other.gguf' is named but not listed"),
        (within("writer", "prompt"), "../prompt.txt", "is named but not listed"),
        (within("writer", "vision", "multiple_of"), 2, "must be views"),
        (within("writer", "vision", "outputs"), [], "must be views"),
        (within("writer", "vision", "weights"), "vision.data", "must be in its ONNX file"),
        (
            within("writer", "vision", "inputs"),
            [{"name": "views", "dtype": "float32", "shape": [0, 6, 24, 32]}],
            "no square views",
        ),
        (
            within("writer", "vision", "inputs"),
            [{"name": "views", "dtype": "float32", "shape": [1, 6, 24, 24]}],
            "number of series is not free",
        ),
        (
            within("writer", "vision", "outputs"),
            [{"name": "tokens", "dtype": "float32", "shape": [0, 6, 1 << 20]}],
            "no credible width",
        ),
    ],
)
def test_wrong_section_is_refused(
    folder: Path, tmp_path: Path, change: Callable[[Document, Any], None], value: Any, words: str
) -> None:
    document = json.loads((folder / "bundle.json").read_text())
    change(document, value)
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "bundle.json").write_text(json.dumps(document))
    with pytest.raises(BundleError, match=words):
        open_bundle(tmp_path)
