"""The tiny bundle with instructions, made without torch: every answer follows by hand.

A condition has one entry for each of shell, core, lesion, brain, "nothing of ours" and "else". Words are
such entries: "core" asks for the core, "kidney" for nothing of ours, "big" adds a tenth of "else", which
raises the bias of what it stands beside; words that nobody knows are "else" alone. The decoder is linear:
with the bank its vectors are those of the tiny bundle. Presence is 4 (log-odds) for shell, core and brain, -6
for nothing of ours, and for a lesion 200 times the mean of FLAIR (feature 1 of the coarse map) less 2.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.tiny_bundle import make_bundle

__all__ = ["ASKED", "WORDS", "bank_rows", "make_promptable", "network", "npy", "tiny_instructions"]

ASKED = ("shell", "core", "lesion", "brain", "")
MOST_TOKENS = 8
_CONDITION = 6
_ELSE = 5
_FILLERS = ("segment", "the", "and", "of")
_MEANINGS = {"shell": 0, "cortex": 0, "core": 1, "lesion": 2, "tumour": 2, "brain": 3, "kidney": 4}
WORDS = ("[PAD]", "[UNK]", *_FILLERS, *_MEANINGS, "big", ".")

_WEIGHTS = np.array([[1, 1, 1, 0, 1], [0, 0, 0, 1, 0], [0] * 5, [0] * 5], np.float32)
_VECTORS = np.array([[1, 0, 0, 0], [2, 0, 0, 0], [0, 5, 0, 0], *[[0] * 4] * 3], np.float32)
_BIASES = np.array([-0.2, -0.85, -3.0, 0.0, -50.0, 1.0], np.float32)
_PRESENCE = np.array([4, 4, -2, 4, -6, 0], np.float32)
_SEEN = np.zeros((4, _CONDITION), np.float32)
_SEEN[1, 2] = 200.0
_FLOAT = TensorProto.FLOAT


def network(
    nodes: list[Any],
    inputs: dict[str, tuple[int, list[Any]]],
    outputs: dict[str, list[Any]],
    constants: dict[str, NDArray[Any]],
) -> bytes:
    """A serialised ONNX network, checked; outputs are float32."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, _FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _encoder() -> bytes:
    """Features as the tiny bundle's; the coarse map is their mean over 4 x 4 x 4 voxels."""
    four = [4, 4, 4]
    return network(
        [
            helper.make_node("Conv", ["image", "weights"], ["features"]),
            helper.make_node("AveragePool", ["features"], ["bottom"], kernel_shape=four, strides=four),
        ],
        {"image": (_FLOAT, [1, 5, "i", "j", "k"])},
        {"features": [1, 4, "i", "j", "k"], "bottom": [1, 4, "a", "b", "c"]},
        {"weights": _WEIGHTS.reshape(4, 5, 1, 1, 1)},
    )


def _decoder(vectors: NDArray[np.float32] = _VECTORS) -> bytes:
    node = helper.make_node
    nodes = [
        node("Cast", ["present"], ["some"], to=_FLOAT),
        node("Unsqueeze", ["some", "last_two"], ["share"]),
        node("Mul", ["condition", "share"], ["shared"]),
        node("ReduceSum", ["shared", "one"], ["sum"], keepdims=0),
        node("ReduceSum", ["share", "one"], ["count"], keepdims=0),
        node("Div", ["sum", "count"], ["mean"]),
        node("MatMul", ["mean", "W"], ["vectors"]),
        node("MatMul", ["mean", "b"], ["biases"]),
        node("ReduceMean", ["bottom"], ["seen"], axes=[2, 3, 4], keepdims=0),
        node("MatMul", ["seen", "S"], ["shown"]),
        node("Add", ["shown", "p"], ["weights"]),
        node("Unsqueeze", ["weights", "two"], ["column"]),
        node("MatMul", ["mean", "column"], ["wide"]),
        node("Squeeze", ["wide", "two"], ["presence"]),
    ]
    inputs = {
        "bottom": (_FLOAT, [1, 4, "i", "j", "k"]),
        "condition": (_FLOAT, [1, 5, "T", _CONDITION]),
        "present": (TensorProto.BOOL, [1, 5]),
    }
    outputs = {"vectors": [1, "T", 4], "biases": [1, "T"], "presence": [1, "T"]}
    constants = {"W": vectors, "b": _BIASES, "S": _SEEN, "p": _PRESENCE[None]}
    axes = {"last_two": [2, 3], "one": [1], "two": [2]}
    return network(
        nodes, inputs, outputs, {**constants, **{name: np.array(n, np.int64) for name, n in axes.items()}}
    )


