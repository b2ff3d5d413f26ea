"""JSON becomes dataclasses strictly: what is not declared is refused, and the message says where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.manifest import Manifest
from runtime.schema import SchemaError, build


@dataclass(frozen=True)
class Leaf:
    name: str
    weight: float


@dataclass(frozen=True)
class Tree:
    kind: Literal["oak", "elm"]
    count: int
    tall: bool
    pair: tuple[int, float]
    leaves: tuple[Leaf, ...]
    notes: dict[str, str]
    parent: str | None = None


GOOD: dict[str, Any] = {
    "kind": "oak",
    "count": 3,
    "tall": True,
    "pair": [1, 2],
    "leaves": [{"name": "ä…", "weight": 1}, {"name": "b", "weight": -0.5}],
    "notes": {"a": "b"},
}


def changed(**values: object) -> dict[str, Any]:
    return {**GOOD, **values}


def test_schema_builds_nested_records() -> None:
    made = build(Tree, GOOD)
    leaves = (Leaf("ä…", 1.0), Leaf("b", -0.5))
    assert made == Tree("oak", 3, True, (1, 2.0), leaves, {"a": "b"})
    assert isinstance(made.leaves[0].weight, float)
    assert isinstance(made.pair[1], float)


def test_schema_accepts_null_only_where_declared() -> None:
    assert build(Tree, changed(parent=None)).parent is None
    assert build(Tree, changed(parent="root")).parent == "root"
    with pytest.raises(SchemaError, match=r"\$\.count"):
        build(Tree, changed(count=None))


def test_schema_gives_the_path_to_the_fault() -> None:
    with pytest.raises(SchemaError, match=r"\$\.leaves\[1\]\.weight: expected float, got str"):
        build(Tree, changed(leaves=[GOOD["leaves"][0], {"name": "b", "weight": "heavy"}]))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"colour": 1}, "unknown key 'colour'"),
        ({"kind": "ash"}, "expected one of"),
        ({"kind": ["oak"]}, "expected one of"),
        ({"count": 3.0}, "expected int, got float"),
        ({"count": True}, "expected int, got bool"),
        ({"tall": 1}, "expected bool, got int"),
        ({"pair": [1]}, "expected 2 items, got 1"),
        ({"pair": [1, True]}, "expected float, got bool"),
        ({"pair": "12"}, "expected a list"),
        ({"leaves": {}}, "expected a list"),
        ({"leaves": [[]]}, "expected an object"),
        ({"notes": []}, "expected an object"),
        ({"notes": {"a": 1}}, r"\$\.notes\.a: expected str"),
        ({"parent": 1}, "expected str"),
    ],
)
def test_schema_refuses_what_is_not_declared(values: dict[str, object], words: str) -> None:
    with pytest.raises(SchemaError, match=words):
        build(Tree, changed(**values))


def test_schema_refuses_a_missing_key() -> None:
    with pytest.raises(SchemaError, match=r"\$: missing key 'count'"):
        build(Tree, {key: value for key, value in GOOD.items() if key != "count"})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e39, 10**400, -(10**400)])
def test_schema_refuses_numbers_that_float32_cannot_hold(value: float) -> None:
    with pytest.raises(SchemaError, match=r"\$\.pair\[1\]: not a finite number of float32"):
        build(Tree, changed(pair=[1, value]))


@pytest.mark.parametrize("text", ["a\x1b[2J", "a\nb", "\0", "\ud800", "\u202e"])
def test_schema_refuses_text_that_commands_a_terminal(text: str) -> None:
    with pytest.raises(SchemaError, match="cannot be printed"):
        build(Tree, changed(parent=text))
    with pytest.raises(SchemaError, match="cannot be printed"):
        build(Tree, changed(notes={text: "a"}))


def test_schema_cuts_what_it_repeats() -> None:
    for values in ({"kind": "x" * 10_000}, {"y" * 10_000: 1}):
        with pytest.raises(SchemaError) as caught:
            build(Tree, changed(**values))
        assert len(str(caught.value)) < 200


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(max_examples=60)
@given(json_values)
def test_schema_raises_nothing_but_its_own_error(value: object) -> None:
    for kind in (Tree, Manifest):
        with pytest.raises(SchemaError):
            build(kind, value)
