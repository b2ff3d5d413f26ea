"""Which sequence already holds the beginning of a prompt, so that only the rest is computed.

A prompt is computed in chunks that never change: a part at a time, cut at the size of a batch. Prefixes are
kept by whole chunks, so what is reused was computed by the very calls that would compute it again, and an
answer has the same bits whether its prefix was kept or not. Embeddings are known by their hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.engines.llama.native_vision import PictureTokens

__all__ = ["Chunk", "Items", "Placement", "Prefixes", "chunks_of"]

Items = NDArray[np.int32] | NDArray[np.float32] | PictureTokens
"""Tokens (N,), embeddings (N, width), or the tokens of a picture, which is one chunk."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """What is computed in one call.

    Attributes:
        items: Tokens (N,) int32, embeddings (N, width) float32, or a picture's tokens.
        key: Tells equal chunks.
    """

    items: Items
    key: bytes

    def __len__(self) -> int:
        return len(self.items)

    @property
    def positions(self) -> int:
        """How far what follows is moved: by one for each token, or less after some models' pictures."""
        return self.items.positions if isinstance(self.items, PictureTokens) else len(self.items)


def chunks_of(parts: Sequence[Items], batch_tokens: int) -> tuple[Chunk, ...]:
    """Cut parts into chunks.

    Args:
        parts: Tokens (N,) int32, embeddings (N, width) float32 or pictures; empty ones vanish.
        batch_tokens: The longest chunk; a picture stays whole.
    """
    pieces: list[Items] = []
    for part in parts:
        if isinstance(part, PictureTokens):
            pieces.append(part)
        else:
            pieces += [part[at : at + batch_tokens] for at in range(0, len(part), batch_tokens)]
    return tuple(Chunk(piece, _key(piece)) for piece in pieces)


def _key(items: Items) -> bytes:
    if isinstance(items, PictureTokens):
        return items.key
    about = f"{items.dtype.str}{items.shape}".encode()
    return hashlib.blake2b(about + np.ascontiguousarray(items).tobytes(), digest_size=32).digest()


@dataclass(frozen=True)
class Placement:
    """Where a prompt is computed.

    Attributes:
        sequence: In which sequence.
        source: Which one holds the shared beginning now.
        chunks: How many chunks of it.
        tokens: How many tokens these are.
        positions: And how many positions.
    """

    sequence: int
    source: int
    chunks: int
    tokens: int
    positions: int


class Prefixes:
    """What each sequence holds.

    Args:
        sequences: How many there are.
    """

    def __init__(self, sequences: int) -> None:
        self._held: list[list[Chunk]] = [[] for _ in range(sequences)]
        self._used = [0] * sequences
        self._clock = 0

    def place(self, prompt: Sequence[Chunk], taken: set[int]) -> Placement:
        """Choose a sequence for a prompt.

        The last chunk is never reused: its computation leaves the logits. A sequence is taken over where it
        holds nothing beyond the shared beginning, or was not used for the longest time; otherwise what it
        holds is worth keeping, and the beginning is copied to the one not used for the longest time.

        Args:
            prompt: Its chunks, at least one.
            taken: Sequences that hold other prompts of the same request; not all.
        """
        shared = [self._shared(held, prompt) for held in self._held]
        source = max(range(len(shared)), key=lambda sequence: (shared[sequence], self._used[sequence]))
        free = [sequence for sequence in range(len(shared)) if sequence not in taken]
        oldest = min(free, key=lambda sequence: (bool(self._held[sequence]), self._used[sequence]))
        is_spent = len(self._held[source]) == shared[source]
        sequence = source if source in free and (is_spent or source == oldest) else oldest
        begin = prompt[: shared[source]]
        tokens, positions = sum(map(len, begin)), sum(chunk.positions for chunk in begin)
        return Placement(sequence, source, shared[source], tokens, positions)

    @staticmethod
    def _shared(held: Sequence[Chunk], prompt: Sequence[Chunk]) -> int:
        count = 0
        while count < min(len(held), len(prompt) - 1) and held[count].key == prompt[count].key:
            count += 1
        return count

    def hold(self, sequence: int, chunks: Sequence[Chunk]) -> None:
        """Remember what a sequence holds now."""
        self._clock += 1
        self._used[sequence] = self._clock
        self._held[sequence] = list(chunks)

    def forget(self, sequence: int) -> None:
        """Remember that a sequence holds nothing that is known."""
        self._held[sequence] = []
