"""The tiny promptable bundle with a writer: a random language model, and a vision network of row means.

What a random model writes is a sentence, and wrong; `Canned` stands in where a test has to know it.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from runtime import Result
from runtime.bundle import FindingWords, Vocabulary
from runtime.engines.llama import client
from runtime.engines.llama.options import Generated, GenerationOptions
from runtime.engines.llama.prompts import Prompt
from runtime.language.instruction import Statement
from runtime.language.vocabulary import MODALITIES
from runtime.report import LanguageReport
from tests.tiny_gguf import TinyModel, write_gguf
from tests.tiny_promptable import make_promptable, network

__all__ = [
    "MODEL",
    "PATIENT_S",
    "PROMPT",
    "RIGHT",
    "ROWS",
    "SIZE",
    "VOCABULARY",
    "WIDTH",
    "Canned",
    "make_writer_bundle",
    "same",
    "say",
    "told",
    "writer_section",
]

SIZE, WIDTH, ROWS = 24, 32, 6
PROMPT = "<s><Img>{image}</Img>the lesion "
MODEL = TinyModel(blocks=1, width=WIDTH, heads=2, context=1024)
VOCABULARY = Vocabulary(
    modalities=MODALITIES,
    spoken={name: name for name in ("shell", "core", "lesion", "brain")},
    visible=("shell", "core"),
    targets=("lesion", "core", "shell", "brain"),
    finding=FindingWords("lesion", "lesion"),
)
PATIENT_S = 120.0
"""A deadline that a busy machine keeps."""
RIGHT = Statement("T1", "axial", "thick", ("shell",), ("core",), ())
"""What contradicts nothing about the axial T1 of `tiny_bundle`."""


def _vision() -> bytes:
    nodes = [
        helper.make_node("ReduceMean", ["views"], ["rows"], axes=[2], keepdims=0),
        helper.make_node("MatMul", ["rows", "W"], ["tokens"]),
    ]
    weights = np.random.default_rng(3).standard_normal((SIZE, WIDTH)).astype(np.float32)
    inputs: dict[str, tuple[int, list[Any]]] = {"views": (TensorProto.FLOAT, ["S", 6, SIZE, SIZE])}
    return network(nodes, inputs, {"tokens": ["S", ROWS, WIDTH]}, {"W": weights})


def writer_section() -> dict[str, Any]:
    """`writer` of the manifest, as JSON."""

    def tensor(name: str, *shape: int) -> dict[str, Any]:
        return {"name": name, "dtype": "float32", "shape": list(shape)}

    vision = {
        "file": "vision.onnx",
        "inputs": [tensor("views", 0, 6, SIZE, SIZE)],
        "outputs": [tensor("tokens", 0, ROWS, WIDTH)],
        "multiple_of": 1,
    }
    return {"model": "writer.gguf", "vision": vision, "prompt": "prompt.txt", "most_tokens": 400}


def make_writer_bundle(folder: Path, model: bytes | None = None, **change: Any) -> Path:
    """Write the bundle; its hashes are right.

    Args:
        folder: Where; made when absent.
        model: Bytes of the language model's file; a random one when absent.
        change: Sections of `bundle.json` that are replaced; None leaves one out.
    """
    if model is None:
        folder.mkdir(parents=True, exist_ok=True)
        file = write_gguf(folder / "writer.gguf", MODEL)
        model = file.read_bytes()

    def with_writer(document: dict[str, Any]) -> None:
        document["name"] = "tiny-writer"
        document["vocabulary"] = dataclasses.asdict(VOCABULARY)
        document["writer"] = writer_section()
        document.update(change)

    files = {"writer.gguf": model, "vision.onnx": _vision(), "prompt.txt": PROMPT.encode()}
    return make_promptable(folder, with_writer, files)


class Canned:
    """A language model that says what it is told to, to every prompt.

    Args:
        texts: One for each prompt in turn; the last one again and again.
    """

    def __init__(self, *texts: str) -> None:
        self.texts, self.prompts = list(texts), list[Prompt]()
        self.cancelled, self.is_closed = threading.Event(), False

    def generate_batch(
        self, prompts: Sequence[Prompt], options: GenerationOptions | None = None
    ) -> tuple[Generated, ...]:
        """The texts."""
        self.prompts += prompts
        said = [self.texts.pop(0) if len(self.texts) > 1 else self.texts[0] for _ in prompts]
        return tuple(Generated(text, (1, 2, 3), "end", 9, 0, 0.01, 0.02) for text in said)

    def cancel(self) -> None:
        """Remember it."""
        self.cancelled.set()

    def close(self) -> None:
        """Remember it."""
        self.is_closed = True


def say(monkeypatch: pytest.MonkeyPatch, *texts: str) -> Canned:
    """Put a language model in place that says these."""
    canned = Canned(*texts)
    monkeypatch.setattr(client, "LlamaProcess", lambda *_, **__: canned)
    return canned


def told(result: Result) -> LanguageReport:
    """What a result says about its instructions."""
    assert result.report.language is not None
    return result.report.language


def same(a: Result, b: Result) -> bool:
    """Whether two results have the same bits."""
    return np.array_equal(a.labels.voxels, b.labels.voxels) and a.measurements == b.measurements
