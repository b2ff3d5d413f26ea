"""Text to token ids: a WordPiece vocabulary of the words that instructions are made of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from training.instructions import Writer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["make_tokenizer", "padded", "read_tokenizer", "unknown_id"]

_TEXTS = 20_000


def make_tokenizer(writer: Writer, size: int, seed: int) -> Tokenizer:
    """Learn the vocabulary from instructions as training writes them.

    Lower case, accents dropped; words that are not in it are cut into known pieces, down to letters.
    Id 0 is padding.

    Args:
        writer: Writes the texts.
        size: Most entries.
        seed: Of the texts.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    random = np.random.default_rng((seed, 77))
    made = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=60))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789", *".,:;!?-=()'/"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        special_tokens=["[PAD]", "[UNK]"],
        initial_alphabet=letters,
        show_progress=False,
        min_frequency=20,
    )
    made.train_from_iterator((writer.write(random).text for _ in range(_TEXTS)), trainer)
    return made


def read_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer that `make_tokenizer` made and that was saved."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(path))


def unknown_id(tokenizer: Tokenizer) -> int:
    """Id of what has no token."""
    return int(tokenizer.encode("[UNK]").ids[0])


def padded(tokenizer: Tokenizer, texts: Sequence[str], most: int) -> NDArray[np.int64]:
    """Token ids of texts, (N, L) with L the longest's, at most `most`; 0 after the end of a text.

    A text without any token becomes one unknown token.
    """
    unknown = unknown_id(tokenizer)
    rows = [tokenizer.encode(text).ids[:most] or [unknown] for text in texts]
    ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
    for row, found in zip(ids, rows, strict=True):
        row[: len(found)] = found
    return ids
