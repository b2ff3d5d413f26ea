"""Turn an instruction's text into a condition vector; what is no instruction is refused before anything runs.

An instruction is typed by a person and may hold patient data: no error and no log repeats it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.engines.engine import Engine
from runtime.errors import BundleError, InstructionError, UsageError

__all__ = ["MOST_CHARACTERS", "TextReader", "TextVector", "check_texts"]

MOST_CHARACTERS = 10_000
"""Of one instruction; more is a mistake, not a sentence."""

_UNIT_TOLERANCE = 1e-2
"""Of a condition vector's length: networks may run in float16."""


def check_texts(instruction: str | Sequence[str]) -> tuple[str, ...]:
    """The instructions one by one, each worth reading.

    Raises:
        InstructionError: There is none, or one is blank, has no letter, is absurdly long or is no Unicode.
        UsageError: One is no text.
    """
    texts = (instruction,) if isinstance(instruction, str) else tuple(instruction)
    if not texts:
        raise InstructionError("no instruction is given; say what to segment, or leave it out")
    for number, text in enumerate(texts, 1):
        name = f"instruction {number}"
        if not isinstance(text, str):
            raise UsageError(f"{name} is {type(text).__name__}; give text")
        if not text.strip():
            raise InstructionError(f"{name} is empty; say what to segment")
        if len(text) > MOST_CHARACTERS:
            raise InstructionError(
                f"{name} has {len(text)} characters, more than {MOST_CHARACTERS}; say it shorter"
            )
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise InstructionError(f"{name} is not valid Unicode; check the terminal's encoding")
        if not any(character.isalpha() for character in text):
            raise InstructionError(f"{name} has no letter; say what to segment in words")
    return texts


@dataclass(frozen=True)
class TextVector:
    """What a text became.

    Attributes:
        vector: Condition, (C,) float32 of length 1.
        is_cut: Whether the text had more tokens than the network takes; the rest was not read.
    """

    vector: NDArray[np.float32]
    is_cut: bool


class TextReader:
    """A bundle's tokenizer and its limits.

    Args:
        tokenizer: File of the `tokenizers` library.
        most_tokens: What is longer is cut.

    Raises:
        BundleError: The file is no tokenizer.
    """

    def __init__(self, tokenizer: Path, most_tokens: int) -> None:
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_file(str(tokenizer))
            self._tokenizer.encode_special_tokens = True  # "[PAD]" that a person types is text, too
            self._tokenizer.no_padding()
            self._tokenizer.enable_truncation(most_tokens)
        except Exception as error:  # the library has no type of its own
            raise BundleError(
                f"{tokenizer} cannot be loaded as a tokenizer; copy or export the bundle again"
            ) from error

    def ids(self, text: str) -> tuple[NDArray[np.int64], bool]:
        """Token ids (L,), and whether some were cut off.

        Raises:
            InstructionError: The tokenizer finds no token in it.
        """
        try:
            encoding = self._tokenizer.encode(text)
        except Exception:  # its message may quote the text
            raise InstructionError("the instruction cannot be split into words; say it otherwise") from None
        ids = np.array(encoding.ids, np.int64)
        if not ids.any():  # 0 is padding
            raise InstructionError("the instruction has no word that this bundle reads; say it otherwise")
        return ids, len(encoding.overflowing) > 0

    def vector(self, text: str, engine: Engine) -> TextVector:
        """Read a text that `check_texts` let pass.

        Args:
            text: The instruction.
            engine: The loaded text network: ids (1, L) int64 to condition (1, C) float32.

        Raises:
            InstructionError: As for `ids`.
            BundleError: The network answers with something else than a vector of length 1.
            DeviceError: The device failed.
        """
        ids, is_cut = self.ids(text)
        made: Any = engine.run({"ids": ids[None]}).get("condition")
        if made is None or made.ndim != 2 or made.shape[0] != 1:
            raise BundleError("the text network gave no condition (1, C); export the bundle again")
        vector = np.asarray(made[0], np.float32)
        if not abs(float(np.linalg.norm(vector)) - 1) <= _UNIT_TOLERANCE:
            raise BundleError(
                "the text network's condition has another length than 1; export the bundle again"
            )
        return TextVector(vector, is_cut)
