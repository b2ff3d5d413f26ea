"""Files of the user that cannot be made again, such as a key: written whole, read with suspicion."""

from __future__ import annotations

import os
import stat
from pathlib import Path

__all__ = ["data_folder", "read_own", "user_folder", "write_own"]

_OF_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def data_folder(kind: str) -> Path:
    """Where files of one kind are kept.

    Args:
        kind: Name of the folder, below `zeus-edge` in the user's data.

    Raises:
        OSError: The user has no home.
    """
    return user_folder("XDG_DATA_HOME", ".local/share") / kind


def user_folder(variable: str, usual: str) -> Path:
    """Our folder below one of the user's.

    Args:
        variable: Of the environment, that may say where that is.
        usual: Where it is otherwise, below the user's home.

    Raises:
        OSError: The user has no home.

    Source:
        XDG Base Directory Specification 0.8: a relative path in a variable is ignored.
    """
    given = Path(os.environ.get(variable, ""))
    if not given.is_absolute():
        try:
            given = Path.home() / usual
        except RuntimeError as error:
            raise OSError(str(error)) from error
    return given / "zeus-edge"


def read_own(path: Path, most_bytes: int, is_private: bool = False) -> bytes:
    """Read a file that nobody else can have written.

    Args:
        path: A regular file of this user or of root, and no link.
        most_bytes: It may have.
        is_private: Whether others may not even read it.

    Raises:
        OSError: It is absent, larger, or others own it, can write it, or (if private) can read it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid not in (os.geteuid(), 0):
            raise PermissionError(0, "it is no file of this user", str(path))
        if status.st_mode & (_OF_OTHERS if is_private else _WRITABLE_BY_OTHERS):
            what = "read or write" if is_private else "write"
            raise PermissionError(
                0, f"others can {what} it; chmod {600 if is_private else 644} it", str(path)
            )
        if status.st_size > most_bytes:
            raise OSError(0, f"it has more than {most_bytes} bytes", str(path))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(most_bytes)
    finally:
        os.close(descriptor)


def write_own(path: Path, data: bytes, replace: bool = True) -> bool:
    """Write a file of mode 0600; another process sees all of it or nothing.

    Args:
        path: Its folder is made with mode 0700 where it is absent.
        data: What to write.
        replace: False leaves a file that is there, so of several processes the first one's stays.

    Returns:
        Whether it was written.

    Raises:
        OSError: The folder cannot be made or written, or is not this user's alone to write.
    """
    folder = path.parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = os.lstat(folder)
    if status.st_uid != os.geteuid() or status.st_mode & _WRITABLE_BY_OTHERS or not folder.is_dir():
        raise PermissionError(0, "it is of another user or writable by others", str(folder))
    import tempfile  # not needed to read

    descriptor, name = tempfile.mkstemp(dir=folder)  # mode 0600
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        if replace:
            temporary.replace(path)
            return True
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        return True
    finally:
        temporary.unlink(missing_ok=True)
