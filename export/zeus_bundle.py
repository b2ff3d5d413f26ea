"""Make the bundle `zeus-nano-head` that answers instructions: encoder, mask decoder, text encoder, bank.

python -m training.train --config zeus-text-head
python -m training.train --config zeus-head
python -m export.zeus_bundle
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from export.nano_bundle import About, head_manifest, read_accuracy, say
from export.onnx_parts import decoder_onnx, text_onnx, zeus_encoder_onnx
from export.writing import Arrays, Golden, check_agreement, golden_case, put_bundle, run_onnx
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
    default_bundle,
)
from training.conditions import TextModel, text_model
from training.config import read_config
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

__all__ = ["main", "write_zeus_bundle"]

_RUNS = Path(__file__).parent.parent / "training" / "runs"
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


def _check_decoder(zeus: Zeus, model: bytes, bottom: NDArray[np.float32], bank: NDArray[np.float32]) -> None:
    present = torch.tensor([[True, False, True, True, False]])
    condition = torch.from_numpy(bank)[None]
    with torch.inference_mode():
        wanted = zeus.decode(torch.from_numpy(bottom), condition, present)
    given = {"bottom": bottom, "condition": condition.numpy(), "present": present.numpy()}
    found = run_onnx(model, given)
    for name in ("vectors", "biases", "presence"):
        check_agreement(f"decoder's {name}", found[name], getattr(wanted, name).numpy())


def _check_text(model: TextModel, onnx: bytes, bank: NDArray[np.float32]) -> None:
    for at, modality in enumerate(CHANNELS):
        ids = padded(model.task.tokenizer, [model.plain(modality, _ASKED[0])], MOST_TOKENS)
        check_agreement(
            f"text encoder, {modality}", run_onnx(onnx, {"ids": ids})["condition"][0], bank[at, 0]
        )


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


def write_zeus_bundle(
    config: ZeusHeadTraining, runs: Path, out: Path, version: str, accuracy: Sequence[Measured] = ()
) -> Bundle:
    """Export averaged weights of a Zeus and of its text encoder; `out` is replaced when all is well.

    Args:
        config: The training; early fusion.
        runs: Folder of trainings.
        out: The bundle's folder.
        version: Of the model.
        accuracy: What was measured before.

    Raises:
        SystemExit: ONNX Runtime and torch disagree.
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
    _check_decoder(zeus, decoder, expected(golden.image.astype(np.float32))["bottom"], bank)
    _check_text(model, text, bank)
    files: dict[str, bytes | NDArray[Any]] = {
        "encoder.onnx": encoder,
        "decoder.onnx": decoder,
        "text.onnx": text,
        "tokenizer.json": model.task.tokenizer.to_str().encode(),
        "bank.npy": bank,
        **golden.files,
    }
    command = f"python -m training.train --config {config.name}; python -m export.zeus_bundle"
    about = About(version, _steps(config, runs, step), command, tuple(accuracy))
    return put_bundle(files, lambda entries: _manifest(about, golden, zeus, entries), out)


def _steps(config: ZeusHeadTraining, runs: Path, step: int) -> str:
    """Of the decoder, and of the plain network that its encoder comes from."""
    if not config.start_from:
        return str(step)
    started = torch.load(runs / config.start_from / "last.pt", weights_only=True, map_location="cpu")
    return f"{step} after {int(started['step'])} of {config.start_from}"


def main(argv: Sequence[str] | None = None) -> int:
    """Export; 0 when the bundle was written and read back."""
    parser = argparse.ArgumentParser(
        prog="python -m export.zeus_bundle",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", default="zeus-head", help="a training of kind zeus-heads (%(default)s)")
    parser.add_argument("--runs", type=Path, default=_RUNS, help="folder of trainings")
    parser.add_argument("--out", type=Path, default=default_bundle())
    parser.add_argument("--version", default="0.2.0")
    parser.add_argument("--accuracy", type=Path, help="JSON lines of benchmarks.accuracy to record")
    options = parser.parse_args(argv)
    config = read_config(options.config)
    if not isinstance(config, ZeusHeadTraining) or config.zeus.fusion != "early":
        parser.error(f"{options.config} is no Zeus with early fusion, trained on heads")
    rows = read_accuracy(options.accuracy)
    say(write_zeus_bundle(config, options.runs, options.out, options.version, rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
