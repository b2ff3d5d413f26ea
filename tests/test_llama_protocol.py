"""Messages between client and worker: what goes in comes out, and anything else is refused."""

from __future__ import annotations

import dataclasses
import json
import struct
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.engines.llama.gguf_header import FileIdentity
from runtime.engines.llama.messages import (
    Cancel,
    CheckedFile,
    Done,
    Event,
    Failed,
    Generate,
    Load,
    Logits,
    LogitsReady,
    Ready,
    Request,
    TokenReady,
)
from runtime.engines.llama.options import Generated, GenerationOptions, LlamaSettings
from runtime.engines.llama.prompts import ChatPart, EmbeddingPart, ImagePart, TextPart, TokenPart
from runtime.engines.llama.protocol import MOST_REQUEST_BYTES, FrameReader, ProtocolError, encode

COUNTS = st.integers(0, 1 << 62)
SECONDS = st.floats(0, 1e6)
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
ROWS = st.builds(
    lambda rows, width, seed: np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32),
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(0, 99),
)
PIXELS = st.builds(
    lambda rows, columns, seed: (
        np.random.default_rng(seed).integers(0, 256, (rows, columns, 3)).astype(np.uint8)
    ),
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(0, 99),
)
PARTS = st.one_of(
    st.builds(TextPart, WORDS, st.booleans()),
    st.builds(TokenPart, st.lists(st.integers(0, 99999), min_size=1, max_size=9).map(tuple)),
    st.builds(EmbeddingPart, ROWS),
    st.builds(ImagePart, PIXELS),
    st.builds(ChatPart, st.sampled_from(["question", "answer"])),
)
PROMPTS = st.lists(PARTS, min_size=1, max_size=4).map(tuple)
OPTIONS = st.builds(
    GenerationOptions,
    grammar=st.none() | WORDS,
    temperature=st.floats(0, 100),
    top_k=st.integers(0, 100),
    seed=COUNTS,
    max_tokens=st.integers(1, 99),
    deadline_s=st.floats(0.1, 100),
    stop_texts=st.lists(WORDS.filter(bool), max_size=3).map(tuple),
)
ANSWERS = st.builds(
    Generated,
    text=WORDS,
    tokens=st.lists(st.integers(0, 99999), max_size=9).map(tuple),
    stop=st.sampled_from(["end", "stop_text", "length", "deadline", "cancelled"]),
    prompt_tokens=COUNTS,
    prefix_reused_tokens=COUNTS,
    first_token_s=SECONDS,
    seconds=SECONDS,
)
REQUESTS = st.one_of(
    st.builds(
        Load,
        st.binary(max_size=40),
        st.builds(FileIdentity, *[COUNTS] * 4),
        st.just(LlamaSettings(sequences=3)),
        st.none() | st.builds(CheckedFile, st.binary(max_size=40), st.builds(FileIdentity, *[COUNTS] * 4)),
    ),
    st.builds(Generate, COUNTS, st.lists(PROMPTS, min_size=1, max_size=3).map(tuple), OPTIONS),
    st.builds(Logits, COUNTS, PROMPTS, SECONDS),
    st.builds(Cancel, COUNTS),
)
EVENTS = st.one_of(
    st.builds(Ready, WORDS, SECONDS, COUNTS),
    st.builds(TokenReady, COUNTS, COUNTS, st.integers(-1, 99999), WORDS),
    st.builds(Done, COUNTS, st.lists(ANSWERS, max_size=3).map(tuple), COUNTS),
    st.builds(LogitsReady, COUNTS, ROWS.map(np.ravel)),
    st.builds(Failed, COUNTS, st.sampled_from(["bundle", "device", "language", "usage"]), WORDS),
)


