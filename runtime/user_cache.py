"""Keep files between runs, in a folder that only its user can write."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runtime.user_data import user_folder

__all__ = ["UserCache"]

_LOOK_S = 0.05
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True)
class UserCache:
    """Entries of one kind.

    Attributes:
        kind: Name of the folder, below `zeus-edge` in the user's cache.
        suffix: Of the files.
        largest_bytes: Of an entry, a header of about a hundred bytes included.
        most_entries: Beyond so many, those that were written first go; None keeps all.
    """

    kind: str
    suffix: str
    largest_bytes: int
    most_entries: int | None = None

    @property
    def folder(self) -> Path:
        """Where entries are kept.

        Raises:
            OSError: The user has no home.
        """
        return user_folder("XDG_CACHE_HOME", ".cache") / self.kind

    def load(self, name: str) -> bytes | None:
        """What `save` kept under a name.

        An entry that is absent, cut short, changed, a link, of another user or writable by others counts as
        absent: the caller makes it again and `save` replaces it. The checksum finds damage; against a person
        only the ownership helps.

        Args:
            name: A file name.
        """
        try:
            folder = self.folder
            if not _is_ours(os.lstat(folder), stat.S_ISDIR):
                return None
            descriptor = os.open(
                folder / f"{name}{self.suffix}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            )
            try:
                status = os.fstat(descriptor)
                if not _is_ours(status, stat.S_ISREG) or status.st_size > self.largest_bytes:
                    return None
                with os.fdopen(descriptor, "rb", closefd=False) as file:
                    whole = file.read(self.largest_bytes)
            finally:
                os.close(descriptor)
        except OSError:
            return None
        magic = self._magic
        head, digest, data = whole[: len(magic)], whole[len(magic) :][:32], whole[len(magic) + 32 :]
        return data if head == magic and digest == _digest(name, data) else None

    def save(self, name: str, data: bytes) -> None:
        """Keep data under a name; another process sees all of it or nothing.

        Args:
            name: A file name.
            data: Less than `largest_bytes`.

        Raises:
            OSError: The folder cannot be made or written, or others can write it.
        """
        folder = self.own_folder()
        import tempfile  # not needed to read

        descriptor, temporary_name = tempfile.mkstemp(dir=folder)
        temporary = Path(temporary_name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(self._magic + _digest(name, data) + data)
                file.flush()
                os.fsync(descriptor)
            temporary.replace(folder / f"{name}{self.suffix}")
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if self.most_entries is not None:
            self._forget(folder, self.most_entries)

    @contextlib.contextmanager
    def locked(self, name: str, wait_s: float) -> Iterator[bool]:
        """Hold a name, so that no two processes make the same entry at once; the lock ends with its process.

        Args:
            name: A file name.
            wait_s: Longest wait; then the body runs without the lock, for it can only cost time.

        Yields:
            Whether the lock is held.
        """
        try:
            path = self.own_folder() / f"{name}.lock"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError:
            yield False
            return
        try:
            yield _lock(descriptor, time.monotonic() + wait_s)
        finally:
            os.close(descriptor)  # the file stays: removing it could take it from who waits for it

    def own_folder(self) -> Path:
        """The folder, made where it is missing.

        Raises:
            OSError: It cannot be made, or others can write it.
        """
        folder = self.folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_ours(os.lstat(folder), stat.S_ISDIR):
            raise PermissionError(f"{folder} is a link, of another user or writable by others")
        return folder

    @property
    def _magic(self) -> bytes:
        return f"zeus-edge {self.kind} 1\n".encode()

    def _forget(self, folder: Path, most: int) -> None:
        """Remove the oldest entries; another process may do the same."""
        ages: list[tuple[int, str]] = []
        for entry in os.scandir(folder):
            if entry.name.endswith(self.suffix):
                with suppress(FileNotFoundError):
                    ages.append((entry.stat(follow_symlinks=False).st_mtime_ns, entry.path))
        for _, path in sorted(ages)[: max(0, len(ages) - most)]:
            Path(path).unlink(missing_ok=True)


def _lock(descriptor: int, until: float) -> bool:
    """Lock a file, or say that it could not be had in time."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(_LOOK_S)
        except OSError:  # a file system without locks
            return False
        else:
            return True


def _is_ours(status: os.stat_result, is_kind: Callable[[int], bool]) -> bool:
    """Whether a file is of the right kind, this user's, and closed to the writing of others."""
    mode = status.st_mode
    return is_kind(mode) and status.st_uid == os.geteuid() and not mode & _WRITABLE_BY_OTHERS


def _digest(name: str, data: bytes) -> bytes:
    """SHA-256 of an entry; with its name, so that no entry stands for another."""
    return hashlib.sha256(name.encode() + b"\0" + data).digest()