def _text() -> bytes:
    """The normalised sum of words."""
    words = np.zeros((len(WORDS), _CONDITION), np.float32)
    words[WORDS.index("[UNK]"), _ELSE] = 1
    words[WORDS.index("big"), _ELSE] = 0.1
    words[WORDS.index("."), _ELSE] = 0.5  # a written sentence is near a row, and not the row
    for word, entry in _MEANINGS.items():
        words[WORDS.index(word), entry] = 1
    node = helper.make_node
    return network(
        [
            node("Gather", ["words", "ids"], ["each"]),
            node("ReduceSum", ["each", "one"], ["sum"], keepdims=0),
            node("ReduceL2", ["sum"], ["length"], axes=[1]),
            node("Div", ["sum", "length"], ["condition"]),
        ],
        {"ids": (TensorProto.INT64, [1, "L"])},
        {"condition": [1, _CONDITION]},
        {"words": words, "one": np.array([1], np.int64)},
    )


def _tokenizer() -> bytes:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    made = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made.to_str().encode()


def bank_rows() -> NDArray[np.float32]:
    """The bank, (5 channels, rows, condition): every channel asks in the same words."""
    return np.tile(np.eye(len(ASKED), _CONDITION, dtype=np.float32), (5, 1, 1))


def npy(values: NDArray[Any]) -> bytes:
    """The bytes of a `.npy` file."""
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def tiny_instructions() -> dict[str, Any]:
    """`instructions` of the manifest, as JSON."""

    def tensor(name: str, dtype: str, *shape: int) -> dict[str, Any]:
        return {"name": name, "dtype": dtype, "shape": list(shape)}

    return {
        "decoder": {
            "file": "decoder.onnx",
            "inputs": [
                tensor("bottom", "float32", 1, 4, 0, 0, 0),
                tensor("condition", "float32", 1, 5, 0, _CONDITION),
                tensor("present", "bool", 1, 5),
            ],
            "outputs": [
                tensor("vectors", "float32", 1, 0, 4),
                tensor("biases", "float32", 1, 0),
                tensor("presence", "float32", 1, 0),
            ],
            "multiple_of": 1,
        },
        "text": {
            "network": {
                "file": "text.onnx",
                "inputs": [tensor("ids", "int64", 1, 0)],
                "outputs": [tensor("condition", "float32", 1, _CONDITION)],
                "multiple_of": 1,
            },
            "tokenizer": "tokenizer.json",
            "most_tokens": MOST_TOKENS,
        },
        "bank": "bank.npy",
        "asked": list(ASKED),
        "least_similarity": 0.5,
        "least_margin": 0.1,
        "own_similarity": 0.75,
        "called": {"shell": ["shell", "outer part"], "core": ["core"], "lesion": ["lesion", "spot"]},
    }


def make_promptable(
    folder: Path,
    change: Callable[[dict[str, Any]], object] | None = None,
    files: dict[str, bytes] | None = None,
) -> Path:
    """Write the bundle; its hashes are right.

    Args:
        folder: Where; made when absent.
        change: Changes the decoded `bundle.json` in place before it is written; nothing checks it then.
        files: Files that take the place of the tiny ones, or lie beside them.
    """

    def with_instructions(document: dict[str, Any]) -> None:
        document["name"] = "tiny-promptable"
        document["instructions"] = tiny_instructions()
        document["encoder"]["outputs"].append(
            {"name": "bottom", "dtype": "float32", "shape": [1, 4, 0, 0, 0]}
        )
        for target in document["targets"][1:]:
            target.update(vector=[], bias=0.0)
        if change is not None:
            change(document)

    made = {
        "decoder.onnx": _decoder(),
        "text.onnx": _text(),
        "tokenizer.json": _tokenizer(),
        "bank.npy": npy(bank_rows()),
        **(files or {}),
    }
    return make_bundle(folder, _encoder(), with_instructions, made)
