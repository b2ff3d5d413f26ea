"""Texts of instructions as people and language models write them, each with the target it asks for."""

from training.instructions.request import NO_TARGET, Instruction, Writer
from training.instructions.vocabulary import HEAD, HIPPOCAMPUS, VOCABULARIES, Vocabulary

__all__ = ["HEAD", "HIPPOCAMPUS", "NO_TARGET", "VOCABULARIES", "Instruction", "Vocabulary", "Writer"]
