"""Results appear whole or not at all: folders and files are made aside and renamed when complete."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runtime.errors import DestinationError

__all__ = ["OURS", "check_destination", "output_folder", "whole_file"]

OURS = "report.json"
"""The file that says a folder was written by this product and may be replaced."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_destination(destination: Path, force: bool, needed_bytes: int = 0, ours: str = OURS) -> None:
    """Refuse a destination early, before any work is done for it.

    Args:
        destination: The folder that a result shall become.
        force: Whether an older result there may be replaced.
        needed_bytes: Estimated size of the result, bytes; 0 when unknown.
        ours: The file that an older result has.

    Raises:
        DestinationError: It exists (and `force` is not given, or it is not an older result of
            this product), it cannot be created, or the disk has less than `needed_bytes` free.
    """
    target = destination.resolve()
    _check_existing(target, destination, force, ours)
    parent = _existing_parent(target)
    if not parent.is_dir():
        raise DestinationError(f"{destination}: {parent} is not a folder; choose another destination")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise DestinationError(f"{destination}: {parent} is not writable; choose another destination")
    free_bytes = shutil.disk_usage(parent).free
    if free_bytes < needed_bytes:
        raise DestinationError(
            f"{destination}: the result needs {_mib(needed_bytes)}, only {_mib(free_bytes)} are free; "
            "free some space or choose another destination"
        )


@contextmanager
def output_folder(destination: Path, force: bool, ours: str = OURS) -> Iterator[Path]:
    """Fill a folder that becomes `destination` in one step when the block ends well.

    The block gets a hidden sibling folder with mode 0700, which the result keeps: it holds
    patient data. When the block ends, everything is synchronised to disk and the folder is
    renamed. On any exception, KeyboardInterrupt included, nothing of it stays and an older
    result is untouched. (A process that is killed cannot clean up: it leaves the hidden
    folder, never a half-written result.)

    Args:
        destination: The folder to create; missing parents are created too.
        force: Replace an older result of this product, or an empty folder.
        ours: The file that an older result has.

    Raises:
        DestinationError: As in `check_destination`, or the disk filled up or refused to write.
    """
    check_destination(destination, force, ours=ours)
    target = destination.resolve()
    made = _make_parents(target, destination)
    try:
        with _naming_the_destination(destination, target.parent):
            work = Path(tempfile.mkdtemp(prefix=f".{target.name[:200]}.", dir=target.parent))
    except BaseException:
        _remove_empty(made)
        raise
    try:
        with _naming_the_destination(destination, work):
            yield work
            _synchronise(work)
            _put_in_place(work, target, destination, force, ours)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        _remove_empty(made)
        raise


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write a file under a temporary name beside `path`, renamed to `path` when the block ends well.

    Raises:
        DestinationError: The disk is full or the folder cannot be written.
    """
    part = path.with_name(f".{path.name[:200]}.{os.getpid()}.part")
    try:
        with _naming_the_destination(path, path.parent):
            yield part
            part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _check_existing(target: Path, destination: Path, force: bool, ours: str) -> None:
    if not os.path.lexists(target):
        return
    if not target.is_dir():
        raise DestinationError(f"{destination} exists and is not a folder; choose another destination")
    if not force:
        raise DestinationError(f"{destination} already exists; choose another destination or use --force")
    if target.is_mount() or Path.cwd().is_relative_to(target):
        raise DestinationError(
            f"{destination} is a mount point or holds the current folder, so it cannot be replaced; "
            "choose a folder inside it"
        )
    try:
        is_ours = (target / ours).is_file() or not any(target.iterdir())
    except OSError as error:
        raise DestinationError(f"{destination}: cannot be read ({error.strerror})") from error
    if not is_ours:
        raise DestinationError(
            f"{destination} is not an older result (it holds files but no {ours}), so --force does not "
            "replace it; choose another destination or remove it yourself"
        )


def _existing_parent(target: Path) -> Path:
    parent = target.parent
    while not os.path.lexists(parent):
        parent = parent.parent
    return parent


def _make_parents(target: Path, destination: Path) -> list[Path]:
    """Create missing parent folders; returns those created, innermost first."""
    missing = []
    parent = target.parent
    while not parent.exists():
        missing.append(parent)
        parent = parent.parent
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _remove_empty(missing)
        raise DestinationError(
            f"{destination}: cannot create {target.parent} ({error.strerror}); choose another destination"
        ) from error
    return missing


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _synchronise(folder: Path) -> None:
    """Force every file and folder below to disk: a rename must never outlive its content."""
    for root, _, names in os.walk(folder):
        for name in (*names, "."):
            _synchronise_one(Path(root, name))


def _synchronise_one(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _put_in_place(work: Path, target: Path, destination: Path, force: bool, ours: str) -> None:
    """Rename `work` to `target`; an older result is moved aside first and removed last."""
    _check_existing(target, destination, force, ours)  # again: the work may have taken minutes
    old = None
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name[:200]}.old.", dir=target.parent))
        try:
            target.rename(old)
        except BaseException:
            _remove_empty([old])
            raise
    try:
        work.rename(target)
    except BaseException:
        if old is not None:
            old.rename(target)
        raise
    _synchronise_one(target.parent)
    if old is not None:
        try:
            shutil.rmtree(old)
        except OSError as error:
            raise DestinationError(
                f"{destination}: the new result is in place, but the old one could not be removed "
                f"({error.strerror}); remove {old} yourself"
            ) from error


@contextmanager
def _naming_the_destination(destination: Path, folder: Path) -> Iterator[None]:
    """Turn what the file system refuses inside `folder` into an error that names the destination."""
    try:
        yield
    except OSError as raised:
        error: BaseException | None = raised
        if isinstance(raised, DestinationError):
            # A file's own error names the hidden folder, which the reader never sees.
            error = raised.__cause__ if str(raised).startswith(str(folder)) else None
        if not isinstance(error, OSError):
            raise
        inside = isinstance(error.filename, str | Path) and Path(error.filename).is_relative_to(folder)
        if error.errno in _FULL:
            free = _mib(shutil.disk_usage(folder).free) if folder.exists() else "no space"
            raise DestinationError(
                f"{destination}: the disk is full ({error.strerror}, {free} free); free some space or "
                "choose another destination"
            ) from error
        if inside or error.errno in (errno.EROFS, errno.EACCES, errno.EIO):
            raise DestinationError(
                f"{destination}: cannot be written ({error.strerror}); choose another destination"
            ) from error
        raise


def _mib(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"
