"""What a figure was measured on: goes beside every figure."""

from __future__ import annotations

import subprocess
from pathlib import Path

from runtime.bundle import Bundle
from runtime.report import library_versions, machine
from runtime.version import __version__

__all__ = ["fingerprint"]


def fingerprint(bundle: Bundle) -> dict[str, str]:
    """Commit, machine, library versions and bundle hash."""
    folder = Path(__file__).parent
    answer = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=folder, capture_output=True, text=True, check=False
    )
    return {
        "commit": answer.stdout.strip() or "unknown",
        "version": __version__,
        "bundle": f"{bundle.identity.name} {bundle.identity.bundle_sha256[:12]}",
        **machine(),
        **library_versions(),
    }
