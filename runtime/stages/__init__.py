"""Noun to noun, one file per stage, no I/O and no device choice."""
