"""Recognise how a byte-level tokenizer cuts text: by its own description, never by the name of a model.

Source: the expressions of `llama_vocab` in llama.cpp; each cuts as the description beside it does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runtime.errors import BundleError

__all__ = ["pre_tokenizer_name"]

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_THREE_DIGITS = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST
_ONE_DIGIT = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _REST

_NAMES = {
    ("gpt2", False): "gpt-2",
    ("digits gpt2", False): "smollm",
    (_THREE_DIGITS, True): "llama-bpe",
    (_THREE_DIGITS, False): "smaug-bpe",
    (_ONE_DIGIT, False): "qwen2",
}
"""How text is cut, and whether a word that is a token is taken whole (`ignore_merges`)."""


def pre_tokenizer_name(document: dict[str, object], path: Path) -> str:
    """The name that llama.cpp has for a tokenizer's way to cut text.

    Args:
        document: A tokenizer.json.
        path: Its path, for messages.

    Raises:
        BundleError: It is no byte-level BPE, or cuts text in a way that is not known.
    """
    model: Any = document.get("model")
    if not isinstance(model, dict) or model.get("type") != "BPE" or not isinstance(model.get("vocab"), dict):
        kind = model.get("type") if isinstance(model, dict) else model
        raise BundleError(f"{path}: the tokenizer is {kind!r}, not BPE; other kinds cannot be exported here")
    if model.get("byte_fallback"):
        raise BundleError(f"{path} is made of a SentencePiece file; copy tokenizer.model beside it")
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(name):
            raise BundleError(f"{path}: {name} is not known to llama.cpp; this tokenizer cannot be exported")
    cut = _cut(document.get("pre_tokenizer"))
    found = _NAMES.get((cut, bool(model.get("ignore_merges"))))
    normal: Any = document.get("normalizer")
    if found == "qwen2" and normal == {"type": "NFC"}:
        normal = None  # llama.cpp normalises nothing; texts that are in that form are split alike
    if found is None or normal is not None:
        raise BundleError(
            f"{path}: how it cuts text (pre_tokenizer, normalizer) is none of those known here "
            f"({', '.join(sorted(_NAMES.values()))}); llama.cpp would guess, so it is not exported"
        )
    return found


def _cut(described: Any) -> str:
    """A short name for a pre-tokenizer, or its expression; nothing if it is another kind."""
    steps = described.get("pretokenizers") if _is(described, "Sequence") else [described]
    if not isinstance(steps, list) or not steps or not _is(steps[-1], "ByteLevel"):
        return ""
    last, before = steps[-1], steps[:-1]
    if last.get("add_prefix_space") is not False:
        return ""
    own = last.get("use_regex", True)
    if not before:
        return "gpt2" if own else ""
    first = before[0]
    if len(before) > 1:
        return ""
    if _is(first, "Digits") and first.get("individual_digits") is True and own:
        return "digits gpt2"
    if _is(first, "Split") and first.get("behavior") == "Isolated" and not first.get("invert") and not own:
        pattern = first.get("pattern")
        return str(pattern.get("Regex", "")) if isinstance(pattern, dict) else ""
    return ""


def _is(step: Any, kind: str) -> bool:
    return isinstance(step, dict) and step.get("type") == kind
