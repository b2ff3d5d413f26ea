"""The arrays of a batch, made once and owned here: llama.cpp gets pointers, which must outlive the call."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.engines.llama.options import LlamaSettings
from runtime.errors import UsageError

__all__ = ["NativeBatch"]


class NativeBatch:
    """Tokens or embeddings, never both, with the position and the sequence of each.

    Args:
        library: The C functions.
        settings: Their sizes.
    """

    def __init__(self, library: Any, settings: LlamaSettings) -> None:
        self._most = max(settings.batch_tokens, settings.sequences)
        self._settings = settings
        self._positions = np.zeros(self._most, np.int32)
        self._counts = np.ones(self._most, np.int32)
        self._outputs = np.zeros(self._most, np.int8)
        self._tokens = np.zeros(self._most, np.int32)
        self._sequences = np.zeros(self._most, np.int32)
        self._rows = np.zeros((0, 0), np.float32)
        integer = ctypes.POINTER(ctypes.c_int32)
        first, size = self._sequences.ctypes.data, self._sequences.itemsize
        addresses = [ctypes.cast(first + place * size, integer) for place in range(self._most)]
        self._lists = (integer * self._most)(*addresses)  # each token is in one sequence
        self._batch = library.llama_batch()
        self._batch.pos = self._positions.ctypes.data_as(integer)
        self._batch.n_seq_id = self._counts.ctypes.data_as(integer)
        self._batch.seq_id = ctypes.cast(self._lists, ctypes.POINTER(integer))
        self._batch.logits = self._outputs.ctypes.data_as(ctypes.POINTER(ctypes.c_int8))

    def place(self, count: int, start: int, sequence: int) -> None:
        """So many places behind each other in one sequence; the last one leaves logits.

        Raises:
            UsageError: They do not fit into a batch or the context, or there is no such sequence.
        """
        if not 0 < count <= self._settings.batch_tokens:
            raise UsageError(f"{count} tokens do not fit into a batch of {self._settings.batch_tokens}")
        self.check(sequence, start, start + count)
        self._positions[:count] = np.arange(start, start + count)
        self._sequences[:count] = sequence
        self._outputs[:count] = 0
        self._outputs[count - 1] = 1
        self._batch.n_tokens = count

    def place_each(self, places: list[tuple[int, int]]) -> None:
        """A place in each of several sequences, with its position; all leave logits.

        Raises:
            UsageError: A sequence is there twice or does not exist, or a position is outside the context.
        """
        if not places or len({sequence for sequence, _ in places}) != len(places):
            raise UsageError("a step without sequences, or with one of them twice")
        for place, (sequence, position) in enumerate(places):
            self.check(sequence, position, position + 1)
            self._positions[place], self._sequences[place] = position, sequence
        self._outputs[: len(places)] = 1
        self._batch.n_tokens = len(places)

    def with_tokens(self, tokens: NDArray[np.int32]) -> Any:
        """The batch, of these tokens."""
        self._tokens[: len(tokens)] = tokens
        self._batch.token = self._tokens.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
        self._batch.embd = None
        return self._batch

    def with_rows(self, rows: NDArray[np.float32]) -> Any:
        """The batch, of these embeddings; they are kept until the next call."""
        self._rows = rows  # a pointer into an array that is gone reads freed memory
        self._batch.token = None
        self._batch.embd = rows.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        return self._batch

    def check(self, sequence: int, start: int, end: int) -> None:
        """Whether positions lie in a sequence.

        Raises:
            UsageError: They do not, or there is no such sequence.
        """
        if not 0 <= sequence < self._settings.sequences:
            raise UsageError(f"there is no sequence {sequence}, only {self._settings.sequences}")
        if start < 0 or end > self._settings.context_tokens:
            raise UsageError(
                f"{end} tokens do not fit into a context of {self._settings.context_tokens}; "
                "make the prompt shorter or the context larger"
            )
