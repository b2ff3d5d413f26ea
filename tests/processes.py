"""Workers seen from outside."""

from __future__ import annotations

import time
from pathlib import Path

from runtime.engines.llama.client import LlamaProcess
from runtime.engines.llama.options import GenerationOptions, LlamaSettings
from runtime.engines.llama.prompts import TextPart

__all__ = ["PROMPT", "SETTINGS", "SHORT", "pid_of", "wait_until_gone"]

SETTINGS = LlamaSettings(context_tokens=2048, batch_tokens=32, sequences=2, memory_bytes=1 << 28)
PROMPT = (TextPart("the lesion in the brain"),)
SHORT = GenerationOptions(max_tokens=4)


def pid_of(model: LlamaProcess) -> int:
    """The worker's number; there is one."""
    assert model.pid is not None
    return model.pid


def wait_until_gone(pid: int) -> bool:
    """Whether a process ends within ten seconds; a zombie counts once its last thread is gone."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
            threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z" and threads == 1:
            return True
        time.sleep(0.02)
    return False
