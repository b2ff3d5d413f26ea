"""What a preview says in words: who wrote which instruction, what answers it, and nothing of the patient."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from runtime import Session
from runtime.content import slice_content
from runtime.formats import preview
from runtime.formats.preview import PreviewChannel, write_preview
from runtime.formats.preview_text import fitting, font, shortened, wrapped
from runtime.kernels import open_kernels
from runtime.language.instruction import Statement
from runtime.language.sentence import write
from runtime.structure import Code, Structure
from runtime.volume import Labels, Volume
from tests.tiny_promptable import make_promptable
from tests.tiny_writer import VOCABULARY, say

image_module = pytest.importorskip("PIL.Image")

SECRET = "Mrs Miller of ward 7"
BLOCK = Structure(
    1, "block", Code("123037004", "SCT", "Body"), Code("42695009", "SCT", "Thalamus"), (0, 200, 0)
)
SENTENCE = (
    "rule: This is an axial T1-weighted MRI with thick slices. Visible: nothing known. Segment the block."
)


def picture_of(path: Path, captions: list[str], notes: tuple[str, ...] = ()) -> np.ndarray:
    """A preview of one cube in as many channels as there are captions."""
    voxels = np.zeros((40, 40, 40), np.int16)
    voxels[8:32, 8:32, 8:32] = 500
    labels = Labels((voxels > 0).astype(np.uint8), np.eye(4), {1: "block"})
    channels = [PreviewChannel("T1", Volume(voxels, np.eye(4)), None, caption) for caption in captions]
    content = slice_content(labels.voxels, open_kernels())
    write_preview(path, channels, labels, content, (BLOCK,), "model", notes)
    with image_module.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def test_caption_makes_room_below_its_row_and_changes_nothing_above(tmp_path: Path) -> None:
    bare = picture_of(tmp_path / "a.png", [""])
    said = picture_of(tmp_path / "b.png", [SENTENCE])
    lines = wrapped(SENTENCE, 13, 3 * 460 + 16, 3)
    assert len(said) - len(bare) == 18 * len(lines)
    below = 52 + 28 + 460
    assert np.array_equal(said[:below, :1400], bare[:below, :1400])
    band = said[below : below + 18, 54:1400]
    assert (band.max(axis=-1) > 200).sum() > 200


def test_caption_shows_its_own_words(tmp_path: Path) -> None:
    one, same, other = (
        picture_of(tmp_path / f"{number}.png", [text])
        for number, text in enumerate((SENTENCE, SENTENCE, SENTENCE.replace("thick", "thin")))
    )
    assert np.array_equal(one, same)
    differing = np.flatnonzero((one != other).any(axis=(1, 2)))
    assert 540 <= differing.min() <= differing.max() < 558


def test_each_row_has_its_own_caption(tmp_path: Path) -> None:
    first = picture_of(tmp_path / "a.png", [SENTENCE, ""])
    second = picture_of(tmp_path / "b.png", ["", SENTENCE])
    height = 52 + 28 + 380  # with two channels
    assert np.array_equal(first[height : height + 18, 54:1100], second[-60:-42, 54:1100])
    assert first.shape == second.shape


def test_wrapped_text_keeps_every_word_and_the_width() -> None:
    lines = wrapped(SENTENCE, 13, 200, 9)
    assert " ".join(lines) == SENTENCE
    assert len(lines) > 2
    assert max(font(13).getlength(line) for line in lines) <= 200


def test_long_text_is_cut_with_dots() -> None:
    lines = wrapped("word " * 300, 13, 200, 3)
    assert len(lines) == 3
    assert lines[-1].endswith("…")
    assert not any("…" in line for line in lines[:-1])
    assert max(font(13).getlength(line) for line in lines) <= 200
    assert wrapped("", 13, 200, 3) == ()
    assert wrapped("x" * 400, 13, 200, 3) == (fitting("x" * 400, 13, 200),)


def test_many_notes_are_counted_and_not_all_shown(tmp_path: Path) -> None:
    few = picture_of(tmp_path / "a.png", [""], ("note",) * 6)
    many = picture_of(tmp_path / "b.png", [""], ("note",) * 60)
    assert few.shape == many.shape
    assert shortened(("note",) * 60, 13, 400, 6)[-2:] == ("note", "+ 55 more")


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What `Result.save` gives to be drawn."""
    seen: dict[str, list[str]] = {}

    def note(path: Path, channels: list[PreviewChannel], *rest: object) -> None:
        seen["captions"] = [channel.caption for channel in channels]
        seen["notes"] = list(rest[-1])  # type: ignore[call-overload]
        path.write_bytes(b"")

    monkeypatch.setattr(preview, "write_preview", note)
    return seen


def test_result_shows_what_the_rule_wrote(
    session: Session, axial: Path, tmp_path: Path, written: dict[str, list[str]]
) -> None:
    result = session.segment(axial)
    result.save(tmp_path / "o", ["png"])
    assert result.report.language is not None
    (item,) = result.report.language.written
    assert written == {"captions": [f"rule: {item.text}"], "notes": []}


@pytest.mark.usefixtures("instruction_cache")
def test_result_shows_what_the_language_model_wrote(
    axial: Path,
    writer_folder: Path,
    tmp_path: Path,
    written: dict[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = write(Statement("T1", "axial", "thick", ("shell", "core"), ("core",), ()), VOCABULARY)
    say(monkeypatch, text)
    with Session(writer_folder, threads=1, llm_deadline_s=120) as session:
        session.segment(axial).save(tmp_path / "o", ["png"])
    assert written["captions"] == [f"llm: {text}"]


@pytest.fixture
def talking(tmp_path: Path) -> Iterator[Session]:
    with Session(make_promptable(tmp_path / "bundle"), threads=1) as opened:
        yield opened


def test_result_shows_what_answers_and_never_a_persons_words(
    talking: Session, axial: Path, tmp_path: Path, written: dict[str, list[str]]
) -> None:
    talking.segment(axial).save(tmp_path / "a", ["png"])
    assert written["notes"] == ["no instruction was given: every target by the bank"]
    for folder, text, targets, source in (
        ("b", "core", None, "text"),
        ("c", f"core and shell of {SECRET}", ["core"], "bank"),
    ):
        result = talking.segment(instruction=text, targets=targets)
        result.save(tmp_path / folder, ["png"])
        (note,) = written["notes"]
        assert note.startswith("instruction 1 asks for ")
        assert note.endswith(f"by the {source}")
        assert SECRET not in " ".join(written["captions"] + written["notes"])
