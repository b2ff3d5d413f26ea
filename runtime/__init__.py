"""Segment medical images on the device, in the patient's own coordinates.

from runtime import Session
with Session(bundle=None, device="auto") as session:
result = session.segment("study/")
result.save("out/")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runtime.version import __version__

if TYPE_CHECKING:
    from runtime.bundle import open_bundle
    from runtime.errors import (
        BundleError,
        DestinationError,
        DeviceError,
        ImageError,
        InstructionError,
        LanguageError,
        UsageError,
        ZeusEdgeError,
    )
    from runtime.result import Result
    from runtime.session import Session
    from runtime.volume import Labels, Volume

__all__ = [
    "BundleError",
    "DestinationError",
    "DeviceError",
    "ImageError",
    "InstructionError",
    "Labels",
    "LanguageError",
    "Result",
    "Session",
    "UsageError",
    "Volume",
    "ZeusEdgeError",
    "__version__",
    "open_bundle",
]

_HOMES = {
    "Session": "session",
    "Result": "result",
    "Labels": "volume",
    "Volume": "volume",
    "open_bundle": "bundle",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use, so that `--version` costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'runtime' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"runtime.{_HOMES.get(name, 'errors')}"), name)
