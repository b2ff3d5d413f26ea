"""A prompt in a file: words, and marks in braces for what differs from image to image.

Whatever takes a mark's place is ours: visual tokens, or words of the vocabulary. Nothing that a scanner or a
person wrote, such as a description of a series, ever does.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from runtime.engines.llama.prompts import ChatPart, EmbeddingPart, ImagePart, Part, Prompt, TextPart
from runtime.errors import BundleError

__all__ = ["IMAGE", "INSTRUCT", "INSTRUCT_MARKS", "LOOK", "LOOK_MARKS"]
__all__ += ["Template", "read_template", "split_template"]

IMAGE = "image"

INSTRUCT = Path(__file__).with_name("instruct.txt")
"""For language models that see no image. Zeus' question, as a review of its paper has it; the rest ours."""

INSTRUCT_MARKS = ("modality", "instance", "facts")

LOOK = Path(__file__).with_name("look.txt")
"""For language models that see by a projector of their own; they are not told what the rule knows."""

_CHAT: dict[str, Literal["question", "answer"]] = {"question": "question", "answer": "answer"}
"""Marks that the model's own chat template fills."""

LOOK_MARKS = (*_CHAT, IMAGE, "modality", "instance")

_MARK = re.compile(r"\{([a-z]+)\}")
_MOST_BYTES = 1 << 16


@dataclass(frozen=True)
class Template:
    """A prompt with holes.

    Attributes:
        pieces: Words and names of marks in turns, words first and last.
    """

    pieces: tuple[str, ...]

    def said(self, words: Mapping[str, str]) -> tuple[str, ...]:
        """Its pieces with words in the marks' places; a mark that has none, such as the image's, by its name.

        Args:
            words: What stands for marks.
        """
        return tuple(
            words.get(piece, piece) if number % 2 else piece for number, piece in enumerate(self.pieces)
        )

    def filled(
        self, words: Mapping[str, str], image: NDArray[np.float32] | NDArray[np.uint8] | None = None
    ) -> Prompt:
        """The prompt; each of its pieces is a part, so that prefixes are kept up to the first that differs.

        Args:
            words: What stands for each mark but the image's and the chat's.
            image: Visual tokens, (N, width) float32, or a picture, (rows, columns, 3) uint8.
        """
        parts: list[Part] = []
        for number, piece in enumerate(self.pieces):
            if number % 2 and piece == IMAGE and image is not None:
                parts.append(_seen(image))
            elif number % 2 and piece in _CHAT:
                parts.append(ChatPart(_CHAT[piece]))
            elif number % 2:
                parts.append(TextPart(words[piece]))
            elif piece:
                parts.append(TextPart(piece, reads_special_tokens=True))
        return tuple(parts)


def _seen(image: NDArray[np.float32] | NDArray[np.uint8]) -> Part:
    if image.dtype == np.uint8:
        return ImagePart(image.astype(np.uint8, copy=False))
    return EmbeddingPart(image.astype(np.float32, copy=False))


def split_template(text: str) -> Template:
    """A prompt from its text, whatever marks it has."""
    return Template(tuple(_MARK.split(text)))


def read_template(path: Path, marks: Collection[str]) -> Template:
    """Read a prompt; its last line's end is part of it, if it has one.

    Args:
        path: UTF-8.
        marks: Each of them is in it once, and no other.

    Raises:
        BundleError: The file is missing, too long, not UTF-8, or has other marks.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(
            f"{path} cannot be read as a prompt ({type(error).__name__}); copy the bundle again"
        ) from None
    made = split_template(text)
    if len(data) > _MOST_BYTES or sorted(made.pieces[1::2]) != sorted(marks) or "\0" in text:
        wanted = ", ".join(f"{{{mark}}}" for mark in marks)
        raise BundleError(f"{path} is no prompt with {wanted} once each; export the bundle again")
    return made
