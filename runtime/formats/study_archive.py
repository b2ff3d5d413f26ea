"""Unpack a zip or tar archive into a temporary folder without trusting anything it says."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from runtime.errors import ImageError
from runtime.formats.dicom_files import SourceFile
from runtime.formats.limits import MAXIMUM_ARCHIVE_BYTES, MAXIMUM_ARCHIVE_FILES

__all__ = ["is_archive", "unpack"]

_CHUNK_BYTES = 1 << 20


def is_archive(path: Path) -> bool:
    """Whether the file's content is a zip or tar archive (tar also packed by gzip, bzip2 or xz)."""
    with path.open("rb") as stream:
        head = stream.read(132)
    if head[128:] == b"DICM":
        return False
    return head[:4] in (b"PK\x03\x04", b"PK\x05\x06") or tarfile.is_tarfile(path)


def _members(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of each regular file, one after the other."""
    if not zipfile.is_zipfile(path):
        with tarfile.open(path) as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isreg() else None
                if content is not None:
                    yield member.name, content
        return
    with zipfile.ZipFile(path) as packed:
        for info in packed.infolist():
            if not info.is_dir():
                with packed.open(info) as content:
                    yield info.filename, content


def _check_name(name: str, archive: Path) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise ImageError(f"{archive} has a member that points outside the archive; it is refused")


def _copy(content: IO[bytes], target: Path, room_bytes: int) -> int:
    """Copy at most `room_bytes`; returns how many were copied, more than that when there was more."""
    copied = 0
    with target.open("wb") as out:
        while chunk := content.read(min(_CHUNK_BYTES, room_bytes - copied + 1)):
            copied += len(chunk)
            if copied > room_bytes:
                return copied
            out.write(chunk)
    return copied


def unpack(archive: Path, folder: Path) -> list[SourceFile]:
    """Unpack an archive under names of our own.

    Args:
        archive: A zip or tar file.
        folder: Existing folder, usually temporary, that receives the files.

    Returns:
        The members in archive order; `name` and `shown` are the member's name.

    Raises:
        ImageError: The archive is damaged or encrypted, a name leads outside of it, or it holds more
            than `MAXIMUM_ARCHIVE_FILES` files or `MAXIMUM_ARCHIVE_BYTES` bytes.
    """
    found: list[SourceFile] = []
    total_bytes = 0
    try:
        for name, content in _members(archive):
            _check_name(name, archive)
            if len(found) >= MAXIMUM_ARCHIVE_FILES:
                raise ImageError(f"{archive} holds more than {MAXIMUM_ARCHIVE_FILES} files; pass one study")
            target = folder / f"{len(found):06d}"
            total_bytes += _copy(content, target, MAXIMUM_ARCHIVE_BYTES - total_bytes)
            if total_bytes > MAXIMUM_ARCHIVE_BYTES:
                raise ImageError(
                    f"{archive} unpacks to more than {MAXIMUM_ARCHIVE_BYTES} bytes; pass one study"
                )
            found.append(SourceFile(target, name, Path(name)))
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError) as error:
        raise ImageError(f"{archive} is a damaged or unsupported archive ({error}); pack it again") from error
    except RuntimeError as error:  # zipfile's word for a password
        raise ImageError(f"{archive} is encrypted; pass it without a password") from error
    except OSError as error:
        raise ImageError(f"{archive} cannot be unpacked into {folder}: {error.strerror or error}") from error
    return found
