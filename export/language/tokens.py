"""The tokenizer of a checkpoint folder becomes what llama.cpp splits text by; an unknown one is refused."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.language.config import read_object
from export.language.pieces import PieceFile, bpe_of, read_pieces
from export.language.pre_tokenizers import pre_tokenizer_name
from runtime.errors import BundleError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["TokenKind", "Vocabulary", "read_vocabulary"]


class TokenKind:
    """What a token is, by the numbers of llama.cpp (`enum llama_token_type`)."""

    NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer in the words of GGUF.

    Attributes:
        model: "gpt2" (byte-level pairs) or "llama" (SentencePiece).
        tokens: By number.
        kinds: Of each token.
        reference: The same tokenizer in the `tokenizers` library, which is compared with.
        pre: How text is cut before pairs are merged; of "gpt2".
        merges: Pairs, the first to be merged first; of "gpt2".
        scores: Of each token; of "llama".
        adds_space: Whether a space is put before a text; of "llama".
        begin: What every text begins with, if anything; `adds_begin` says whether it does.
        end: What ends an answer.
        turn_end: What ends an answer, too.
        adds_begin: Whether `begin` is put before a text.
        adds_end: Whether `end` is put behind it.
        unknown: For what has no token.
        padding: That is never read.
        chat_template: As the folder has it.
    """

    model: str
    tokens: tuple[str, ...]
    kinds: tuple[int, ...]
    reference: Tokenizer
    pre: str = ""
    merges: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    adds_space: bool = False
    begin: int | None = None
    end: int | None = None
    turn_end: int | None = None
    adds_begin: bool = False
    adds_end: bool = False
    unknown: int | None = None
    padding: int | None = None
    chat_template: str | None = None


def read_vocabulary(folder: Path, rows: int) -> Vocabulary:
    """Read tokenizer.json or tokenizer.model, and the files beside it.

    Args:
        folder: Of the checkpoint.
        rows: Of the embedding; unused tokens fill up what the tokenizer leaves free.

    Raises:
        BundleError: There is none, or it is of a kind that llama.cpp would read otherwise.
    """
    if (folder / "tokenizer.model").is_file():
        vocabulary = _sentence_pieces(folder)
    elif (folder / "tokenizer.json").is_file():
        vocabulary = _byte_pairs(folder)
    else:
        raise BundleError(f"{folder} has neither tokenizer.json nor tokenizer.model; copy the tokenizer, too")
    if len(vocabulary.tokens) > rows:
        raise BundleError(
            f"{folder}: the tokenizer has {len(vocabulary.tokens)} tokens, the embedding {rows} rows; "
            "it is the tokenizer of another model"
        )
    if len(set(vocabulary.tokens)) != len(vocabulary.tokens):
        raise BundleError(f"{folder}: a token is there twice; copy the tokenizer again")
    free = rows - len(vocabulary.tokens)
    names = tuple(f"[PAD{len(vocabulary.tokens) + number}]" for number in range(free))
    vocabulary = dataclasses.replace(
        vocabulary,
        tokens=(*vocabulary.tokens, *names),
        kinds=(*vocabulary.kinds, *[TokenKind.UNUSED] * free),
        scores=(*vocabulary.scores, *[-1e4] * free) if vocabulary.scores else (),
    )
    return _with_special_tokens(folder, vocabulary)


def _byte_pairs(folder: Path) -> Vocabulary:
    path = folder / "tokenizer.json"
    document = read_object(path)
    pre, reference = pre_tokenizer_name(document, path), _library(path)
    model: Any = document["model"]
    added: Any = document.get("added_tokens") or []
    numbers = dict(model["vocab"])
    kinds = dict.fromkeys(numbers, TokenKind.NORMAL)
    for item in added:
        if item["lstrip"] or item["rstrip"] or item["single_word"]:
            raise BundleError(
                f"{path}: the token {item['content'][:40]!r} takes spaces beside it, which llama.cpp does not"
            )
        numbers[item["content"]] = item["id"]
        kinds[item["content"]] = TokenKind.CONTROL if item["special"] else TokenKind.USER_DEFINED
    tokens = _ordered(numbers, path)
    merges = tuple(item if isinstance(item, str) else " ".join(item) for item in model["merges"])
    return Vocabulary(
        "gpt2", tokens, tuple(kinds[token] for token in tokens), reference, pre=pre, merges=merges
    )


def _ordered(numbers: dict[str, int], path: Path) -> tuple[str, ...]:
    """Tokens by number, without a gap."""
    tokens = tuple(sorted(numbers, key=numbers.__getitem__))
    if [numbers[token] for token in tokens] != list(range(len(tokens))):
        raise BundleError(f"{path}: its tokens are not numbered 0, 1, 2 …; copy the tokenizer again")
    return tokens


def _sentence_pieces(folder: Path) -> Vocabulary:
    path = folder / "tokenizer.model"
    pieces = read_pieces(path)
    added, controls = _added(folder)
    tokens, kinds, scores = list(pieces.texts), list(pieces.kinds), list(pieces.scores)
    for number, text in sorted(added.items()):
        kind = TokenKind.CONTROL if text in controls else TokenKind.USER_DEFINED
        if number < len(pieces.texts):
            if tokens[number] != text:
                raise BundleError(
                    f"{folder}: token {number} is {tokens[number]!r} and {text!r}; copy it again"
                )
            if kinds[number] == TokenKind.NORMAL:
                kinds[number] = kind
            continue
        if number != len(tokens):
            raise BundleError(f"{folder}: token {len(tokens)} is missing; copy the tokenizer again")
        tokens.append(text)
        kinds.append(kind)
        scores.append(-1000.0)
    reference = (
        _library(folder / "tokenizer.json") if (folder / "tokenizer.json").is_file() else bpe_of(pieces)
    )
    return Vocabulary(
        "llama",
        tuple(tokens),
        tuple(kinds),
        reference,
        scores=tuple(scores),
        adds_space=pieces.adds_space,
        **_bounds_of(folder, pieces),
    )