def plain(value: object) -> object:
    """A message as values that can be compared."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [plain(getattr(value, field.name)) for field in dataclasses.fields(value)]
        return [type(value).__name__, *fields]
    if isinstance(value, np.ndarray):
        return [value.dtype.str, value.shape, value.tobytes()]
    return [plain(item) for item in value] if isinstance(value, tuple) else value


@settings(max_examples=150, deadline=None)
@given(st.lists(REQUESTS, min_size=1, max_size=3), st.integers(1, 64))
def test_requests_arrive_as_they_were_sent(messages: list[Any], piece: int) -> None:
    check_arrival(Request, messages, piece)


@settings(max_examples=150, deadline=None)
@given(st.lists(EVENTS, min_size=1, max_size=3), st.integers(1, 64))
def test_events_arrive_as_they_were_sent(messages: list[Any], piece: int) -> None:
    check_arrival(Event, messages, piece)


def check_arrival(kinds: object, messages: list[Any], piece: int) -> None:
    data = b"".join(map(encode, messages))
    reader = FrameReader(kinds, 1 << 20)
    arrived = [message for at in range(0, len(data), piece) for message in reader.feed(data[at : at + piece])]
    assert [plain(message) for message in arrived] == [plain(message) for message in messages]
    assert [type(message) for message in arrived] == [type(message) for message in messages]


@settings(max_examples=300, deadline=None)
@given(REQUESTS, st.integers(0, 1 << 20), st.integers(0, 255))
def test_changed_byte_gives_a_message_or_a_refusal(message: Any, at: int, byte: int) -> None:
    data = bytearray(encode(message))
    data[at % len(data)] = byte
    with suppress(ProtocolError):
        for arrived in FrameReader(Request, 1 << 20).feed(bytes(data)):
            encode(arrived)  # it is a whole one


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_noise_is_refused_or_waited_for(noise: bytes) -> None:
    reader = FrameReader(Event, 1 << 20)
    whole = len(noise) >= 12 and not noise.startswith(b"ZLM1")
    try:
        assert list(reader.feed(noise)) == []
        assert not whole
    except ProtocolError:
        assert whole


def frame(head: object, body: bytes = b"") -> bytes:
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return struct.pack("<4sII", b"ZLM1", len(text), len(body)) + text + body


WRONG = {
    "no JSON": (frame(b"{"), "no JSON"),
    "NaN": (frame(b'["Cancel", NaN]'), "no JSON"),
    "endless nesting": (frame(b"[" * 100_000), "no JSON"),
    "endless number": (frame(b'["Cancel", ' + b"9" * 5000 + b"]"), "no JSON"),
    "a large number": (frame(["Cancel", 1 << 70]), "a number that is not of its kind"),
    "unknown": (frame(["Shutdown"]), "an unknown message"),
    "an event": (frame(["Ready", 0, 0, 0]), "an unknown message"),
    "no list": (frame({"Cancel": 1}), "an unknown message"),
    "a name that is a list": (frame([["Cancel"], 1]), "an unknown message"),
    "too few": (frame(["Cancel"]), "no Cancel"),
    "too many": (frame(["Cancel", 1, 2]), "no Cancel"),
    "text as number": (frame(["Cancel", "1"]), "a number that is not of its kind"),
    "truth as number": (frame(["Cancel", True]), "a number that is not of its kind"),
    "bytes too many": (frame(["Cancel", 1], b"x"), "more bytes than it counts"),
    "bytes too few": (frame(["Logits", 1, [["TextPart", 9, False]], 1.0], b"x"), "counts more bytes"),
    "negative length": (
        frame(["Logits", 1, [["TextPart", -1, False]], 1.0]),
        "a length that is no whole number",
    ),
    "unknown part": (frame(["Logits", 1, [["SoundPart", 1]], 1.0]), "a part of an unknown kind"),
    "wrong picture": (frame(["Logits", 1, [["ImagePart", [1, 1, 4]]], 1.0], bytes(4)), "not valid"),
    "deep picture": (frame(["Logits", 1, [["ImagePart", [1, 1, 3, 1]]], 1.0], bytes(3)), "an unknown shape"),
    "huge picture": (frame(["Logits", 1, [["ImagePart", [1 << 30, 1 << 30, 3]]], 1.0]), "counts more bytes"),
    "wrong place": (frame(["Logits", 1, [["ChatPart", 3]], 1.0], b"end"), "none of those known"),
    "no UTF-8": (frame(["Logits", 1, [["TextPart", 1, False]], 1.0], b"\xff"), "not valid"),
    "zero byte": (frame(["Logits", 1, [["TextPart", 1, False]], 1.0], b"\0"), "not valid"),
    "no prompt": (frame(["Logits", 1, [], 1.0]), "not valid"),
    "huge array": (frame(["Logits", 1, [["EmbeddingPart", [1 << 40, 1 << 40]]], 1.0]), "counts more bytes"),
    "flat array": (frame(["Logits", 1, [["EmbeddingPart", [1]]], 1.0], bytes(4)), "not valid"),
    "NaN array": (frame(["Logits", 1, [["EmbeddingPart", [1, 1]]], 1.0], b"\0\0\xc0\x7f"), "not valid"),
    "pickle": (b"\x80\x04\x95" + bytes(40), "no frame"),
    "large head": (struct.pack("<4sII", b"ZLM1", 1 << 30, 0), "a frame of 1073741824 bytes"),
    "large body": (struct.pack("<4sII", b"ZLM1", 2, (1 << 28) + 1), "a frame of 268435459 bytes"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_frame_is_refused(case: str) -> None:
    data, words = WRONG[case]
    with pytest.raises(ProtocolError, match=words):
        list(FrameReader(Request, MOST_REQUEST_BYTES).feed(data))


def test_refusal_repeats_nothing_of_a_prompt() -> None:
    data = frame(["Logits", 1, [["TextPart", 12, False]], "Jane Doe"], b"Jane Doe \xff\xff\xff")
    with pytest.raises(ProtocolError) as caught:
        list(FrameReader(Request, 1 << 20).feed(data))
    assert "Jane" not in str(caught.value)


def test_events_are_small() -> None:
    reader = FrameReader(Event, 100)
    with pytest.raises(ProtocolError, match="a frame of"):
        list(reader.feed(encode(LogitsReady(1, np.zeros(1000, np.float32)))))
