"""Find the C++ text of the CUDA kernels: in the wheel, or in kernels/ of a checkout."""

from __future__ import annotations

import re
from pathlib import Path

from runtime.errors import DeviceError

__all__ = ["MAIN", "kernel_sources"]

MAIN = "cuda.cu"
"""The file with the entry points."""

_INCLUDE = re.compile(r'^#include "([^"]+)"', re.MULTILINE)


def _folder() -> Path:
    """Where the sources lie; a wheel brings its own."""
    installed = Path(__file__).parent / "sources"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "kernels"


def kernel_sources() -> dict[str, str]:
    """The text of `MAIN` and of every header it includes, by the name that an #include uses, `MAIN` first.

    Raises:
        DeviceError: A file cannot be read.
    """
    folder, found, wanted = _folder(), dict[str, str](), [MAIN]
    while wanted:
        name = wanted.pop()
        if name in found:
            continue
        try:
            found[name] = (folder / name).read_text(encoding="utf-8")
        except OSError as error:
            raise DeviceError(
                f"the CUDA source {folder / name} cannot be read ({error.strerror}); install zeus-edge again"
            ) from error
        wanted += _INCLUDE.findall(found[name])
    return found
