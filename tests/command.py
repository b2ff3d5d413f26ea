"""The command of this product, run as its users do: in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["COMMAND", "ROOT", "Run", "ran"]

ROOT = Path(__file__).parent.parent
COMMAND = (sys.executable, "-W", "error", "-m", "runtime.infer")

Run = Callable[..., tuple[int, str, str]]
"""Arguments to exit code, stdout and stderr."""


def ran(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command with warnings as errors, from the project's root."""
    return subprocess.run(
        [*COMMAND, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, **options
    )
