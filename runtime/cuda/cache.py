"""Keep compiled kernels between runs, in a folder that only its user can write."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

__all__ = ["cache_folder", "load", "save"]

_MAGIC = b"zeus-edge cubin 1\n"
_LARGEST_BYTES = 1 << 26
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def cache_folder() -> Path:
    """Where compiled kernels are kept: `zeus-edge/cuda` in the user's cache.

    Raises:
        OSError: The user has no home.

    Source:
        XDG Base Directory Specification 0.8: a relative XDG_CACHE_HOME is ignored.
    """
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not given.is_absolute():
        try:
            given = Path.home() / ".cache"
        except RuntimeError as error:
            raise OSError(str(error)) from error
    return given / "zeus-edge" / "cuda"


def load(name: str) -> bytes | None:
    """What `save` kept under a name.

    An entry that is absent, cut short, changed, a link, of another user or writable by others counts as
    absent: the caller compiles again and `save` replaces it. The checksum finds damage; against a person
    only the ownership helps.

    Args:
        name: A file name.
    """
    try:
        folder = cache_folder()
        if not _is_ours(os.lstat(folder), stat.S_ISDIR):
            return None
        descriptor = os.open(
            folder / f"{name}.cubin", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        )
        try:
            status = os.fstat(descriptor)
            if not _is_ours(status, stat.S_ISREG) or status.st_size > _LARGEST_BYTES:
                return None
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                whole = file.read(_LARGEST_BYTES)
        finally:
            os.close(descriptor)
    except OSError:
        return None
    head, digest, code = whole[: len(_MAGIC)], whole[len(_MAGIC) :][:32], whole[len(_MAGIC) + 32 :]
    return code if head == _MAGIC and digest == _digest(name, code) else None


def save(name: str, code: bytes) -> None:
    """Keep machine code under a name; another process sees all of it or nothing.

    Args:
        name: A file name.
        code: At most 64 MiB.

    Raises:
        OSError: The folder cannot be made or written, or others can write it.
    """
    folder = cache_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_ours(os.lstat(folder), stat.S_ISDIR):
        raise PermissionError(f"{folder} is a link, of another user or writable by others")
    descriptor, temporary_name = tempfile.mkstemp(dir=folder)
    temporary = Path(temporary_name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(_MAGIC + _digest(name, code) + code)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(folder / f"{name}.cubin")
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _is_ours(status: os.stat_result, is_kind: Callable[[int], bool]) -> bool:
    """Whether a file is of the right kind, this user's, and closed to the writing of others."""
    mode = status.st_mode
    return is_kind(mode) and status.st_uid == os.geteuid() and not mode & _WRITABLE_BY_OTHERS


def _digest(name: str, code: bytes) -> bytes:
    """SHA-256 of an entry; with its name, so that no entry stands for another."""
    return hashlib.sha256(name.encode() + b"\0" + code).digest()
