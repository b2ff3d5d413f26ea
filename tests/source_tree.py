"""The files that make up the project, for tests that look at the project itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def project_files() -> list[Path]:
    """Files of the project, those not committed yet too, but nothing that git ignores."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in sorted(set(listed.split("\0"))) if name and (ROOT / name).is_file()]


def relative(path: Path) -> str:
    """The name of a file as the project's documents write it."""
    return path.relative_to(ROOT).as_posix()
