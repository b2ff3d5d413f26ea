from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from runtime.errors import DestinationError, ImageError
from runtime.formats.output_folder import check_destination, output_folder, whole_file


def fill(folder: Path, text: str = "new") -> None:
    (folder / "report.json").write_text(text)
    (folder / "deep").mkdir()
    (folder / "deep" / "labels.bin").write_bytes(b"12")


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """An older result of this product."""
    folder = tmp_path / "result"
    folder.mkdir()
    fill(folder, "old")
    return folder


def test_folder_appears_whole_and_private(tmp_path: Path) -> None:
    target = tmp_path / "result"
    with output_folder(target, force=False) as work:
        assert work.parent == tmp_path
        assert work.name.startswith(".result.")
        fill(work)
        assert not target.exists()
    assert tree(target) == {"report.json": b"new", "deep/labels.bin": b"12"}
    assert target.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == [target]


def test_folder_creates_missing_parents(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "result"
    with output_folder(target, force=False) as work:
        fill(work)
    assert (target / "report.json").exists()


def test_folder_refuses_an_existing_one(older: Path) -> None:
    for attempt in (check_destination, lambda *options: output_folder(*options).__enter__()):
        with pytest.raises(DestinationError, match=r"already exists.*--force"):
            attempt(older, False)
    assert (older / "report.json").read_text() == "old"


def test_folder_replaces_an_older_result_by_force(older: Path) -> None:
    with output_folder(older, force=True) as work:
        (work / "report.json").write_text("new")
        assert (older / "report.json").read_text() == "old"
    assert tree(older) == {"report.json": b"new"}
    assert list(older.parent.iterdir()) == [older]


def test_folder_replaces_an_empty_one_by_force(tmp_path: Path) -> None:
    target = tmp_path / "result"
    target.mkdir()
    with output_folder(target, force=True) as work:
        fill(work)
    assert (target / "report.json").exists()


def test_folder_never_replaces_what_is_not_ours(tmp_path: Path) -> None:
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter.tex").write_text("years of work")
    with pytest.raises(DestinationError, match="not an older result"):
        check_destination(thesis, force=True)
    with pytest.raises(DestinationError, match="not a folder"):
        check_destination(thesis / "chapter.tex", force=True)
    assert tree(thesis) == {"chapter.tex": b"years of work"}


def test_folder_never_replaces_the_current_one(older: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(older / "deep")
    with pytest.raises(DestinationError, match="current folder"):
        check_destination(older, force=True)


def test_folder_looks_again_before_it_replaces(older: Path) -> None:
    def write() -> None:
        with output_folder(older, force=True) as work:
            fill(work)
            (older / "report.json").rename(older / "notes.txt")

    with pytest.raises(DestinationError, match="not an older result"):
        write()
    assert sorted(tree(older)) == ["deep/labels.bin", "notes.txt"]
    assert list(older.parent.iterdir()) == [older]


@pytest.mark.parametrize("problem", [KeyboardInterrupt(), ImageError("bad"), OSError(errno.ENOENT, "gone")])
def test_folder_leaves_nothing_when_interrupted(tmp_path: Path, problem: BaseException) -> None:
    def write() -> None:
        with output_folder(tmp_path / "new" / "result", force=False) as work:
            fill(work)
            raise problem

    with pytest.raises(type(problem)) as caught:
        write()
    assert caught.value is problem
    assert list(tmp_path.iterdir()) == []


def test_folder_keeps_the_older_result_when_interrupted(older: Path) -> None:
    def write() -> None:
        with output_folder(older, force=True) as work:
            fill(work)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert (older / "report.json").read_text() == "old"
    assert list(older.parent.iterdir()) == [older]


def test_folder_puts_the_older_result_back_when_the_rename_fails(
    older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if target == older and (self / "report.json").read_text() == "new":
            raise OSError(errno.EIO, "Input/output error", str(self))
        return rename(self, target)

    def write() -> None:
        with output_folder(older, force=True) as work:
            fill(work)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(DestinationError, match="cannot be written"):
        write()
    assert (older / "report.json").read_text() == "old"
    assert list(older.parent.iterdir()) == [older]


def test_folder_names_a_full_disk_and_leaves_nothing(tiny_disk: Path) -> None:
    def write() -> None:
        with output_folder(tiny_disk / "result", force=False) as work:
            (work / "labels.bin").write_bytes(bytes(200_000))

    with pytest.raises(DestinationError, match=r"tiny/result: the disk is full .*free some space"):
        write()
    assert list(tiny_disk.iterdir()) == []


def test_folder_names_itself_when_one_of_its_files_fills_the_disk(tiny_disk: Path) -> None:
    def write() -> None:
        with output_folder(tiny_disk / "result", force=False) as work, whole_file(work / "a.bin") as part:
            part.write_bytes(bytes(200_000))

    with pytest.raises(DestinationError, match=r"tiny/result: the disk is full"):
        write()
    assert list(tiny_disk.iterdir()) == []


def test_folder_refuses_early_when_the_result_will_not_fit(tiny_disk: Path) -> None:
    with pytest.raises(DestinationError, match=r"needs 95.4 MiB, only 0.0 MiB are free"):
        check_destination(tiny_disk / "result", force=False, needed_bytes=100_000_000)


def test_folder_refuses_a_mount_point(tiny_disk: Path) -> None:
    with pytest.raises(DestinationError, match="mount point"):
        check_destination(tiny_disk, force=True)


def test_folder_refuses_a_parent_that_cannot_hold_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DestinationError, match="not a folder"):
        check_destination(tmp_path / "file" / "result", force=False)
    with (
        pytest.raises(DestinationError, match=r"not writable|cannot"),
        output_folder(Path("/proc/x/y"), False),
    ):
        pass


def test_folder_refuses_a_parent_without_write_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)  # root may write anywhere
    with pytest.raises(DestinationError, match="not writable"):
        check_destination(tmp_path / "a" / "result", force=False)


def test_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"

    def write(problem: BaseException | None) -> None:
        with whole_file(path) as part:
            part.write_bytes(b"half")
            if problem is not None:
                raise problem

    with pytest.raises(KeyboardInterrupt):
        write(KeyboardInterrupt())
    with pytest.raises(DestinationError, match=r"a.bin: the disk is full"):
        write(OSError(errno.ENOSPC, "No space left on device"))
    assert list(tmp_path.iterdir()) == []
    write(None)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.bin", b"half")]
