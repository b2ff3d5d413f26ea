"""Which series feeds which channel, whose grid the labels are on, and what happens where scans disagree."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.bundle import Channel, Manifest
from runtime.errors import ImageError
from runtime.kernels import open_kernels
from runtime.stages import align
from runtime.stages.channels import choose_channels
from runtime.stages.normalise import channel_normalisation
from runtime.stages.place import place_channels
from runtime.study import Decision, Modality, Series, Study
from runtime.volume import Volume
from tests.tiny_bundle import tiny_manifest

KERNELS = open_kernels("cpu", 1)


def series(
    uid: str, modality: Modality, spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0), **other: Any
) -> Series:
    volume = Volume(np.zeros((4, 5, 6), np.int16), np.diag([*spacing_mm, 1.0]))
    return Series(uid, volume, Decision(modality, f"tags of {uid}"), **other)


def requiring(modality: Modality) -> Manifest:
    manifest = tiny_manifest()
    channels = (dataclasses.replace(c, required=c.modality == modality) for c in manifest.channels)
    return dataclasses.replace(manifest, channels=tuple(channels))


def test_channels_takes_the_finest_of_each_modality_and_notes_the_others() -> None:
    study = Study(
        (
            series("1.1", "T1", (5.0, 1.0, 1.0)),
            series("1.2", "T1", (1.2, 1.1, 1.1)),
            series("1.3", "FLAIR", (1.0, 1.0, 3.0)),
            series("1.4", "T1", (1.2, 1.2, 1.2)),
        )
    )
    selection = choose_channels(study, tiny_manifest())
    assert {name: one.uid for name, one in selection.channels.items()} == {"T1": "1.2", "FLAIR": "1.3"}
    assert selection.reference.uid == "1.2"
    assert [note.split(":")[0] for note in selection.notes] == ["series 1.1", "series 1.4"]
    assert all("no finer than series 1.2; not used" in note for note in selection.notes)


def test_channels_reference_is_the_finest_and_ties_follow_the_bundle() -> None:
    fine = Study((series("1", "T1", (3.0, 1.0, 1.0)), series("2", "FLAIR", (2.0, 2.0, 2.0))))
    assert choose_channels(fine, tiny_manifest()).reference.uid == "2"
    tie = Study((series("2", "FLAIR"), series("1", "T2"), series("3", "CT")))
    assert choose_channels(tie, tiny_manifest()).reference.uid == "1"


def test_channels_come_in_the_order_of_the_bundle() -> None:
    study = Study((series("4", "CT"), series("3", "FLAIR"), series("2", "T2"), series("1", "T1")))
    assert list(choose_channels(study, tiny_manifest()).channels) == ["T1", "T2", "FLAIR", "CT"]


def test_channels_notes_a_series_that_no_channel_takes() -> None:
    study = Study((series("1", "T1"), series("2", "other")))
    (note,) = choose_channels(study, tiny_manifest()).notes
    assert note == "series 2: tags of 2; tiny-head has no channel for it; not used"


def test_channels_without_a_usable_series_names_the_way_out() -> None:
    study = Study((series("1.5", "other"), series("1.6", "other")))
    with pytest.raises(ImageError, match=r"series 1\.5: tags of 1\.5; series 1\.6.*--as UID=T1"):
        choose_channels(study, tiny_manifest())


def test_channels_refuses_a_study_without_a_required_one() -> None:
    with pytest.raises(ImageError, match=r"needs a FLAIR series and the study has none; .*--as UID=FLAIR"):
        choose_channels(Study((series("1", "T1"),)), requiring("FLAIR"))


def test_channels_calls_a_nifti_file_by_its_name_only() -> None:
    secret = Path("/home/smith/scan.nii.gz")
    study = Study((series("1", "T1"), series(str(secret), "T1", (2.0, 2.0, 2.0), path=secret)))
    (note,) = choose_channels(study, tiny_manifest()).notes
    assert note.startswith("scan.nii.gz: another T1")


def placed(first: Series, second: Series, monkeypatch: pytest.MonkeyPatch) -> Any:
    """How the second series is placed on the first, with `align` standing by to fail."""

    def refuse(*arguments: object) -> None:
        raise ImageError("the moving image is constant; there is nothing to align")

    monkeypatch.setattr(align, "align", refuse)
    manifest = tiny_manifest()
    selection = choose_channels(Study((first, second)), manifest)
    return place_channels(selection, lambda share: None)[-1]


def test_place_trusts_a_shared_frame_of_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    first = series("1", "T1", frame_of_reference_uid="9")
    second = series("2", "T2", (2.0, 2.0, 2.0), frame_of_reference_uid="9")
    item = placed(first, second, monkeypatch)
    assert item.used
    assert "same frame" in item.method


def test_place_trusts_an_equal_grid_only_where_no_frame_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert placed(series("1", "T1"), series("2", "T2"), monkeypatch).used
    here = series("1", "T1", frame_of_reference_uid="8")
    assert not placed(here, series("2", "T2", frame_of_reference_uid="9"), monkeypatch).used


def test_place_drops_what_cannot_be_registered_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    item = placed(series("1", "T1"), series("2", "T2", (2.0, 2.0, 2.0)), monkeypatch)
    assert not item.used
    assert item.reason.startswith("could not be registered: the moving image is constant")


def volume(values: Any, kind: Any = np.int16) -> Volume:
    return Volume(np.asarray(values, kind).reshape(2, 2, -1), np.eye(4))


MR = Channel("FLAIR", "foreground_mean", 0.0, 0.5, (0.0, 2.0))


def test_normalise_brings_the_foreground_mean_to_its_value() -> None:
    made = channel_normalisation(volume([0, 0, 0, 0, 90, 110, 90, 110]), MR, KERNELS)
    assert made.gain == pytest.approx(0.5 / 100)
    assert (made.shift, made.clamp_low, made.clamp_high, made.outside) == (0.0, 0.0, 2.0, 0.0)


def test_normalise_opens_a_window_for_ct() -> None:
    made = channel_normalisation(volume([0] * 8), Channel("CT", "window", -20.0, 100.0, (0.0, 1.0)), KERNELS)
    assert made.shift == -20.0
    assert made.gain == pytest.approx(1 / 120)


@pytest.mark.parametrize(
    "made",
    [
        volume([7] * 8),
        volume([-5, -5, -5, -5, -1, -1, -1, -1]),
        volume([np.nan] * 8, np.float32),
        volume([0, 1e-38, 0, 0, 0, 0, 0, 1e-38], np.float32),
    ],
    ids=["constant", "negative", "nan", "denormal"],
)
def test_normalise_refuses_a_scan_without_foreground_and_says_which(made: Volume) -> None:
    with pytest.raises(ImageError, match=r"the FLAIR scan.*--as UID=other"):
        channel_normalisation(made, MR, KERNELS)
