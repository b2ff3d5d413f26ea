"""Proof that an exported writer says what torch says: tokens, logits, visual tokens and whole sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from export.proof import Proof, run_network
from export.sources.golden_case import prove_stored
from runtime.engines.llama.client import LlamaProcess
from runtime.engines.llama.options import GenerationOptions, LlamaSettings
from runtime.engines.llama.prompts import Prompt, TextPart, TokenPart
from runtime.errors import BundleError
from runtime.language.template import split_template
from training.evaluation.writer import Author, held_out_cases
from training.tasks.writer import AFTER, BEFORE
from training.writer.sentences import sentence_of
from training.writer.stream import phantom_heads
from training.writer.words import PROMPT

__all__ = ["prove"]

_LOGITS = 1e-3
"""Largest difference of a logit with float32 weights."""

_SUBJECTS, _SCANS = 5, 2

_SAME = 0.95
"""Of sentences: with rounded weights the likeliest of two equal words may be the other one."""


def prove(
    author: Author, models: Mapping[str, bytes], vision: bytes, cache: Path, folder: Path
) -> tuple[Proof, ...]:
    """Compare with torch.

    Args:
        author: Network and tokenizer.
        models: GGUF files: "exact" with float32 weights, and "stored".
        vision: ONNX.
        cache: Folder for the phantom heads that are shown.
        folder: For files.

    Raises:
        BundleError: Something differs; nothing should be shipped.
    """
    cases = list(held_out_cases(phantom_heads(cache), author.task.config.stream.cases, _SUBJECTS, _SCANS))
    pictures = np.stack([case.pictures for case in cases])
    sentences = [sentence_of(case.truth) for case in cases]
    visual = author.look(torch.from_numpy(pictures))
    tokens = run_network(vision, {"views": pictures})["tokens"]
    proofs = [prove_stored("vision network's tokens", tokens, visual.numpy())]
    paths = {name: folder / f"{name}.gguf" for name in models}
    for name, path in paths.items():
        path.write_bytes(models[name])
    settings = LlamaSettings(context_tokens=author.network.language.config.context, cache_precision="float32")
    with LlamaProcess(paths["exact"], settings) as model:
        _check_tokens(author, model, sentences)
        proofs.append(_prove_logits(author, model, visual, sentences))
    with LlamaProcess(paths["stored"], settings) as model:
        written = [model.generate(_prompt(rows), GenerationOptions(max_tokens=128)).text for rows in tokens]
    wanted = author.write(visual)
    same = float(np.mean([one == other for one, other in zip(written, wanted, strict=True)]))
    _require(same >= _SAME, f"only {same:.0%} of sentences are those of torch")
    said = f"sentences: {same:.0%} of {len(wanted)} are those of torch (limit {_SAME:.0%})"
    return (*proofs, Proof(said))


def _prompt(rows: NDArray[np.float32]) -> Prompt:
    return split_template(PROMPT).filled({}, np.ascontiguousarray(rows, np.float32))


def _require(holds: bool, fact: str) -> None:
    if not holds:
        raise BundleError(f"{fact}; nothing was written")


def _check_tokens(author: Author, model: LlamaProcess, sentences: list[str]) -> None:
    """llama.cpp cuts texts into the tokens of the tokenizer: the same logits, to the bit, after either."""
    for text in sentences:
        ids = author.task.tokenizer.encode(text, add_special_tokens=False).ids
        _require(author.task.tokenizer.decode(ids) == text, "the tokenizer alters a sentence")
        by_text = model.logits((TextPart(text),))
        by_token = model.logits((TokenPart((BEFORE[0], *ids)),))
        _require(bool((by_text == by_token).all()), "llama.cpp cuts a sentence into other tokens")


def _prove_logits(author: Author, model: LlamaProcess, visual: torch.Tensor, sentences: list[str]) -> Proof:
    """After the prompt, and after an answer."""
    worst = 0.0
    for rows, (after, part) in zip(visual, _parts(author, sentences), strict=True):
        with torch.inference_mode():
            made = author.network.rows(rows[None], torch.tensor(BEFORE), torch.tensor(after)[None])
            wanted = author.network.language(made, 1)[0, 0].numpy()
        found = model.logits((*_prompt(rows.numpy()), *part))
        worst = max(worst, float(np.abs(found - wanted).max()))
    _require(worst <= _LOGITS, f"logits differ by {worst:.2g} from torch")
    return Proof(f"language model's logits: differ from torch by {worst:.1e} (limit {_LOGITS:.0e})")


def _parts(author: Author, sentences: list[str]) -> Iterator[tuple[tuple[int, ...], Prompt]]:
    """What follows an image, as tokens and as the parts of a prompt: every second time an answer, too."""
    for number, text in enumerate(sentences):
        if number % 2:
            ids = tuple(author.task.tokenizer.encode(text, add_special_tokens=False).ids)
            yield (*AFTER, *ids), (TokenPart(ids),)
        else:
            yield AFTER, ()
