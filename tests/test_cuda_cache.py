"""Compiled kernels are kept, and an entry that is damaged or not ours is compiled again."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from runtime.cuda import compile as compiler
from runtime.cuda.compile import CUBINS, Cubin, cached_cubin

SOURCES = {"cuda.cu": "text", "a.h": "abcd"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of a user with nothing in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "zeus-edge" / "cuda"


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Architectures that were compiled, by a compiler that takes no time."""
    made: list[str] = []

    def instead(architecture: str, sources: object) -> Cubin:
        made.append(architecture)
        return Cubin(f"code {len(made)}".encode(), "")

    monkeypatch.setattr(compiler, "compile_cubin", instead)
    monkeypatch.setattr(compiler, "compiler_version", lambda: (13, 0))
    return made


def test_cache_compiles_once(folder: Path, compiled: list[str]) -> None:
    assert cached_cubin("sm_90", 13000, SOURCES) == (b"code 1", "compiled")
    assert cached_cubin("sm_90", 13000, SOURCES) == (b"code 1", "read from the cache")
    assert compiled == ["sm_90"]
    (entry,) = folder.iterdir()  # nothing temporary stays
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(entry.stat().st_mode) == 0o600


def test_cache_keeps_apart_what_gives_other_code(
    folder: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cached_cubin("sm_90", 13000, SOURCES)
    cached_cubin("sm_87", 13000, SOURCES)
    cached_cubin("sm_90", 13010, SOURCES)
    cached_cubin("sm_90", 13000, {**SOURCES, "a.h": "abc", "b.h": "d"})
    cached_cubin("sm_90", 13000, {**SOURCES, "a.h": "changed"})
    monkeypatch.setattr(compiler, "OPTIONS", (*compiler.OPTIONS, "--use_fast_math"))
    cached_cubin("sm_90", 13000, SOURCES)
    monkeypatch.setattr(compiler, "compiler_version", lambda: (13, 1))
    cached_cubin("sm_90", 13000, SOURCES)
    assert len(compiled) == len(list(folder.iterdir())) == 7


def damage(entry: Path, how: str) -> None:
    whole = bytearray(entry.read_bytes())
    if how == "a bit":
        whole[-1] ^= 1
    elif how == "cut short":
        del whole[len(whole) // 2 :]
    elif how == "empty":
        whole.clear()
    elif how == "longer":
        whole += b"x"
    entry.write_bytes(whole)
    if how == "huge":
        os.truncate(entry, (1 << 26) + 1)
    elif how == "writable by others":
        entry.chmod(0o666)
    elif how == "a link":
        entry.rename(entry.with_name("elsewhere"))
        entry.symlink_to("elsewhere")
    elif how == "a pipe":
        entry.unlink()
        os.mkfifo(entry, 0o600)


@pytest.mark.parametrize(
    "how", ["a bit", "cut short", "empty", "longer", "huge", "writable by others", "a link", "a pipe"]
)
def test_cache_replaces_an_entry_that_it_cannot_trust(folder: Path, compiled: list[str], how: str) -> None:
    cached_cubin("sm_90", 13000, SOURCES)
    (entry,) = folder.iterdir()
    damage(entry, how)
    assert cached_cubin("sm_90", 13000, SOURCES) == (b"code 2", "compiled")
    assert cached_cubin("sm_90", 13000, SOURCES) == (b"code 2", "read from the cache")
    assert entry.is_file()
    assert not entry.is_symlink()


def test_cache_does_not_take_one_entry_for_another(folder: Path) -> None:
    CUBINS.save("one", b"code")
    (folder / "one.cubin").rename(folder / "two.cubin")
    assert CUBINS.load("two") is None
    (folder / "two.cubin").rename(folder / "one.cubin")
    assert CUBINS.load("one") == b"code"


@pytest.mark.parametrize(
    "how", ["a link", "writable by others", "a file", "a file above", "an entry that stays"]
)
def test_cache_that_cannot_be_used_is_told_and_stops_nothing(
    folder: Path, compiled: list[str], tmp_path: Path, how: str
) -> None:
    if how == "a file above":
        folder.parent.write_text("in the way")
    elif how == "an entry that stays":
        cached_cubin("sm_90", 13000, SOURCES)
        (entry,) = folder.iterdir()
        entry.unlink()
        entry.mkdir()
        compiled.clear()
    else:
        folder.parent.mkdir()
        if how == "a link":
            (tmp_path / "elsewhere").mkdir()
            folder.symlink_to(tmp_path / "elsewhere")
        elif how == "writable by others":
            folder.mkdir()
            folder.chmod(0o777)
        else:
            folder.write_text("in the way")
    before = sorted(tmp_path.rglob("*"))
    for n in (1, 2):
        code, told = cached_cubin("sm_90", 13000, SOURCES)
        assert code == f"code {n}".encode()
        assert told.startswith("compiled, and not kept because the cache cannot be written (")
    assert sorted(tmp_path.rglob("*")) == before


def test_cache_leaves_nothing_behind_when_writing_fails(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        CUBINS.save("name", b"code")
    assert list(folder.iterdir()) == []


def test_cache_ignores_a_relative_xdg_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for given in ("", "relative/cache"):
        monkeypatch.setenv("XDG_CACHE_HOME", given)
        assert CUBINS.folder == tmp_path / ".cache" / "zeus-edge" / "cuda"
