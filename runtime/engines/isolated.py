"""Show a library the files of one network and no others: it may read no file that nobody checked."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["place"]


def place(path: Path, folder: Path) -> Path:
    """Put a file into a folder under its own name: linked where it can be, else copied.

    Not as a symbolic link: libraries take that for a way out of the folder.

    Args:
        path: The file.
        folder: An empty folder, to be removed afterwards.

    Raises:
        OSError: The file cannot be read, or the folder not be written.
    """
    there = folder / path.name
    try:
        os.link(path.resolve(), there)
    except OSError:  # another file system, or one without links
        import shutil  # with what it imports, it would cost every start milliseconds

        shutil.copyfile(path, there)
    return there
