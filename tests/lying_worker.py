"""A worker that was taken over by a hostile model: it answers, but not what it should."""

from __future__ import annotations

import os
import struct
import time

from runtime.engines.llama.gguf_header import FileIdentity
from runtime.engines.llama.messages import Done, Failed, Generate, Load, Logits, Ready, Request, TokenReady
from runtime.engines.llama.options import Generated, LlamaSettings
from runtime.engines.llama.protocol import MOST_REQUEST_BYTES, FrameReader, encode

ANSWER = Generated("x", (1,), "end", 1, 0, 0.0, 0.0)


def lies(kind: str, number: int) -> bytes:
    """What it sends instead of an answer."""
    return {
        "noise": b"Segmentation fault (core dumped)\n",
        "huge": struct.pack("<4sII", b"ZLM1", 100, 0xFFFFFFFF),
        "not JSON": struct.pack("<4sII", b"ZLM1", 2, 0) + b"{]",
        "pickle": struct.pack("<4sII", b"ZLM1", 4, 0) + b"\x80\x04N.",
        "other question": encode(Done(number + 1, (ANSWER,), 0)),
        "two answers": encode(Done(number, (ANSWER, ANSWER), 0)),
        "loaded": encode(Ready("9", 0.0, 0)),
        "request": encode(Load(b"/", FileIdentity(0, 0, 0, 0), LlamaSettings())),
        "nothing": b"",
        "half": encode(Done(number, (ANSWER,), 0))[:-1],
        "own words": encode(Failed(number, "language", "as it is")),
        "flood": encode(TokenReady(number, 0, 1, "x" * 100)) * 200_000,
    }[kind]


def main() -> None:
    reader = FrameReader(Request, MOST_REQUEST_BYTES)
    while data := os.read(0, 1 << 16):
        for request in reader.feed(data):
            if isinstance(request, Load):
                os.write(1, encode(Ready("1", 0.0, 0)))
            elif isinstance(request, (Generate, Logits)):
                left = memoryview(lies(os.environ["ZEUS_TEST_LIE"], request.number))
                while left:
                    left = left[os.write(1, left) :]
                time.sleep(60)


if __name__ == "__main__":
    main()
