"""Which structures a text names."""

from __future__ import annotations

import pytest

from runtime.language.named import named

CALLED = {
    "white": ("white matter", "WM"),
    "cerebellar_white": ("cerebellar white matter", "white matter of the (lower) part"),
    "third": ("ventricles", "3rd ventricle"),
    "lateral": ("ventricles", "Lateral Ventricles"),
}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("the kidney", []),
        ("Segment the White  Matter.", [{"white"}]),
        ("cerebellar\nwhite matter, then wm", [{"cerebellar_white"}, {"white"}]),
        ("white matter of the (lower) part", [{"cerebellar_white"}]),
        ("swm, wmh and ventriclesque", []),
        ("ventricles", [{"third", "lateral"}]),
        ("ventricles: lateral ventricles", [{"third", "lateral"}, {"lateral"}]),
    ],
)
def test_named_finds_whole_names_longest_first(text: str, found: list[set[str]]) -> None:
    assert [set(each) for each in named(text, CALLED)] == found


def test_named_knows_nothing_without_words() -> None:
    assert named("white matter", {}) == ()
    assert named("white matter", {"white": ()}) == ()
