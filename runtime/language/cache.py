"""Keep what a language model wrote: the same scan, prompt and model have the same instruction.

An entry is found by a hash of all that decides it, says nothing of a patient, and is read as anything else
that a stranger wrote: by the parser.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import astuple, dataclass

import numpy as np

from runtime.bundle import Vocabulary
from runtime.language.instruction import Instruction
from runtime.language.sentence import parse
from runtime.user_cache import UserCache
from runtime.volume import Volume

__all__ = ["INSTRUCTIONS", "InstructionKey", "content_hash", "keep", "kept"]

INSTRUCTIONS = UserCache("instructions", ".json", largest_bytes=1 << 16, most_entries=4096)


@dataclass(frozen=True)
class InstructionKey:
    """All that decides what is written about a series, besides its content.

    Attributes:
        model_sha256: Of the language model.
        vision_sha256: Of the vision network; "" without one.
        prompt: With every mark but the image's filled in.
        grammar: Of the answer.
        seed: Of the sampling.
        most_tokens: Of the answer.
    """

    model_sha256: str
    vision_sha256: str
    prompt: str
    grammar: str
    seed: int
    most_tokens: int

    def name(self, content: bytes) -> str:
        """Name of the entry for a series.

        Args:
            content: Its hash.
        """
        return hashlib.sha256(json.dumps([content.hex(), *astuple(self)]).encode()).hexdigest()


def content_hash(volume: Volume) -> bytes:
    """SHA-256 of voxels, their scale and their place."""
    digest = hashlib.sha256(volume.voxels.data)
    digest.update(repr((volume.voxels.dtype.str, volume.voxels.shape)).encode())
    digest.update(np.array([volume.slope, volume.intercept, *volume.affine.ravel()]).tobytes())
    return digest.digest()


def keep(key: InstructionKey, content: bytes, instruction: Instruction) -> None:
    """Keep an instruction.

    Args:
        key: What else decides it.
        content: Hash of the series.
        instruction: What was written.

    Raises:
        OSError: The user's cache cannot be written.
    """
    entry = {"text": instruction.text, "tokens": instruction.tokens, "seconds": instruction.seconds}
    INSTRUCTIONS.save(key.name(content), json.dumps(entry).encode())


def kept(key: InstructionKey, content: bytes, vocabulary: Vocabulary) -> Instruction | None:
    """The instruction that was kept; None where there is none that can be read.

    Args:
        key: What else decides it.
        content: Hash of the series.
        vocabulary: By which it is read again.
    """
    data = INSTRUCTIONS.load(key.name(content))
    if data is None:
        return None
    try:
        entry = json.loads(data)
        text, tokens, seconds = str(entry["text"]), int(entry["tokens"]), float(entry["seconds"])
        statement = parse(text, vocabulary)
    except (ValueError, TypeError, KeyError, RecursionError):  # InstructionError is a ValueError
        return None
    return Instruction(statement, text, "llm", key.model_sha256, key.seed, tokens, seconds, is_kept=True)
