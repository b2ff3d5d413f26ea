"""A further answer labels a part of the scan again, and is what labelling everything would give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from runtime import Session
from runtime import answer as answer_module
from tests.test_prompt_session import same
from tests.tiny_bundle import make_bundle
from tests.tiny_promptable import make_promptable


@pytest.mark.parametrize("connected", [[], ["core"], ["brain"]])
def test_answers_are_those_of_labelling_everything(
    axial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connected: list[str]
) -> None:
    folder = make_promptable(tmp_path / "b", lambda document: document.update(connected=connected))
    windows = list[Any]()
    real = answer_module.relabel_window

    def everything(labels: Any, window: Any, *given: Any) -> None:
        windows.append(np.prod([last - first for first, last in window]) / labels.size)
        real(labels, tuple((0, side) for side in labels.shape), *given)

    with Session(folder, "cpu", 1) as session:
        session.segment(axial)
        asked: list[Any] = [
            "core",
            "big core",
            "big shell",
            ["big core", "lesion"],
            "big core the shell shell",
        ]
        found = [session.segment(instruction=text) for text in asked]
        monkeypatch.setattr(answer_module, "relabel_window", everything)
        whole = [session.segment(instruction=text) for text in asked]
    for one, other in zip(found, whole, strict=True):
        assert same(one, other)
        assert one.measurements == other.measurements
        assert np.array_equal(one._segmented.labels.voxels, other._segmented.labels.voxels)
    assert min(windows) < 0.1


def test_first_and_further_answers_clean_alike(axial: Path, tmp_path: Path) -> None:
    folder = make_promptable(tmp_path / "b", lambda document: document.update(connected=["core"]))
    fixed = make_bundle(tmp_path / "f", change=lambda document: document.update(connected=["core"]))
    with Session(folder, "cpu", 1) as session, Session(fixed, "cpu", 1) as plain:
        assert same(session.segment(axial), plain.segment(axial))
        first = session.segment(axial, instruction="big core")
        session.segment(instruction="shell")
        assert same(session.segment(instruction="big core"), first)


def bridged(path: Path) -> str:
    """Two cores in a shell, and between them what only a big core holds."""
    voxels = np.zeros((40, 40, 40), np.int16)
    voxels[6:34, 6:34, 6:34] = 80
    voxels[9:18, 14:26, 14:26] = voxels[25:31, 14:26, 14:26] = 160
    voxels[18:25, 16:24, 16:24] = 105
    nib.save(nib.Nifti1Image(voxels, np.diag([2.5, 2.5, 2.5, 1.0])), path)  # type: ignore[attr-defined]
    return f"T1={path}"


def test_cleaning_sees_the_whole_of_what_was_instructed(tmp_path: Path) -> None:
    folder = make_promptable(tmp_path / "b", lambda document: document.update(connected=["core"]))
    study = bridged(tmp_path / "t1.nii.gz")
    with Session(folder, "cpu", 1) as session:
        plain = session.segment(study, targets=["core"])
        big = session.segment(instruction="big core")
        first = session.segment(study, instruction="big core")
        again = session.segment(targets=["core"])
    near, far = np.s_[:, :, :18], np.s_[:, :, 26:]  # files keep the first axis last
    assert plain.labels.voxels[near].any()
    assert not plain.labels.voxels[far].any()  # removed: apart from the larger one
    assert any("apart from its largest piece" in note for note in plain.report.assumptions)
    assert big.labels.voxels[far].any()  # one piece now, so the removed voxels are back
    assert same(big, first)
    assert same(again, plain)
