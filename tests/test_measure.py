"""Millilitres, unions, border contact, and when a scan is not a head."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from runtime.bundle import Bundle
from runtime.content import slice_content
from runtime.kernels import open_kernels
from runtime.stages.measure import Measurement, coverage, measure
from runtime.structure import ModelIdentity
from runtime.volume import Affine, Labels
from tests.tiny_bundle import tiny_manifest

MANIFEST = tiny_manifest()
BUNDLE = Bundle(Path(), MANIFEST, ModelIdentity("tiny", "1", "0" * 64, "0"))
BRAIN = MANIFEST.structures[3]
NAMES = {1: "shell", 2: "core", 5: "lesion"}
OBLIQUE = np.array([[0.8, -1.2, 0, 5], [0.6, 1.6, 0, 6], [0, 0, 3.0, 7], [0, 0, 0, 1]])


def labels(affine: Affine = OBLIQUE) -> Labels:
    voxels = np.zeros((8, 9, 10), np.uint8)
    voxels[2:6, 2:6, 2:6] = 1
    voxels[3, 3, 3:5] = 2
    return Labels(voxels, affine, NAMES)


def measured(made: Labels) -> dict[str, Measurement]:
    return {
        item.structure.name: item
        for item in measure(made, slice_content(made.voxels, open_kernels()), BUNDLE, MANIFEST.structures)
    }


def test_measure_counts_millilitres_on_an_oblique_grid() -> None:
    found = measured(labels())
    voxel_ml = 1.0 * 2.0 * 3.0 / 1000
    assert (found["shell"].voxels, found["core"].voxels, found["lesion"].voxels) == (62, 2, 0)
    assert found["shell"].volume_ml == pytest.approx(62 * voxel_ml)
    assert found["lesion"].volume_ml == 0.0


def test_measure_sums_a_union_of_its_parts() -> None:
    assert measured(labels())["brain"].voxels == 64


def test_measure_takes_only_what_is_asked_for() -> None:
    made = labels()
    (only,) = measure(made, slice_content(made.voxels, open_kernels()), BUNDLE, (BRAIN,))
    assert only.structure is BRAIN


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("end", [0, -1])
def test_measure_sees_border_contact_on_every_side(axis: int, end: int) -> None:
    made = labels()
    index = [4, 4, 4]
    index[axis] = end
    made.voxels[tuple(index)] = 2
    found = measured(made)
    assert found["core"].touches_border
    assert found["brain"].touches_border
    assert not found["shell"].touches_border


def brain(volume_ml: float, touches_border: bool = False) -> Measurement:
    return Measurement(BRAIN, 1, volume_ml, touches_border)


def test_coverage_refuses_below_60_ml() -> None:
    assert coverage(brain(0.0)) == (False, ("only 0 ml look like brain",))
    assert coverage(brain(59.9))[0] is False
    assert coverage(brain(60.0))[0] is True


@pytest.mark.parametrize(
    ("volume_ml", "warned"), [(60.0, True), (599.9, True), (600.0, False), (2300.0, False), (2300.1, True)]
)
def test_coverage_warns_outside_of_human_brains(volume_ml: float, warned: bool) -> None:
    shown, warnings = coverage(brain(volume_ml))
    assert shown
    assert [("outside" in warning) for warning in warnings] == [True] * warned


def test_coverage_warns_when_the_brain_is_cut() -> None:
    assert coverage(brain(1200.0, touches_border=True)) == (
        True,
        ("the brain reaches the border of the scan: part of it was not scanned",),
    )


def test_measurement_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        brain(1.0).voxels = 2  # type: ignore[misc]
