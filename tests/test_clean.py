"""A structure of one piece loses its stray pieces, and the result says so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from runtime import Session
from runtime.bundle import open_bundle
from runtime.errors import BundleError
from runtime.kernels import open_kernels
from runtime.stages.clean import clean
from tests.tiny_bundle import head_plan, make_bundle, write_head


def test_clean_keeps_the_largest_piece_of_a_union_and_says_what_went(tmp_path: Path) -> None:
    bundle = open_bundle(make_bundle(tmp_path, change=lambda document: document.update(connected=["brain"])))
    shell, core, _ = bundle.parts(bundle.structure("brain"))
    voxels = np.zeros((20, 20, 30), np.uint8)
    voxels[2:10, 2:10, 2:10] = shell
    voxels[4:6, 4:6, 10:14] = core  # another label, but it touches
    kept = voxels.copy()
    voxels[15:17, 15:17, 15:20] = core  # 20 voxels on their own
    assert clean(voxels, 0.25, bundle, open_kernels()) == (
        "removed 5.00 ml labelled brain apart from its largest piece",
    )
    assert np.array_equal(voxels, kept)
    assert clean(voxels, 0.25, bundle, open_kernels()) == ()


def test_clean_touches_nothing_the_bundle_does_not_name(tmp_path: Path) -> None:
    bundle = open_bundle(make_bundle(tmp_path))
    voxels = np.random.default_rng(0).integers(0, 3, (9, 9, 9), np.uint8)
    before = voxels.copy()
    assert clean(voxels, 1.0, bundle, open_kernels()) == ()
    assert np.array_equal(voxels, before)


def test_bundle_with_an_unknown_connected_structure_is_refused(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path, change=lambda document: document.update(connected=["liver"]))
    with pytest.raises(BundleError, match="connected"):
        open_bundle(folder)


def test_report_counts_the_stage(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b", change=lambda document: document.update(connected=["brain"]))
    write_head(tmp_path / "in", head_plan(spacing_mm=(4.0, 3.0, 3.0)))
    with Session(folder, "cpu", 1) as session:
        session.segment(tmp_path / "in").save(tmp_path / "out")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert "clean" in report["seconds"]
    assert not any("largest piece" in note for note in report["assumptions"])
