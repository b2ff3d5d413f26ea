"""A bundle with instructions is not believed either: each contradiction is its own clear error."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.bundle import dump_manifest, open_bundle
from runtime.errors import BundleError
from tests.tiny_bundle import make_bundle
from tests.tiny_promptable import ASKED, bank_rows, make_promptable, npy

Change = Callable[[dict[str, Any]], object]


def refused(folder: Path, words: str) -> None:
    with pytest.raises(BundleError, match=words) as caught:
        open_bundle(folder)
    assert str(folder) in str(caught.value)
    assert re.search(r"; (copy|export|do not use) ", str(caught.value))


def test_bundle_with_instructions_reads_back_what_it_dumps(tmp_path: Path) -> None:
    bundle = open_bundle(make_promptable(tmp_path))
    text = (tmp_path / "bundle.json").read_bytes()
    assert json.loads(dump_manifest(bundle.manifest)) == json.loads(text)
    given = bundle.manifest.instructions
    assert given is not None
    assert given.asked == ASKED
    assert given.text.most_tokens == 8
    assert bundle.bank is not None
    assert bundle.bank.flags.owndata
    assert np.array_equal(bundle.bank, bank_rows())
    assert [target.vector for target in bundle.manifest.targets[1:]] == [()] * 3


def test_bundle_without_instructions_says_nothing_about_them(tmp_path: Path) -> None:
    bundle = open_bundle(make_bundle(tmp_path))
    assert bundle.bank is None
    assert b"instructions" not in dump_manifest(bundle.manifest)
    folder = make_bundle(tmp_path / "null", change=lambda d: d.update(instructions=None))
    assert open_bundle(folder).manifest.instructions is None


def inside(path: str, **values: object) -> Change:
    """Changes an object inside `instructions`."""

    def change(document: dict[str, Any]) -> None:
        found: Any = document["instructions"]
        for name in filter(None, path.split(".")):
            found = found[int(name) if name.isdigit() else name]
        found.update(values)

    return change


def bottom(**values: object) -> Change:
    return lambda document: document["encoder"]["outputs"][1].update(values)


def target(index: int, **values: object) -> Change:
    return lambda document: document["targets"][index].update(values)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["instructions"].update(prompt="x"), "unknown key 'prompt'"),
        (lambda d: d["instructions"].pop("bank"), "missing key 'bank'"),
        (lambda d: d.update(instructions=[]), r"\$\.instructions: expected an object"),
        (inside("", asked=["shell", "core", "lesion", "brain"]), 'last one must be ""'),
        (inside("", asked=["", "shell", "core", "lesion", ""]), "a name appears twice"),
        (inside("", asked=["shell", "core", "lesion", "core", ""]), "a name appears twice"),
        (inside("", asked=["shell", "core", "lesion", "kidney", ""]), "a name is no structure"),
        (inside("", asked=["shell", "core", "brain", ""]), "a structure is missing"),
        (inside("", asked=[]), 'last one must be ""'),
        (inside("", least_similarity=1.5), "least_similarity outside"),
        (inside("", least_similarity=float("nan")), "not a finite number"),
        (inside("", least_margin=-0.1), "least_margin outside"),
        (inside("", own_similarity=1.01), "own_similarity not in least_similarity…1"),
        (inside("", own_similarity=0.49), "own_similarity not in least_similarity…1"),
        (inside("", called={"kidney": ["kidney"]}), "called: a name is no structure"),
        (inside("", called={"core": [" "]}), "called: core has too many names, or an empty"),
        (inside("", called={"core": ["c" * 129]}), "called: core has too many names, or an empty"),
        (inside("text", most_tokens=0), "most_tokens outside 1…512"),
        (inside("text", most_tokens=513), "most_tokens outside 1…512"),
        (inside("text", most_tokens=1.5), "expected int"),
        (inside("text", tokenizer="other.json"), "'other.json' is named but not listed"),
        (inside("", bank="other.npy"), "'other.npy' is named but not listed"),
        (inside("decoder", file="other.onnx"), "'other.onnx' is named but not listed"),
        (inside("text.network", file="../text.onnx"), "'../text.onnx' is named but not listed"),
        (inside("text.network", outputs=[]), "no credible length"),
        (inside("text.network.outputs.0", shape=[1, 5000]), "no credible length"),
        (inside("text.network.outputs.0", shape=[]), "no credible length"),
        (inside("text.network.inputs.0", dtype="float32"), r"network\.inputs: must be ids int64 \[1, 0\]"),
        (inside("text.network.inputs.0", name="words"), r"text\.network\.inputs: must be ids"),
        (inside("text.network", multiple_of=2), r"text\.network: multiple_of is not 1"),
        (inside("decoder", multiple_of=4), r"decoder: multiple_of is not 1"),
        (inside("decoder.inputs.0", shape=[1, 3, 0, 0, 0]), r"inputs: must be bottom float32 \[1, 4,"),
        (inside("decoder.inputs.1", shape=[1, 5, 0, 7]), r"decoder\.inputs: must be"),
        (inside("decoder.inputs.1", shape=[1, 4, 0, 6]), r"decoder\.inputs: must be"),
        (inside("decoder.inputs.2", dtype="int64"), r"decoder\.inputs: must be .* present bool \[1, 5\]"),
        (inside("decoder.inputs.2", dtype="int8"), "expected one of"),
        (inside("decoder.outputs.0", shape=[1, 0, 5]), r"outputs: must be vectors float32 \[1, 0, 4\]"),
        (inside("decoder.outputs.2", name="presences"), r"decoder\.outputs: must be"),
        (lambda d: d["instructions"]["decoder"]["inputs"].pop(), r"decoder\.inputs: must be"),
        (
            lambda d: d["instructions"]["decoder"]["inputs"].append(d["encoder"]["inputs"][0]),
            r"decoder\.inputs: must be",
        ),
        (bottom(name="map"), 'call the second output "bottom"'),
        (bottom(shape=[1, 0, 0, 0, 0]), r"bottom is not \(1, B, 0, 0, 0\)"),
        (bottom(shape=[1, 4, 0, 0]), r"bottom is not \(1, B, 0, 0, 0\)"),
        (bottom(dtype="float16"), r"bottom is not \(1, B, 0, 0, 0\)"),
        (bottom(dtype="int64"), "a dtype is no float"),
        (lambda d: d["encoder"]["outputs"][0].update(name="bottom"), 'call the second output "bottom"'),
        (lambda d: d["encoder"]["outputs"].pop(), 'one input and the outputs features and "bottom"'),
        (target(1, vector=[1, 0, 0, 0]), "'shell' is decoded, so its vector is empty"),
        (target(2, bias=0.5), "'core' is decoded, so its vector is empty"),
        (target(0, vector=[]), "vectors differ in length"),
        (lambda d: d.pop("instructions"), "one input and one output|vectors differ in length"),
    ],
)  # fmt: skip
def test_bundle_refuses_instructions_that_contradict_it(tmp_path: Path, change: Change, words: str) -> None:
    refused(make_promptable(tmp_path / "b", change), words)


def test_bundle_without_instructions_refuses_their_types(tmp_path: Path) -> None:
    change: Change = lambda d: d["encoder"]["inputs"][0].update(dtype="int64")  # noqa: E731
    refused(make_bundle(tmp_path / "b", change=change), "a dtype is no float")


def rows(**change: float) -> bytes:
    values = bank_rows()
    for where, value in change.items():
        values[tuple(int(n) for n in where.strip("v").split("_"))] = value
    return npy(values)


def lying(shape: tuple[int, ...]) -> bytes:
    """A header that says more than the file holds."""
    return npy(bank_rows()).replace(b"(5, 5, 6)", str(shape).encode())


class Unpickled:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("the bank was unpickled",))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no array of numbers"),
        (b"PK\x03\x04" + b"\0" * 64, "no array of numbers"),
        (npy(bank_rows())[:-4], "no array of numbers"),
        (npy(bank_rows())[:40], "no array of numbers"),
        (b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 200, "no array of numbers"),
        (lying((10**9, 10**9, 6)), "no array of numbers"),
        (npy(np.array([Unpickled()], object)), "no array of numbers"),
        (npy(bank_rows().astype(np.float64)), "not float32 of shape"),
        (npy(bank_rows().astype(">f4")), "not float32 of shape"),
        (npy(bank_rows()[:4]), "not float32 of shape"),
        (npy(bank_rows()[:, :4]), "not float32 of shape"),
        (npy(bank_rows()[..., None]), "not float32 of shape"),
        (rows(v0_0_0=np.nan), "length is not 1"),
        (rows(v0_0_0=np.inf), "length is not 1"),
        (rows(v0_0_0=1.01), "length is not 1"),
        (rows(v4_4_4=0.0), "length is not 1"),
    ],
)
def test_bundle_refuses_a_bank_that_is_none(tmp_path: Path, content: bytes, words: str) -> None:
    refused(make_promptable(tmp_path / "b", files={"bank.npy": content}), words)


def test_bundle_takes_a_bank_in_the_other_order(tmp_path: Path) -> None:
    folder = make_promptable(tmp_path, files={"bank.npy": npy(np.asfortranarray(bank_rows()))})
    bank = open_bundle(folder).bank
    assert bank is not None
    assert bank.flags.c_contiguous
    assert np.array_equal(bank, bank_rows())
