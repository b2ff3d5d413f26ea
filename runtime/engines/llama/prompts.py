"""A prompt: words, tokens, visual tokens, pictures. It may hold patient data; no error repeats any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from runtime.errors import UsageError

__all__ = ["ChatPart", "EmbeddingPart", "ImagePart", "Part", "Prompt", "TextPart", "TokenPart", "check"]

_MOST_TEXT = 1 << 20
_MOST_TOKENS = 1 << 20
_MOST_SIDE = 4096


def check(is_right: bool, fact: str) -> None:
    """Refuse what a caller got wrong.

    Raises:
        UsageError: It is not right; `fact` is the message.
    """
    if not is_right:
        raise UsageError(fact)


@dataclass(frozen=True)
class TextPart:
    """A piece of a prompt in words.

    Parts are tokenised one by one, and are what prefixes are kept by: put what stays (the system's words),
    the image and the question into parts of their own.

    Attributes:
        text: The words.
        reads_special_tokens: Whether "</s>" in it is the token or four characters. Only for words of our own:
            what a person typed must not end the prompt.
    """

    text: str
    reads_special_tokens: bool = False

    def __post_init__(self) -> None:
        check(
            len(self.text) <= _MOST_TEXT, f"a part of a prompt has more than {_MOST_TEXT} characters; cut it"
        )
        is_text = not any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in self.text)
        check(is_text, "a part of a prompt is not valid Unicode text; check where it comes from")


@dataclass(frozen=True)
class TokenPart:
    """A piece of a prompt in tokens; at its start no begin token is added.

    Attributes:
        tokens: Their numbers.
    """

    tokens: tuple[int, ...]

    def __post_init__(self) -> None:
        is_sized = 0 < len(self.tokens) <= _MOST_TOKENS
        check(is_sized and min(self.tokens) >= 0, "a part of a prompt has no tokens, or negative ones")


@dataclass(frozen=True, eq=False)
class EmbeddingPart:
    """Visual tokens.

    Attributes:
        rows: One embedding each, (N, width of the model) float32, finite; a copy is kept. gemma3 multiplies
            the rows of its own tokens by the root of the width, and these by nothing.
    """

    rows: NDArray[np.float32]

    def __post_init__(self) -> None:
        rows = self.rows
        if getattr(rows, "dtype", None) != np.float32 or rows.ndim != 2 or not rows.size:
            raise UsageError("embeddings are no array (N, width) of float32; convert them first")
        check(bool(np.isfinite(rows).all()), "embeddings hold NaN or infinity; check the encoder before")
        copy = np.array(rows, order="C")
        copy.setflags(write=False)
        object.__setattr__(self, "rows", copy)


@dataclass(frozen=True, eq=False)
class ImagePart:
    """A picture, for a language model with a vision projector.

    Attributes:
        pixels: (rows, columns, 3) uint8, red, green and blue; a copy is kept.
    """

    pixels: NDArray[np.uint8]

    def __post_init__(self) -> None:
        pixels = self.pixels
        if getattr(pixels, "dtype", None) != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise UsageError("a picture is no array (rows, columns, 3) of uint8; convert it first")
        is_sized = all(0 < side <= _MOST_SIDE for side in pixels.shape)
        check(is_sized, f"a picture has no pixels, or a side of more than {_MOST_SIDE}; make it smaller")
        copy = np.array(pixels, order="C")
        copy.setflags(write=False)
        object.__setattr__(self, "pixels", copy)


@dataclass(frozen=True)
class ChatPart:
    """What the model's own chat template writes around a question; nothing where it has none that is known.

    Attributes:
        place: "question": before a person's words; "answer": after them, and before the model's.
    """

    place: Literal["question", "answer"]


Part = TextPart | TokenPart | EmbeddingPart | ImagePart | ChatPart
Prompt = tuple[Part, ...]
