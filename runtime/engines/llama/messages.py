"""What client and worker say to each other: frozen dataclasses, valid once built, on both sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from runtime.engines.llama.gguf_header import FileIdentity
from runtime.engines.llama.options import MOST_SEQUENCES, Generated, GenerationOptions, LlamaSettings
from runtime.engines.llama.prompts import Prompt, check

__all__ = [
    "Cancel",
    "CheckedFile",
    "Done",
    "Event",
    "Failed",
    "FailureKind",
    "Generate",
    "Load",
    "Logits",
    "LogitsReady",
    "Ready",
    "Request",
    "TokenReady",
]

FailureKind = Literal["bundle", "device", "language", "usage"]
"""Which of our errors it becomes."""


@dataclass(frozen=True)
class CheckedFile:
    """A file whose header was checked."""

    path: bytes
    identity: FileIdentity


@dataclass(frozen=True)
class Load:
    """Load a model, and what lets it see, in place of any other; answered by Ready."""

    path: bytes
    identity: FileIdentity
    settings: LlamaSettings
    projector: CheckedFile | None = None


@dataclass(frozen=True)
class Generate:
    """Answer prompts side by side; answered by TokenReady … and Done."""

    number: int
    prompts: tuple[Prompt, ...]
    options: GenerationOptions

    def __post_init__(self) -> None:
        check(0 < len(self.prompts) <= MOST_SEQUENCES, f"give 1 to {MOST_SEQUENCES} prompts")
        check(all(self.prompts), "a prompt has no parts")


@dataclass(frozen=True)
class Logits:
    """The logits after a prompt; answered by LogitsReady."""

    number: int
    prompt: Prompt
    deadline_s: float

    def __post_init__(self) -> None:
        check(bool(self.prompt), "a prompt has no parts")


@dataclass(frozen=True)
class Cancel:
    """Stop a request early; it is answered with what there is."""

    number: int


@dataclass(frozen=True)
class Ready:
    """A model is loaded."""

    version: str
    seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class TokenReady:
    """Some more text of a prompt's answer; it may be empty while a character is not whole."""

    number: int
    sequence: int
    token: int
    text: str


@dataclass(frozen=True)
class Done:
    """All prompts are answered, in their order."""

    number: int
    answers: tuple[Generated, ...]
    peak_bytes: int


@dataclass(frozen=True, eq=False)
class LogitsReady:
    """Logits, (vocabulary,) float32."""

    number: int
    logits: NDArray[np.float32]


@dataclass(frozen=True)
class Failed:
    """A request came to nothing; 0 is the loading."""

    number: int
    kind: FailureKind
    message: str


Request = Load | Generate | Logits | Cancel
Event = Ready | TokenReady | Done | LogitsReady | Failed
