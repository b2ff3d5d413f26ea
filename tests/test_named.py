"""Which structures a text names."""

from __future__ import annotations

import pytest

from runtime.language.named import listed, named

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


LISTS = {
    "lesion": ("lesion", "tumour"),
    "oedema": ("oedema", "swelling around the tumour"),
    "wm": ("white matter",),
}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Outline the lesion and the oedema.", {"lesion": "lesion", "oedema": "oedema"}),
        ("white matter, Tumour & OEDEMA", {"wm": "white matter", "lesion": "tumour", "oedema": "oedema"}),
        ("please show me lesion/oedema in this MR scan", {"lesion": "lesion", "oedema": "oedema"}),
        (
            "the tumour, swelling around the tumour",
            {"lesion": "tumour", "oedema": "swelling around the tumour"},
        ),
        ("lesion, tumour and lesion", {}),  # one structure
        ("the lesion", {}),
        ("the lesion, not the oedema", {}),
        ("lesion but no oedema", {}),
        ("the lesion with its oedema", {}),
        ("lesion or oedema", {}),
        ("segment lesion oedema", {}),
        ("lesion, oedema white matter", {}),
        ("the lesion and the oedema except white matter", {}),
        ("the left lesion and the oedema", {}),
        ("", {}),
    ],
)
def test_listed_reads_lists_and_nothing_else(text: str, found: dict[str, str]) -> None:
    assert listed(text, LISTS) == found
    assert list(listed(text, LISTS)) == list(found)


def test_listed_takes_no_name_of_several_structures() -> None:
    assert listed("white matter and lateral ventricles", CALLED) == {
        "white": "white matter",
        "lateral": "lateral ventricles",
    }
    assert listed("white matter and ventricles", CALLED) == {}
    assert listed("white matter and ventricles", {}) == {}
