"""Proof that llama.cpp reads a language model as its source does: tokens of texts, logits, greedy answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from export.language.forward import reference_logits
from export.language.native import Answer, ask_logits, ask_tokens
from export.language.texts import PROMPT, texts
from export.language.tokens import TokenKind, Vocabulary
from export.language.weights import Weights
from export.proof import Proof
from runtime.errors import BundleError

__all__ = ["MOST_DIFFERENCE", "MOST_DIVERGENCE", "prove_logits", "prove_tokens"]

MOST_DIFFERENCE = {"F32": 2e-3, "F16": 2e-2}
"""Largest difference of a logit, as a part of how widely logits spread (standard deviation)."""
MOST_DIVERGENCE = {"BF16": 0.01, "Q8_0": 0.01, "Q6_K": 0.02, "Q5_K_M": 0.05, "Q4_K_M": 0.15, "Q3_K_M": 0.4}
"""Mean Kullback-Leibler divergence from the source's answers, nats a token."""

_ANSWER_TOKENS = 64
_MOST_PROMPT = 64
_MOST_SPECIAL = 512


def prove_tokens(model: Path, vocabulary: Vocabulary, work: Path) -> Proof:
    """llama.cpp splits texts as the `tokenizers` library does, and knows every special token.

    Args:
        model: A GGUF file.
        vocabulary: That it was made with.
        work: A folder for what is exchanged.

    Raises:
        BundleError: It does not; says where.
    """
    tried = texts()
    special = [
        number
        for number, kind in enumerate(vocabulary.kinds)
        if kind in (TokenKind.CONTROL, TokenKind.USER_DEFINED)
    ][:_MOST_SPECIAL]
    found = ask_tokens(model, tried, [vocabulary.tokens[number] for number in special], work)
    for text, tokens in zip(tried, found, strict=False):
        wanted = vocabulary.reference.encode(text, add_special_tokens=False).ids
        if tokens != wanted:
            raise BundleError(
                f"llama.cpp splits {text[:40]!r} into the tokens {tokens[:12]}, the tokenizer into "
                f"{wanted[:12]}; nothing was written"
            )
    for number, tokens in zip(special, found[len(tried) :], strict=True):
        if tokens != [number]:
            raise BundleError(
                f"llama.cpp reads {vocabulary.tokens[number][:40]!r} as the tokens {tokens[:12]}, not as "
                f"{number}; nothing was written"
            )
    return Proof(
        f"tokens: {len(tried)} texts and {len(special)} special tokens are split as by the tokenizer"
    )


def prove_logits(model: Path, precision: str, weights: Weights, vocabulary: Vocabulary, work: Path) -> Proof:
    """llama.cpp answers a prompt as the source does.

    The source is computed once, on the prompt and llama.cpp's own answer: where each token of it is the
    source's likeliest one, too, the source would have answered the same.

    Args:
        model: A GGUF file.
        precision: Of it.
        weights: The source.
        vocabulary: Of both.
        work: A folder for what is exchanged.

    Raises:
        BundleError: The answers differ by more than the limit of this precision.
    """
    prompt = vocabulary.reference.encode(PROMPT, add_special_tokens=False).ids[: _MOST_PROMPT - 1]
    if vocabulary.begin is not None:
        prompt = [vocabulary.begin, *prompt]
    prompt = prompt[: max(1, weights.config.context // 2)]
    answer = ask_logits(model, prompt, min(_ANSWER_TOKENS, weights.config.context - len(prompt)), work)
    tokens = torch.tensor([*prompt, *answer.tokens[:-1].tolist()])
    wanted = reference_logits(weights, tokens, first=len(prompt) - 1).numpy()
    if precision in MOST_DIFFERENCE:
        return _same(answer, wanted, precision)
    return _close(answer, wanted, precision)


def _same(answer: Answer, wanted: NDArray[np.float32], precision: str) -> Proof:
    count = len(wanted)
    worst = float(np.abs(answer.logits - wanted).max())
    limit = MOST_DIFFERENCE[precision] * float(wanted.std(axis=1).min())
    if not worst <= limit:
        raise BundleError(
            f"{precision}: logits differ from the source by {worst:.2g}, more than {limit:.1g}; "
            "nothing was written"
        )
    chosen = np.take_along_axis(wanted, answer.tokens[:, None], axis=1)[:, 0]
    behind = wanted.max(axis=1) - chosen
    same = int((behind == 0).sum())
    if not (behind <= 2 * limit).all():
        raise BundleError(
            f"{precision}: only {same} of {count} greedy tokens are the source's; nothing was written"
        )
    ties = f", {count - same} beside it a tie within the limit" if same < count else ""
    return Proof(
        f"{precision}: logits differ from the source by {worst:.1e} (limit {limit:.0e}), "
        f"{same} of {count} greedy tokens are the same{ties}"
    )


def _close(answer: Answer, wanted: NDArray[np.float32], precision: str) -> Proof:
    found, truth = _log_chances(answer.logits), _log_chances(wanted)
    divergence = float((np.exp(truth) * (truth - found)).sum(axis=1).mean())
    limit = MOST_DIVERGENCE[precision]
    if not divergence <= limit:
        raise BundleError(
            f"{precision}: {divergence:.2g} nats a token from the source, more than {limit}; "
            "nothing was written, use a --type of more bits"
        )
    same, count = int((wanted.argmax(axis=1) == answer.tokens).sum()), len(wanted)
    worst = float(np.abs(answer.logits - wanted).max())
    return Proof(
        f"{precision}: {divergence:.1e} nats a token from the source (limit {limit}), logits differ by up to "
        f"{worst:.2g}, {same} of {count} greedy tokens are the source's choice"
    )


def _log_chances(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
