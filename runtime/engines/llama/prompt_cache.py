"""Compute prompts into the sequences of a model, and take up what a sequence already holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from runtime.engines.llama.binding import LlamaModel
from runtime.engines.llama.native_vision import PictureTokens
from runtime.engines.llama.prefixes import Chunk, Items, Prefixes, chunks_of
from runtime.engines.llama.prompts import (
    ChatPart,
    EmbeddingPart,
    ImagePart,
    Part,
    Prompt,
    TextPart,
    TokenPart,
)
from runtime.errors import UsageError

__all__ = ["ComputedPrompt", "PromptCache"]


@dataclass(frozen=True)
class ComputedPrompt:
    """A prompt whose logits are there.

    Attributes:
        sequence: Where it lies.
        tokens: Its length, embeddings included.
        positions: Where the answer begins; fewer than tokens after some models' pictures.
        reused_tokens: How many of its tokens were kept from before.
    """

    sequence: int
    tokens: int
    positions: int
    reused_tokens: int


class PromptCache:
    """The prompts that a model holds.

    Args:
        model: The loaded model.
    """

    def __init__(self, model: LlamaModel) -> None:
        self._model = model
        self._prefixes = Prefixes(model.settings.sequences)

    def chunks(self, prompt: Prompt) -> tuple[Chunk, ...]:
        """A prompt as it will be computed.

        Raises:
            UsageError: It has no token, or leaves no room for an answer.
        """
        parts: list[Items] = [items for part in prompt for items in self._items(part)]
        begin = self._model.begin_token
        if begin is not None and not isinstance(prompt[0], TokenPart):
            first = np.array([begin], np.int32)
            if isinstance(prompt[0], TextPart | ChatPart) and not isinstance(parts[0], PictureTokens):
                parts[0] = np.concatenate((first, parts[0].astype(np.int32, copy=False)))
            else:
                parts.insert(0, first)
        chunks = chunks_of(parts, self._model.settings.batch_tokens)
        length, most = sum(map(len, chunks)), self._model.settings.context_tokens
        if not length:
            raise UsageError("a prompt has no token; say something")
        if length >= most:
            raise UsageError(
                f"a prompt of {length} tokens leaves no room in a context of {most}; "
                "make it shorter or the context larger"
            )
        if isinstance(chunks[-1].items, PictureTokens):
            raise UsageError("a prompt ends with a picture; let words follow it")
        return chunks

    def _items(self, part: Part) -> list[Items]:
        if isinstance(part, TextPart):
            return [self._model.tokenise(part.text, part.reads_special_tokens)]
        if isinstance(part, ChatPart):
            before, after = self._model.chat_frame
            return [self._model.tokenise(before if part.place == "question" else after, True)]
        if isinstance(part, EmbeddingPart):
            return [part.rows]
        if isinstance(part, ImagePart):
            return list(self._model.see(part.pixels))
        if max(part.tokens) >= self._model.tokens:
            raise UsageError(f"a prompt holds tokens outside the vocabulary of {self._model.tokens}")
        return [np.array(part.tokens, np.int32)]

    def compute(self, prompt: tuple[Chunk, ...], taken: set[int]) -> ComputedPrompt:
        """Compute what is not held of a prompt; the logits after it are the model's last ones.

        Args:
            prompt: From `chunks`.
            taken: Sequences whose prompts must stay.

        Raises:
            LanguageError: Nothing was computed.
            StoppedError: The model was told to stop.
        """
        place = self._prefixes.place(prompt, taken)
        self._prefixes.forget(place.sequence)  # until all is computed
        if place.tokens and place.source != place.sequence:
            self._model.copy(place.source, place.sequence)
        is_kept = self._model.keep(place.sequence, place.positions)
        reused, position = (place.tokens, place.positions) if is_kept else (0, 0)
        for chunk in prompt[place.chunks if is_kept else 0 :]:
            if isinstance(chunk.items, PictureTokens):
                self._model.compute_picture(chunk.items, position, place.sequence)
            elif chunk.items.ndim == 1:
                self._model.compute_tokens(chunk.items.astype(np.int32, copy=False), position, place.sequence)
            else:
                self._model.compute_rows(chunk.items.astype(np.float32, copy=False), position, place.sequence)
            position += chunk.positions
        self._prefixes.hold(place.sequence, prompt)
        return ComputedPrompt(place.sequence, sum(map(len, prompt)), position, reused)
