"""What a vector asks for, and what is decoded from it: by hand, and refused where numbers cannot be true."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.bundle import Bundle, open_bundle
from runtime.engines.choose import open_engine
from runtime.errors import BundleError
from runtime.stages.condition import bank_vectors, wanted
from runtime.stages.decode import decode
from tests.tiny_bundle import make_bundle
from tests.tiny_promptable import bank_rows, make_promptable

ALL = np.ones(5, np.bool_)
T1_ONLY = np.array([True, False, False, False, False])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(make_promptable(tmp_path_factory.mktemp("promptable")))


def vector(*values: float) -> NDArray[np.float32]:
    made = np.zeros(6, np.float32)
    made[: len(values)] = values
    return made / np.linalg.norm(made).astype(np.float32)


@pytest.mark.parametrize(
    ("given", "target", "similarity", "runner_up", "margin", "is_clear"),
    [
        (vector(0, 1), "core", 1.0, "shell", 1.0, True),
        (vector(0, 0, 0, 0, 1), "", 1.0, "shell", 1.0, True),
        (vector(3, 4), "core", 0.8, "shell", 0.2, True),
        (vector(4, 4.1), "core", 4.1 / math.hypot(4, 4.1), "shell", 0.1 / math.hypot(4, 4.1), False),
        (vector(0, 3, 0, 0, 0, 7.2), "core", 3 / 7.8, "shell", 3 / 7.8, False),
        (vector(-1, -1, -1, -1, -1), "shell", -(0.2**0.5), "core", 0.0, False),
        # The brain is made of shell, core and lesion: it is no rival of theirs, nor are they of it.
        (vector(0, 4, 0, 3), "core", 0.8, "shell", 0.8, True),
        (vector(3, 3, 0, 4), "brain", 4 / 34**0.5, "", 4 / 34**0.5, True),
    ],
)  # fmt: skip
def test_wanted_is_the_nearest_row_unless_another_is_near(
    bundle: Bundle,
    given: NDArray[np.float32],
    target: str,
    similarity: float,
    runner_up: str,
    margin: float,
    is_clear: bool,
) -> None:
    found = wanted(given, bundle, ALL)
    assert (found.target, found.runner_up, found.is_clear) == (target, runner_up, is_clear)
    assert found.similarity == pytest.approx(similarity, abs=1e-6)
    assert found.margin == pytest.approx(margin, abs=1e-6)


@pytest.mark.parametrize(
    ("given", "is_clear", "is_near"),
    [
        (vector(0, 3, 0, 0, 0, 2), True, True),
        (vector(0, 2, 0, 0, 0, 2), True, False),  # clear, but half of it lies off every row
        (vector(4, 4.1), False, False),
    ],
)
def test_wanted_is_near_when_the_vector_is_almost_the_row(
    bundle: Bundle, given: NDArray[np.float32], is_clear: bool, is_near: bool
) -> None:
    found = wanted(given, bundle, ALL)
    assert (found.is_clear, found.is_near) == (is_clear, is_near)


def test_wanted_compares_with_the_mean_over_the_channels_that_are_there(bundle: Bundle) -> None:
    rows = bank_rows()
    rows[1:, [0, 1]] = rows[1:, [1, 0]]  # other channels call the shell core
    odd = dataclasses.replace(bundle, bank=rows)
    assert wanted(vector(1), odd, T1_ONLY).target == "shell"
    assert wanted(vector(1), odd, ~T1_ONLY).target == "core"
    both = wanted(vector(1), odd, np.array([True, True, True, False, False]))
    assert (both.target, both.runner_up) == ("core", "shell")
    assert both.similarity == pytest.approx(2 / 5**0.5)
    assert both.margin == pytest.approx(1 / 5**0.5)


def test_wanted_survives_rows_that_cancel_out(bundle: Bundle) -> None:
    rows = bank_rows()
    rows[1] = -rows[0]
    found = wanted(vector(1), dataclasses.replace(bundle, bank=rows), np.array([True, True, *[False] * 3]))
    assert (found.similarity, found.is_clear) == (0.0, False)


def test_bank_refuses_a_bundle_without_one_and_a_vector_of_another_length(
    bundle: Bundle, tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match="has no bank of conditions"):
        bank_vectors(open_bundle(make_bundle(tmp_path)), ["core"])
    with pytest.raises(BundleError, match="does not fit the bank"):
        wanted(np.ones(5, np.float32), bundle, ALL)
    assert bank_vectors(bundle, ["core", ""]).tolist() == [[[0, 1, *[0] * 4], [*[0] * 4, 1, 0]]] * 5


def bottom(flair: float = 0.0) -> NDArray[np.float32]:
    made = np.ones((1, 4, 2, 3, 2), np.float32)
    made[:, 1] = flair
    return made


def test_decode_gives_vector_bias_and_presence(bundle: Bundle) -> None:
    with open_engine(bundle.path("decoder.onnx"), "cpu", 1) as engine:
        core = decode("core", np.tile(vector(0, 1), (5, 1)), bottom(), T1_ONLY, engine, bundle.manifest)
        mixed = np.stack([vector(1), *[vector(0, 1)] * 4])
        absent = decode("core", mixed, bottom(), ~T1_ONLY, engine, bundle.manifest)
        lesion = [
            decode("lesion", np.tile(vector(0, 0, 1), (5, 1)), bottom(f), ALL, engine, bundle.manifest)
            for f in (0.0, 0.01, 0.02, 10.0)
        ]
    assert core == absent
    assert (core.target.structure, core.target.vector) == ("core", (2.0, 0.0, 0.0, 0.0))
    assert core.target.bias == np.float32(-0.85)
    assert core.presence == pytest.approx(1 / (1 + math.exp(-4)))
    chances = [1 / (1 + math.exp(-n)) for n in (-2, 0, 2, 1998)]
    assert [item.presence for item in lesion] == pytest.approx(chances)
    assert lesion[3].presence == 1.0


class Answers:
    """A decoder that gives what it is told to."""

    def __init__(self, **change: Any) -> None:
        good = {
            "vectors": np.ones((1, 1, 4), np.float32),
            "biases": np.zeros((1, 1), np.float32),
            "presence": np.zeros((1, 1), np.float32),
        }
        self._made = {name: value for name, value in {**good, **change}.items() if value is not None}

    def run(self, inputs: dict[str, Any]) -> dict[str, Any]:
        assert inputs["condition"].shape == (1, 5, 1, 6)
        assert inputs["present"].shape == (1, 5)
        return self._made


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vectors": None}, "gave nothing for 'vectors'"),
        ({"vectors": np.ones((1, 4), np.float32)}, r"gave \(1, 4\) for 'vectors'"),
        ({"biases": np.ones((1, 2), np.float32)}, "for 'biases'"),
        ({"presence": None}, "gave nothing for 'presence'"),
        ({"vectors": np.full((1, 1, 4), np.nan, np.float32)}, "absurd numbers"),
        ({"vectors": np.full((1, 1, 4), 2e6, np.float32)}, "absurd numbers"),
        ({"biases": np.full((1, 1), -np.inf, np.float32)}, "absurd numbers"),
        ({"presence": np.full((1, 1), np.nan, np.float32)}, "absurd numbers"),
    ],
)
def test_decode_refuses_a_network_that_lies(bundle: Bundle, change: dict[str, Any], words: str) -> None:
    condition, engine = np.tile(vector(1), (5, 1)), Answers(**change)
    with pytest.raises(BundleError, match=rf"tiny-promptable: .*{words}.*export the bundle again"):
        decode("shell", condition, bottom(), ALL, engine, bundle.manifest)  # type: ignore[arg-type]


@pytest.mark.parametrize(("log_odds", "presence"), [(np.inf, 1.0), (-np.inf, 0.0), (-1e30, 0.0)])
def test_decode_takes_any_certainty(bundle: Bundle, log_odds: float, presence: float) -> None:
    engine: Any = Answers(presence=np.full((1, 1), log_odds, np.float32))
    found = decode("shell", np.tile(vector(1), (5, 1)), bottom(), ALL, engine, bundle.manifest)
    assert found.presence == presence
