"""The tokens of the language model: every word of an instruction is one, and every byte is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from runtime.bundle import Vocabulary
from runtime.language.instruction import BRIGHTNESSES, SIDES, SIZES, THICKNESSES, Finding, Statement
from runtime.language.sentence import write
from runtime.language.views import PLANES

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["BEGIN", "END", "IMAGE_END", "IMAGE_START", "PROMPT", "SPECIAL", "answers", "make_tokenizer"]
__all__ += ["read_tokenizer"]

SPECIAL = ("<s>", "</s>", "<Img>", "</Img>")
"""Tokens 0 to 3."""

BEGIN, END, IMAGE_START, IMAGE_END = range(4)

PROMPT = "<Img>{image}</Img>"
"""What is said to the model; llama.cpp puts the begin token before it."""

_MOST_TOKENS = 4096
"""Far more than there are: learning pairs ends when every word is whole."""


def _every_word(vocabulary: Vocabulary) -> list[str]:
    """Sentences in which every word is said, at every place where it can be."""
    spoken: list[str] = []
    findings: list[tuple[Finding, ...] | None] = [None]
    if vocabulary.finding is not None:
        findings.append(())
        findings += [
            (Finding(size, brightness, side),)
            for size in SIZES
            for brightness in BRIGHTNESSES
            for side in SIDES
        ]
    targets = vocabulary.targets
    for modality in vocabulary.modalities:
        for plane in PLANES:
            for thickness in THICKNESSES:
                for visible in ((), vocabulary.visible, *((name,) for name in vocabulary.visible)):
                    found = findings[len(spoken) % len(findings)]
                    number = len(spoken) % len(targets)
                    asked = targets if number == 0 else (targets[number],)
                    spoken.append(
                        write(Statement(modality, plane, thickness, visible, asked, found), vocabulary)
                    )
    return spoken


def make_tokenizer(vocabulary: Vocabulary) -> Tokenizer:
    """Learn byte pairs, cut into words as GPT-2 does, from every word that can be said.

    The library numbers pairs that are equally frequent as it happens to: keep the tokenizer with its weights.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_MOST_TOKENS,
        min_frequency=1,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator(_every_word(vocabulary), trainer)
    return made


def read_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer that was saved."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(path))


def answers(tokenizer: Tokenizer, texts: list[str]) -> NDArray[np.int64]:
    """Token ids (N, L) of answers, each with its end and then -1."""
    rows = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    ids = np.full((len(rows), max(map(len, rows)) + 1), -1, np.int64)
    for at, row in zip(ids, rows, strict=True):
        at[: len(row)], at[len(row)] = row, END
    return ids
