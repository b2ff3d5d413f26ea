"""The rules of a bundle whose network comes from elsewhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from runtime.bundle import Channel, FindingWords, Manifest, Target
from runtime.language.vocabulary import vocabulary_of
from runtime.manifest_rules import check_manifest
from runtime.schema import SchemaError
from tests.recipes import NNUNET, RECIPE, foreign_manifest
from tests.tiny_bundle import tiny_manifest


def channel(
    kind: Any, low: float = 0.0, high: float = 1.0, clamp: tuple[float, float] = (-99, 99)
) -> Channel:
    return Channel("T1", kind, low, high, clamp)


def change(**other: Any) -> Callable[[Manifest], Manifest]:
    return lambda manifest: dataclasses.replace(manifest, **other)


def recipe_with(**other: Any) -> Callable[[Manifest], Manifest]:
    return change(recipe=dataclasses.replace(NNUNET, **other))


def test_a_foreign_manifest_obeys_the_rules() -> None:
    check_manifest(foreign_manifest(NNUNET))
    check_manifest(foreign_manifest(NNUNET, (1, 8, 8)))
    check_manifest(foreign_manifest(RECIPE, spacing_mm=(0.0, 1.0, 1.0)))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (recipe_with(axes="RAA"), "axes"),
        (recipe_with(axes="RAS", order=(1, 0, 2)), "order already"),
        (recipe_with(order=(0, 0, 2)), "permutation"),
        (recipe_with(mirror=(0, 0)), "mirror"),
        (recipe_with(mirror=(3,)), "mirror"),
        (change(channels=(channel("foreground_mean", 0, 0.5),)), "foreground_mean"),
        (change(channels=(channel("mean_std", 0, 2),)), "low 0 and high 1"),
        (change(targets=tuple(Target(n, (), 0.0) for n in ("", "shell", "core"))), "every structure"),
        (change(targets=tuple(Target(n, (), 1.0) for n in ("", "shell", "core", "lesion"))), "bias 0"),
        (
            change(targets=tuple(Target(n, (1.0,), 0.0) for n in ("", "shell", "core", "lesion"))),
            "does not fit",
        ),
        (change(recipe=None), "brain"),
    ],
)
def test_a_foreign_manifest_that_contradicts_itself_is_refused(
    changed: Callable[[Manifest], Manifest], reason: str
) -> None:
    with pytest.raises(SchemaError, match=reason):
        check_manifest(changed(foreign_manifest(NNUNET)))


def test_a_body_is_measured_on_the_scan_and_new_kinds_need_a_recipe() -> None:
    asked = (channel("body_z_score"),)
    with pytest.raises(SchemaError, match="measured on the scan"):
        check_manifest(foreign_manifest(RECIPE, channels=(*asked, *tiny_manifest().channels[1:])))
    with pytest.raises(SchemaError, match="needs a recipe"):
        check_manifest(dataclasses.replace(tiny_manifest(), channels=(*asked, *tiny_manifest().channels[1:])))


def test_a_finding_has_a_side_only_where_there_is_a_brain() -> None:
    plain = foreign_manifest(NNUNET)
    words = vocabulary_of(plain)
    check_manifest(dataclasses.replace(plain, vocabulary=words))
    finding = dataclasses.replace(words, finding=FindingWords("lesion", "lesion"))
    with pytest.raises(SchemaError, match="finding: its side"):
        check_manifest(dataclasses.replace(plain, vocabulary=finding))
