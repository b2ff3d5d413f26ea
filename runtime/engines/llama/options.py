"""What a worker may use, how an answer is made, and the answer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from runtime.engines.llama.gguf_header import CachePrecision
from runtime.engines.llama.prompts import check

__all__ = ["MOST_SEQUENCES", "Generated", "GenerationOptions", "LlamaSettings", "StopReason"]

MOST_SEQUENCES = 16
_MOST_TOKENS = 1 << 20

StopReason = Literal["end", "stop_text", "length", "deadline", "cancelled"]
"""Why nothing follows: the model or its grammar ended, a text to stop at, or a limit cut the answer off."""


@dataclass(frozen=True)
class LlamaSettings:
    """What a worker may use.

    Attributes:
        context_tokens: Prompt and answer together, of each sequence.
        batch_tokens: Of a prompt computed at once; also what prefixes are kept by within a part.
        sequences: Prompts that can be answered side by side, and prompts that are kept.
        threads: CPU threads.
        memory_bytes: Of the worker's process; what needs more is refused or costs the answer.
        cache_precision: Of keys and values. float16 takes half the memory; logits of a small random model
            were 4e-3 from those of float64 with it, 8e-6 with float32.
        flash_attention: Whether attention is computed in blocks: faster, but 0.011 from float64 with either.
        gpu_layers: Layers on a GPU; 0 is the CPU alone.
    """

    context_tokens: int = 2048
    batch_tokens: int = 512
    sequences: int = 1
    threads: int = 1
    memory_bytes: int = 4 << 30
    cache_precision: CachePrecision = "float16"
    flash_attention: bool = False
    gpu_layers: int = 0

    def __post_init__(self) -> None:
        bounds = {
            **{"context_tokens": (8, 1 << 20), "batch_tokens": (1, 1 << 14), "threads": (1, 1024)},
            **{"sequences": (1, MOST_SEQUENCES), "gpu_layers": (0, 1024), "memory_bytes": (1 << 26, 1 << 44)},
        }
        for name, (least, most) in bounds.items():
            value = getattr(self, name)
            check(least <= value <= most, f"{name} is {value}, not within {least} and {most}")


@dataclass(frozen=True)
class GenerationOptions:
    """How an answer is made.

    Attributes:
        grammar: GBNF that the answer keeps; None allows everything.
        temperature: 0 takes the likeliest token; 1 samples from the model's own probabilities.
        top_k: Sample from so many of the likeliest tokens that the grammar allows; 0 is all.
        seed: Of the sampling; the same seed gives the same answer.
        max_tokens: Of the answer.
        deadline_s: Seconds from the call to the answer.
        stop_texts: An answer ends before the first of them.
    """

    grammar: str | None = None
    temperature: float = 0.0
    top_k: int = 0
    seed: int = 0
    max_tokens: int = 256
    deadline_s: float = 30.0
    stop_texts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        is_warm = math.isfinite(self.temperature) and 0 <= self.temperature <= 100
        check(is_warm, f"temperature is {self.temperature}, not within 0 and 100")
        check(0 <= self.top_k <= _MOST_TOKENS, f"top_k is {self.top_k}; 0 takes all tokens")
        check(0 <= self.seed < 1 << 63, f"the seed is {self.seed}, not within 0 and 2^63 - 1")
        is_some = 1 <= self.max_tokens <= _MOST_TOKENS
        check(is_some, f"max_tokens is {self.max_tokens}, not within 1 and {_MOST_TOKENS}")
        is_timely = math.isfinite(self.deadline_s) and 0 < self.deadline_s <= 86400
        check(is_timely, f"the deadline is {self.deadline_s} s, not within a day")
        are_stops = len(self.stop_texts) <= 16 and all(0 < len(text) <= 256 for text in self.stop_texts)
        check(are_stops, "there are more than 16 texts to stop at, or an empty or overlong one")


@dataclass(frozen=True)
class Generated:
    """An answer.

    Attributes:
        text: The words, without the text to stop at.
        tokens: Their numbers, without the end token.
        stop: Why nothing follows.
        prompt_tokens: Of the prompt, embeddings included.
        prefix_reused_tokens: Of these, what was kept from an earlier prompt.
        first_token_s: Seconds from the request to the first token.
        seconds: To the last.
    """

    text: str
    tokens: tuple[int, ...]
    stop: StopReason
    prompt_tokens: int
    prefix_reused_tokens: int
    first_token_s: float
    seconds: float

    @property
    def is_whole(self) -> bool:
        """Whether no limit cut it off; with a grammar, whether it is a sentence of it."""
        return self.stop in ("end", "stop_text")
