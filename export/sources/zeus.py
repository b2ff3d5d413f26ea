"""The bundle `zeus-nano-head` that answers instructions: encoder, mask decoder, text encoder, bank."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from export.onnx_parts import decoder_onnx, text_onnx, zeus_encoder_onnx
from export.proof import Proof, run_network
from export.sources.golden_case import Arrays, Golden, golden_case, prove_stored
from export.sources.nano import About, head_manifest
from export.writing import Content, stage_bundle
from runtime.bundle import (
    Bundle,
    FileEntry,
    Instructions,
    Manifest,
    Measured,
    Network,
    Target,
    Tensor,
    TextEncoder,
)
from training.conditions import TextModel, text_model
from training.instructions import HEAD, NO_TARGET
from training.instructions.words import for_training
from training.loop import load_average
from training.networks.conditioned import Conditioned
from training.networks.text import MOST_TOKENS
from training.networks.zeus import Zeus
from training.structures import CLASS_NAMES, STRUCTURES
from training.tasks.zeus_heads import ZeusHeadTraining
from training.tissues import CHANNELS
from training.tokens import padded

__all__ = ["stage_zeus"]

_ASKED = (*(structure.name for structure in STRUCTURES), NO_TARGET)
_FOREIGN_TEXTS = 200
_LEAST_SIMILARITY, _LEAST_MARGIN, _OWN_SIMILARITY = 0.5, 0.1, 0.95
"""Of a text to what it asks for; below the first two it is unclear, below the third the bank's row answers.
To be measured anew with every text encoder."""


def _bank(model: TextModel) -> NDArray[np.float32]:
    """Vectors of the plainest texts (channels, asked, condition); the last row: mean of foreign ones."""
    rows = [model.plain(modality, name) for modality in CHANNELS for name in _ASKED[:-1]]
    known = model.embed(rows).reshape(len(CHANNELS), len(_ASKED) - 1, -1)
    random = np.random.default_rng(7)
    foreign = [
        [model.task.writer.write(random, NO_TARGET, m).text for _ in range(_FOREIGN_TEXTS)] for m in CHANNELS
    ]
    mean = torch.stack([model.embed(texts).mean(0) for texts in foreign])[:, None]
    bank = torch.cat([known, mean / mean.norm(dim=-1, keepdim=True)], dim=1)
    return np.ascontiguousarray(bank.numpy(), np.float32)


def _prove_decoder(
    zeus: Zeus, model: bytes, bottom: NDArray[np.float32], bank: NDArray[np.float32]
) -> list[Proof]:
    present = torch.tensor([[True, False, True, True, False]])
    condition = torch.from_numpy(bank)[None]
    with torch.inference_mode():
        wanted = zeus.decode(torch.from_numpy(bottom), condition, present)
    given = {"bottom": bottom, "condition": condition.numpy(), "present": present.numpy()}
    found = run_network(model, given)
    names = ("vectors", "biases", "presence")
    return [prove_stored(f"decoder's {name}", found[name], getattr(wanted, name).numpy()) for name in names]


def _prove_text(model: TextModel, onnx: bytes, bank: NDArray[np.float32]) -> list[Proof]:
    proofs = []
    for at, modality in enumerate(CHANNELS):
        ids = padded(model.task.tokenizer, [model.plain(modality, _ASKED[0])], MOST_TOKENS)
        found = run_network(onnx, {"ids": ids})["condition"][0]
        proofs.append(prove_stored(f"text encoder, {modality}", found, bank[at, 0]))
    return proofs


def _instructions(zeus: Zeus) -> Instructions:
    width, count, features = zeus.config.condition, len(CHANNELS), zeus.config.features
    condition = Tensor("condition", "float32", (1, count, 0, width))
    bottom = Tensor("bottom", "float32", (1, zeus.config.widths[-1], 0, 0, 0))
    decoder = Network(
        "decoder.onnx",
        (bottom, condition, Tensor("present", "bool", (1, count))),
        (
            Tensor("vectors", "float32", (1, 0, features)),
            Tensor("biases", "float32", (1, 0)),
            Tensor("presence", "float32", (1, 0)),
        ),
        1,
    )
    ids, vector = Tensor("ids", "int64", (1, 0)), Tensor("condition", "float32", (1, width))
    text = TextEncoder(Network("text.onnx", (ids,), (vector,), 1), "tokenizer.json", MOST_TOKENS)
    limits = (_LEAST_SIMILARITY, _LEAST_MARGIN, _OWN_SIMILARITY)
    called = {
        name: tuple(each.removeprefix("the ") for each in for_training(HEAD.targets[name]))
        for name in _ASKED[:-1]
        if name != "head"  # what every study shows is mentioned everywhere
    }
    return Instructions(decoder, text, "bank.npy", _ASKED, *limits, called)


def _manifest(about: About, golden: Golden, zeus: Zeus, files: tuple[FileEntry, ...]) -> Manifest:
    background = Target("", (0.0,) * zeus.config.features, 0.0)
    decoded = tuple(Target(name, (), 0.0) for name in CLASS_NAMES[1:])
    plain = head_manifest(about, golden, (background, *decoded), files)
    given = _instructions(zeus)
    outputs = (*plain.encoder.outputs, given.decoder.inputs[0])
    encoder = dataclasses.replace(plain.encoder, outputs=outputs)
    return dataclasses.replace(plain, encoder=encoder, instructions=given)


def stage_zeus(
    config: ZeusHeadTraining, runs: Path, folder: Path, version: str, accuracy: Sequence[Measured] = ()
) -> tuple[Bundle, tuple[Proof, ...]]:
    """Write the bundle of a Zeus and its text encoder, averaged weights, where nobody looks yet.

    Args:
        config: The training; early fusion.
        runs: Folder of trainings.
        folder: Where.
        version: Of the model.
        accuracy: What was measured before.

    Raises:
        BundleError: ONNX Runtime and torch disagree.
        UsageError: The text encoder was not trained.
    """
    network = Conditioned(config.zeus, 0)
    step = load_average(runs / config.name / "last.pt", network)
    zeus, model = network.zeus, text_model(config.text, runs)
    encoder, decoder, text = zeus_encoder_onnx(zeus), decoder_onnx(zeus), text_onnx(model.network.encoder)
    bank = _bank(model)

    def expected(image: NDArray[np.float32]) -> Arrays:
        with torch.inference_mode():
            features, bottom = zeus.encoder.both(torch.from_numpy(image))
        return {"features": features.numpy(), "bottom": bottom.numpy()}

    golden = golden_case(encoder, len(CHANNELS), expected)
    bottom = expected(golden.image.astype(np.float32))["bottom"]
    proofs = (*golden.proofs, *_prove_decoder(zeus, decoder, bottom, bank), *_prove_text(model, text, bank))
    files: dict[str, Content] = {
        "encoder.onnx": encoder,
        "decoder.onnx": decoder,
        "text.onnx": text,
        "tokenizer.json": model.task.tokenizer.to_str().encode(),
        "bank.npy": bank,
        **golden.files,
    }
    command = f"python -m training.train --config {config.name}; python -m export {config.name}"
    about = About(version, _steps(config, runs, step), command, tuple(accuracy))
    return stage_bundle(files, lambda entries: _manifest(about, golden, zeus, entries), folder), proofs


def _steps(config: ZeusHeadTraining, runs: Path, step: int) -> str:
    """Of the decoder, and of the plain network that its encoder comes from."""
    if not config.start_from:
        return str(step)
    started = torch.load(runs / config.start_from / "last.pt", weights_only=True, map_location="cpu")
    return f"{step} after {int(started['step'])} of {config.start_from}"
