"""What a figure was measured on: goes beside every figure."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from runtime.bundle import Bundle
from runtime.report import library_versions, machine
from runtime.version import __version__

__all__ = ["fingerprint"]


def fingerprint(bundle: Bundle | None = None, distributions: Iterable[str] = ()) -> dict[str, str]:
    """Commit, machine, library versions and, where one was used, bundle hash.

    Args:
        bundle: The model that was run.
        distributions: Further libraries; those that are not installed are left out.
    """
    folder = Path(__file__).parent
    answer = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=folder, capture_output=True, text=True, check=False
    )
    about = {"commit": answer.stdout.strip() or "unknown", "version": __version__}
    if bundle is not None:
        about["bundle"] = f"{bundle.identity.name} {bundle.identity.bundle_sha256[:12]}"
    about |= {**machine(), **library_versions()}
    for name in distributions:
        try:
            about[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return about
