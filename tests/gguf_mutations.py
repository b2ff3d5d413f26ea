"""Damaged GGUF headers, by seed: bytes, numbers, cuts, and whole fields moved or doubled."""

from __future__ import annotations

import struct

import numpy as np

__all__ = ["mutant"]

NUMBERS = (0, 1, 2, 7, 31, 32, 255, 256, 513, 65535, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 63, (1 << 64) - 1)
FLOATS = (0.0, -1.0, 1e-45, 1e38, float("inf"), float("nan"))


def mutant(sound: bytes, data_start: int, seed: int) -> bytes:
    """A damaged copy of a file; what lies before `data_start` is what mostly suffers."""
    random = np.random.default_rng(seed)
    data = bytearray(sound)
    for _ in range(1 if random.random() < 0.7 else 3):
        kind = int(random.integers(7))
        at = int(random.integers(4 if kind else 0, data_start - 8))
        if kind == 0:
            data[at] = int(random.integers(256))
        elif kind == 1:
            data[at] ^= 1 << int(random.integers(8))
        elif kind == 2:
            data[at : at + 4] = struct.pack("<I", NUMBERS[int(random.integers(len(NUMBERS)))] & 0xFFFFFFFF)
        elif kind == 3:
            data[at : at + 8] = struct.pack("<Q", NUMBERS[int(random.integers(len(NUMBERS)))])
        elif kind == 4:
            data[at : at + 4] = struct.pack("<f", FLOATS[int(random.integers(len(FLOATS)))])
        elif kind == 5:  # a field over another one
            source, count = int(random.integers(24, data_start - 64)), int(random.integers(1, 48))
            data[at : at + count] = data[source : source + count]
        elif random.random() < 0.3:
            del data[int(random.integers(0, len(data))) :]
            break
        else:  # a number where there is one: the byte after a name and its type
            places = _fields(sound[:data_start])
            place = places[int(random.integers(len(places)))]
            data[place : place + 4] = struct.pack("<I", int(random.integers(600)))
    return bytes(data)


def _fields(header: bytes) -> list[int]:
    """Where values of the model's keys, and types of tensors, lie."""
    places = []
    for word in (b"llama.", b"tokenizer.ggml.", b".weight"):
        at = header.find(word)
        while at >= 0:
            end = at
            while end < len(header) and 32 < header[end] < 127:
                end += 1
            places += [end, end + 4, end + 20]
            at = header.find(word, end)
    return [place for place in places if place + 4 <= len(header)]
