"""Choose the next token: greedy or by chance, with the grammar before everything that narrows the choice.

Two readings of the grammar must agree on every token: llama.cpp's, which masks the vocabulary, and ours.
Where one of them refuses all tokens nothing more is said; where llama.cpp makes no mask nothing is said at
all.
"""

from __future__ import annotations

import ctypes
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.engines.llama.binding import LlamaModel
from runtime.engines.llama.grammar import parse_grammar
from runtime.engines.llama.grammar_match import GrammarState, begin
from runtime.engines.llama.options import GenerationOptions
from runtime.errors import LanguageError, UsageError

__all__ = ["GrammarMask", "Mask", "TokenChooser", "Vocabulary", "draw"]

_CANDIDATE = np.dtype([("token", "<i4"), ("logit", "<f4"), ("probability", "<f4")])
_MOST_TRIES = 512


class Vocabulary(Protocol):
    """What is asked about tokens."""

    def piece(self, token: int) -> bytes:
        """Its bytes."""
        ...

    def is_end(self, token: int) -> bool:
        """Whether it ends an answer."""
        ...


class Mask(Protocol):
    """A grammar as llama.cpp follows it."""

    def masked(self, tokens: NDArray[np.int32], logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """The logits of these tokens, minus infinity where the grammar forbids one."""
        ...

    def accept(self, token: int) -> None:
        """Go on with a token that it does not forbid."""
        ...

    def close(self) -> None:
        """Free it."""
        ...


class GrammarMask:
    """llama.cpp's own grammar.

    Args:
        model: Whose vocabulary.
        grammar: A text that `parse_grammar` let pass.

    Raises:
        UsageError: llama.cpp does not take it.
    """

    def __init__(self, model: LlamaModel, grammar: str) -> None:
        self._library = model.library
        # An empty text would be a sampler that allows everything; parse_grammar has refused it.
        self._sampler = self._library.llama_sampler_init_grammar(model.vocabulary, grammar.encode(), b"root")
        if not self._sampler:
            raise UsageError("llama.cpp does not take the grammar; write it simpler")

    def masked(self, tokens: NDArray[np.int32], logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """The logits of these tokens, minus infinity where the grammar forbids one."""
        candidates = np.zeros(len(tokens), _CANDIDATE)
        candidates["token"], candidates["logit"] = tokens, logits
        pointer = ctypes.cast(candidates.ctypes.data, ctypes.POINTER(self._library.llama_token_data))
        array = self._library.llama_token_data_array(pointer, len(tokens), -1, False)
        self._library.llama_sampler_apply(self._sampler, ctypes.byref(array))
        return np.array(candidates["logit"])

    def accept(self, token: int) -> None:
        """Go on with a token that it does not forbid; another one would end the process."""
        self._library.llama_sampler_accept(self._sampler, token)

    def close(self) -> None:
        """Free it."""
        if self._sampler:
            self._library.llama_sampler_free(self._sampler)
            self._sampler = None


class TokenChooser:
    """Chooses the tokens of one answer.

    Args:
        vocabulary: What tokens mean.
        mask: The grammar of `options` in llama.cpp; None where there is none.
        options: How to choose.
        number: Of the answer among those made side by side: each has its own chance.

    Attributes:
        is_finished: Whether the grammar allows nothing but the end.
    """

    def __init__(
        self, vocabulary: Vocabulary, mask: Mask | None, options: GenerationOptions, number: int
    ) -> None:
        if (mask is None) != (options.grammar is None):
            raise UsageError("a grammar without a mask, or a mask without one")
        self._vocabulary = vocabulary
        self._mask = mask
        self._options = options
        self._random = np.random.default_rng((options.seed, number))
        self._state = None if options.grammar is None else begin(parse_grammar(options.grammar))
        self.is_finished = False

    def choose(self, logits: NDArray[np.float32]) -> int | None:
        """The next token; None at the end of the answer.

        Args:
            logits: (vocabulary,) finite.

        Raises:
            LanguageError: No token can go on within the grammar.
        """
        if self._mask is None or self._state is None:
            token = self._draw(logits)
            return None if self._vocabulary.is_end(token) else token
        return self._choose_within(logits, self._mask, self._state)

    def _choose_within(self, logits: NDArray[np.float32], mask: Mask, state: GrammarState) -> int | None:
        if self._options.top_k == 0 or self._options.temperature == 0:
            # One token is tested before all are masked. That does not change the chances: p + (1 - p) q is
            # what the masked ones have, where p is drawn from all and q only from those allowed.
            token = self._draw(logits)
            one = np.array([token], np.int32)
            if np.isfinite(mask.masked(one, logits[one])[0]) and self._fits(token, state):
                return self._taken(token, mask, state)
        masked = mask.masked(np.arange(len(logits), dtype=np.int32), logits)
        for _ in range(_MOST_TRIES):
            if not np.isfinite(masked).any():
                break
            token = self._draw(masked)
            if self._fits(token, state):
                return self._taken(token, mask, state)
            masked[token] = -np.inf
        raise LanguageError("no token of the language model goes on within the grammar; use another grammar")

    def _fits(self, token: int, state: GrammarState) -> bool:
        if self._vocabulary.is_end(token):
            return state.may_end
        piece = self._vocabulary.piece(token)
        return bool(piece) and state.after(piece) is not None

    def _taken(self, token: int, mask: Mask, state: GrammarState) -> int | None:
        if self._vocabulary.is_end(token):
            return None
        self._state = state.after(self._vocabulary.piece(token))
        self.is_finished = self._state is not None and self._state.must_end
        mask.accept(token)
        return token

    def _draw(self, logits: NDArray[np.float32]) -> int:
        return draw(logits, self._options.temperature, self._options.top_k, self._random)


def draw(logits: NDArray[np.float32], temperature: float, top_k: int, random: np.random.Generator) -> int:
    """A token by its probability at a temperature, or the likeliest at 0 (the first of equals).

    Args:
        logits: (vocabulary,), minus infinity for what cannot be drawn; not all.
        temperature: At least 0.
        top_k: Only the likeliest so many, 0 for all.
        random: Where chance comes from.
    """
    if temperature == 0:
        return int(np.argmax(logits))
    places = np.argsort(-logits, kind="stable")[:top_k] if top_k else np.arange(len(logits))
    scaled = logits[places].astype(np.float64)
    weights = np.exp((scaled - scaled.max()) / temperature)
    ends = np.cumsum(weights)
    drawn = int(np.searchsorted(ends, random.random() * ends[-1], side="right"))
    return int(places[min(drawn, int(np.flatnonzero(weights)[-1]))])