def _added(folder: Path) -> tuple[dict[int, str], set[str]]:
    """Tokens beyond the SentencePiece file by number, and which of them are no words."""
    if (folder / "tokenizer.json").is_file():
        items: Any = read_object(folder / "tokenizer.json").get("added_tokens") or []
        return (
            {item["id"]: item["content"] for item in items},
            {item["content"] for item in items if item["special"]},
        )
    if (folder / "added_tokens.json").is_file():
        numbers: Any = read_object(folder / "added_tokens.json")
        special = {text for text in _settings(folder).values() if isinstance(text, str)}
        return {number: text for text, number in numbers.items()}, {*numbers} & special
    return {}, set()


def _bounds_of(folder: Path, pieces: PieceFile) -> dict[str, Any]:
    """Whether begin and end are added where no tokenizer.json says it: as the folder says, or LLaMA."""
    if (folder / "tokenizer.json").is_file():
        return {}
    settings = _settings(folder)
    return {
        "begin": pieces.begin,
        "end": pieces.end,
        "adds_begin": settings.get("add_bos_token", True) is True,
        "adds_end": settings.get("add_eos_token", False) is True,
    }


def _library(path: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        made: Tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise BundleError(f"{path} is no tokenizer ({str(error)[:200]}); copy it again") from error
    made.no_padding()
    made.no_truncation()
    return made


def _settings(folder: Path) -> dict[str, object]:
    """What tokenizer_config.json says, each special token as its text."""
    path = folder / "tokenizer_config.json"
    found = read_object(path) if path.is_file() else {}
    if (folder / "special_tokens_map.json").is_file():
        found = read_object(folder / "special_tokens_map.json") | found
    return {
        name: value.get("content") if isinstance(value, dict) and "content" in value else value
        for name, value in found.items()
    }


def _with_special_tokens(folder: Path, vocabulary: Vocabulary) -> Vocabulary:
    """The vocabulary with begin, end and what else has a meaning."""
    settings = _settings(folder)
    numbers = {token: number for number, token in enumerate(vocabulary.tokens)}
    found: dict[str, Any] = {}
    for name, ours in (("bos", "begin"), ("eos", "end"), ("unk", "unknown"), ("pad", "padding")):
        text = settings.get(f"{name}_token")
        if isinstance(text, str) and text in numbers:
            found[ours] = numbers[text]
        elif isinstance(text, str):
            raise BundleError(f"{folder}: {name}_token is {text[:40]!r}, which the tokenizer does not have")
    config = read_object(folder / "config.json")
    for name, ours in (("bos_token_id", "begin"), ("eos_token_id", "end")):
        value = config.get(name)
        first = value[0] if isinstance(value, list) and value else value
        if (
            isinstance(first, int)
            and 0 <= first < len(vocabulary.tokens)
            and getattr(vocabulary, ours) is None
        ):
            found.setdefault(ours, first)
    vocabulary = dataclasses.replace(vocabulary, **found)
    if vocabulary.end is None:
        raise BundleError(
            f"{folder}: nothing says what ends an answer; name eos_token in tokenizer_config.json"
        )
    kinds = list(vocabulary.kinds)
    for number in (vocabulary.begin, vocabulary.end):
        if number is not None and kinds[number] in (TokenKind.NORMAL, TokenKind.USER_DEFINED):
            kinds[number] = TokenKind.CONTROL
    others = _ends(folder) - {vocabulary.end}
    return dataclasses.replace(
        vocabulary,
        kinds=tuple(kinds),
        turn_end=min(others) if others else None,
        chat_template=_chat_template(folder, settings),
        **_bounds(folder, vocabulary),
    )


def _ends(folder: Path) -> set[int]:
    """Tokens that end an answer, by generation_config.json."""
    path = folder / "generation_config.json"
    value = read_object(path).get("eos_token_id") if path.is_file() else None
    return {number for number in (value if isinstance(value, list) else [value]) if isinstance(number, int)}


def _bounds(folder: Path, vocabulary: Vocabulary) -> dict[str, Any]:
    """Whether the library puts begin and end around a text; where it does something else, that is refused."""
    if not (folder / "tokenizer.json").is_file():
        return {}
    plain, whole = (
        vocabulary.reference.encode("scan", add_special_tokens=is_whole).ids for is_whole in (False, True)
    )
    for adds_begin in (False, True):
        for adds_end in (False, True):
            before = [vocabulary.begin] if adds_begin else []
            if whole == [*before, *plain, *([vocabulary.end] if adds_end else [])]:
                return {"adds_begin": adds_begin, "adds_end": adds_end}
    raise BundleError(
        f"{folder}: the tokenizer puts other tokens around a text than bos_token and eos_token; correct those"
    )


def _chat_template(folder: Path, settings: dict[str, object]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    found = settings.get("chat_template")
    if isinstance(found, list):
        named = {item.get("name"): item.get("template") for item in found if isinstance(item, dict)}
        found = named.get("default")
    return found if isinstance(found, str) else None
