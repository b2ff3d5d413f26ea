"""The Python face: labels lie where the ball is, the model stays loaded, no output names the patient."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import runtime
from runtime import Session
from runtime.errors import ImageError, UsageError
from runtime.stages import align
from runtime.trust.running import Running
from runtime.volume import Labels
from tests.dicom_factory import SeriesPlan, uid
from tests.seg_phantom import positions, reread_with_highdicom
from tests.tiny_bundle import (
    BALL_CENTRE_MM,
    BALL_RADIUS_MM,
    CORE_CENTRE_MM,
    FLAIR_TAGS,
    T2_TAGS,
    expected_labels,
    head_plan,
    make_bundle,
    write_head,
)

SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
OBLIQUE = (0.98, 0.19899748742132398, 0.0, -0.1909379095, 0.9403067905, -0.2818178907)
CLEAR_MM = 4.5
"""Nearer to a border than 1.5 voxels of the tiny network a label may differ."""


def loaded(path: Path) -> Any:
    return nib.load(path)


def assert_on_the_ball(labels: Labels) -> None:
    wanted, clear = expected_labels(labels.voxels.shape, labels.affine, CLEAR_MM)
    assert clear.mean() > 0.5
    wrong = clear & (labels.voxels != wanted)
    assert not wrong.any(), f"{wrong.sum()} voxels away from every border are wrong"
    core = positions(labels.voxels == 2, labels.affine).mean(axis=0)
    assert np.allclose(core, CORE_CENTRE_MM, atol=0.5)
    whole = positions(labels.voxels > 0, labels.affine).mean(axis=0)
    assert np.allclose(whole, BALL_CENTRE_MM, atol=0.5)


def test_session_segments_in_four_lines(axial: Path, bundle: Path, tmp_path: Path) -> None:
    with runtime.Session(bundle=bundle, device="auto") as session:
        result = session.segment(str(axial))
        files = result.save(tmp_path / "out")
    assert [path.name for path in files] == [
        "brain.nii.gz",
        "labels.nii.gz",
        "labels.seg.dcm",
        "preview.png",
        "report.json",
    ]
    ball_ml = 4 / 3 * np.pi * BALL_RADIUS_MM**3 / 1000
    volumes = {item.structure.name: item.volume_ml for item in result.measurements}
    assert volumes["brain"] == pytest.approx(ball_ml, rel=0.03)
    assert volumes["brain"] == pytest.approx(volumes["shell"] + volumes["core"] + volumes["lesion"])


PLANS = {
    "axial": head_plan(),
    "sagittal": head_plan(SAGITTAL, spacing_mm=(2.0, 3.0, 2.5)),
    "oblique": head_plan(OBLIQUE, spacing_mm=(4.0, 2.0, 2.5)),
    "backwards": head_plan(SAGITTAL, slice_step=(1.0, 0.0, 0.0)),
    "ct": head_plan(OBLIQUE, modality="CT", tags={}),
    "big-endian": head_plan(syntax="big"),
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_session_labels_lie_on_the_ball(session: Session, tmp_path: Path, plan: SeriesPlan) -> None:
    write_head(tmp_path / "s", plan)
    result = session.segment(tmp_path / "s")
    assert_on_the_ball(result.labels)
    result.save(tmp_path / "o", ["nifti"])
    image = loaded(tmp_path / "o" / "labels.nii.gz")
    assert_on_the_ball(Labels(np.ascontiguousarray(np.asarray(image.dataobj)), image.affine, {}))


def test_session_seg_equals_nifti_for_an_oblique_series(session: Session, tmp_path: Path) -> None:
    write_head(tmp_path / "s", PLANS["oblique"])
    result = session.segment(tmp_path / "s")
    result.save(tmp_path / "o")
    found = reread_with_highdicom(tmp_path / "o" / "labels.seg.dcm")
    assert set(found) == {"shell", "core", "brain"}
    image = loaded(tmp_path / "o" / "labels.nii.gz")
    voxels = np.asarray(image.dataobj)
    union = loaded(tmp_path / "o" / "brain.nii.gz")
    assert np.array_equal(union.affine, image.affine)
    masks = {"shell": voxels == 1, "core": voxels == 2, "brain": np.asarray(union.dataobj) == 1}
    for name, mask in masks.items():
        index = (found[name] - image.affine[:3, 3]) @ np.linalg.inv(image.affine[:3, :3]).T
        assert np.abs(index - np.rint(index)).max() < 0.01  # positions are rounded to 0.01 mm
        from_seg = np.zeros(mask.shape, np.bool_)
        from_seg[tuple(np.rint(index).astype(int).T)] = True
        assert len(index) == mask.sum()
        assert np.array_equal(from_seg, mask)


def test_session_reads_nifti_and_answers_on_its_grid(session: Session, tmp_path: Path) -> None:
    write_head(tmp_path / "s", PLANS["oblique"])
    session.segment(tmp_path / "s").save(tmp_path / "o", ["nifti"])
    affine = loaded(tmp_path / "o" / "labels.nii.gz").affine
    shape = loaded(tmp_path / "o" / "labels.nii.gz").shape
    labels, _ = expected_labels(shape, affine, 0.0)
    nib.save(nib.Nifti1Image(labels.astype(np.int16) * 80, affine), tmp_path / "t1.nii.gz")
    result = session.segment(f"T1={tmp_path / 't1.nii.gz'}")
    assert_on_the_ball(result.labels)
    files = result.save(tmp_path / "n")
    assert "labels.seg.dcm" not in [path.name for path in files]
    assert np.array_equal(loaded(tmp_path / "n" / "labels.nii.gz").affine, affine)
    with pytest.raises(UsageError, match="needs a DICOM study"):
        result.save(tmp_path / "m", ["seg"])
    assert not (tmp_path / "m").exists()


def test_session_result_is_bit_equal_for_threads_and_runs(bundle: Path, tmp_path: Path) -> None:
    write_head(tmp_path / "s", PLANS["oblique"])
    found = []
    for threads in (1, 2):
        with Session(bundle, "cpu", threads) as session:
            found += [session.segment(tmp_path / "s").labels.voxels for _ in range(2)]
    assert all(np.array_equal(found[0], other) for other in found[1:])


def test_session_keeps_the_model_loaded(
    bundle: Path, axial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []
    real = Running.open

    def counting(*arguments: Any) -> Any:
        opened.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(Running, "open", counting)
    write_head(tmp_path / "s", PLANS["sagittal"])
    with Session(bundle, "cpu", 1) as session:
        first = session.segment(axial)
        second = session.segment(tmp_path / "s")
        again = session.segment(axial)
    assert len(opened) == 1
    assert first.labels.voxels.shape != second.labels.voxels.shape
    assert np.array_equal(first.labels.voxels, again.labels.voxels)


def test_session_goes_on_after_a_bad_study(session: Session, axial: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError):
        session.segment(tmp_path)
    assert session.segment(axial).labels.voxels.any()


def test_session_refuses_work_once_closed(bundle: Path, axial: Path) -> None:
    session = Session(bundle, "cpu", 1)
    session.segment(axial)
    session.close()
    session.close()
    with pytest.raises(UsageError, match="closed"):
        session.segment(axial)


def test_session_refuses_an_unknown_device_and_bad_threads(bundle: Path) -> None:
    with pytest.raises(UsageError, match="use auto, cpu or cuda"):
        Session(bundle, "gpu")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="threads"):
        Session(bundle, "cpu", -1)


def test_overrides_decide_what_a_series_shows(session: Session, tmp_path: Path) -> None:
    plan = dataclasses.replace(PLANS["axial"], tags={**T2_TAGS})
    write_head(tmp_path / "s", plan)
    series = uid("study", "t1")
    assert session.segment(tmp_path / "s").report.channels[0].modality == "T2"
    (channel,) = session.segment(tmp_path / "s", modalities={series: "T1c"}).report.channels
    assert channel.modality == "T1c"
    assert channel.reason == "set by the user (was T2)"
    with pytest.raises(UsageError, match="no series 9"):
        session.segment(tmp_path / "s", modalities={"9": "T1"})
    with pytest.raises(ImageError, match="no series shows"):
        session.segment(tmp_path / "s", modalities={series: "other"})


def both(folder: Path, **flair: Any) -> Path:
    """A T1 and a coarser FLAIR with a lesion."""
    write_head(folder, PLANS["axial"])
    plan = head_plan(SAGITTAL, spacing_mm=(5.0, 3.0, 3.0), name="flair", **{"tags": FLAIR_TAGS, **flair})
    write_head(folder, plan, lesion_mm=12.0)
    return folder


def test_session_uses_two_series_of_one_frame_at_their_own_resolution(
    session: Session, tmp_path: Path
) -> None:
    result = session.segment(both(tmp_path / "s"))
    channels = {channel.modality: channel for channel in result.report.channels}
    assert (channels["T1"].is_reference, channels["FLAIR"].is_reference) == (True, False)
    assert channels["FLAIR"].used
    assert "same frame of reference" in channels["FLAIR"].registration.method
    assert result.labels.voxels.shape == channels["T1"].shape
    mirrored = 2 * np.array(BALL_CENTRE_MM) - CORE_CENTRE_MM
    where = positions(result.labels.voxels == 5, result.labels.affine)
    assert np.allclose(where.mean(axis=0), mirrored, atol=1.0)
    lesion_ml = 4 / 3 * np.pi * 12.0**3 / 1000
    assert len(where) * result.labels.grid.voxel_volume_ml == pytest.approx(lesion_ml, rel=0.4)  # 5 mm slices


def test_session_drops_a_series_it_cannot_place_and_says_so(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise ImageError("the two images do not overlap from any start")

    monkeypatch.setattr(align, "align", refuse)
    folder = both(tmp_path / "s", tags={**FLAIR_TAGS, "FrameOfReferenceUID": uid("another frame")})
    result = session.segment(folder)
    alone = session.segment(folder, modalities={uid("study", "flair"): "other"})
    assert np.array_equal(result.labels.voxels, alone.labels.voxels)
    (warning,) = [text for text in result.report.warnings if "dropped" in text]
    assert warning.startswith("FLAIR was dropped: could not be registered: the two images do not overlap")
    assert warning.endswith("the result uses T1 only")
    used = {channel.modality: channel.used for channel in result.report.channels}
    assert used == {"T1": True, "FLAIR": False}
    json.loads(result.report.to_json())


def test_session_refuses_a_bundle_whose_required_series_was_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise ImageError("no overlap")

    monkeypatch.setattr(align, "align", refuse)
    folder = both(tmp_path / "s", tags={**FLAIR_TAGS, "FrameOfReferenceUID": uid("another frame")})
    needs = make_bundle(tmp_path / "b", change=lambda d: d["channels"][3].update(required=True))
    with Session(needs, "cpu", 1) as session, pytest.raises(ImageError, match="FLAIR scan is needed"):
        session.segment(folder)


def test_session_works_with_any_modality_alone_and_refuses_what_is_no_head(
    session: Session, tmp_path: Path
) -> None:
    write_head(tmp_path / "t2", dataclasses.replace(PLANS["axial"], tags=T2_TAGS))
    assert_on_the_ball(session.segment(tmp_path / "t2").labels)
    write_head(tmp_path / "flair", dataclasses.replace(PLANS["axial"], tags=FLAIR_TAGS))
    with pytest.raises(ImageError, match=r"not a head: only \d+ ml look like brain; give a study"):
        session.segment(tmp_path / "flair")
