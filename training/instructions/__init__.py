"""Texts of instructions as people and language models write them, each with the target it asks for."""

from training.instructions.request import NO_TARGET, Instruction, Writer

__all__ = ["NO_TARGET", "Instruction", "Writer"]
