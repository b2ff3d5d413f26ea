"""The bundle `zeus-nano-head` from the checkpoint of a plain network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from export.onnx_parts import encoder_onnx
from export.proof import Proof
from export.sources.golden_case import Arrays, Golden, golden_case
from export.writing import Content, stage_bundle
from runtime.bundle import (
    Bundle,
    Channel,
    FileEntry,
    Manifest,
    Measured,
    ModelGrid,
    Network,
    Target,
    Tensor,
)
from training.contrast import CLAMP, CT_WINDOW
from training.loop import load_average
from training.networks.nano import NanoConfig, NanoNetwork
from training.structures import CLASS_NAMES, STRUCTURES
from training.tissues import CHANNELS

__all__ = ["About", "head_manifest", "read_accuracy", "stage_plain"]

_TILE = (128, 160, 128)
_FREE = (0, 0, 0)
_METHOD = "synthetic images only: label maps, random contrast, resolution, bias, noise, deformation"


@dataclass(frozen=True)
class About:
    """What a manifest says of a model besides its networks.

    Attributes:
        version: Of the model.
        steps: Of its training, for the provenance.
        command: That made it.
        accuracy: What was measured before.
    """

    version: str
    steps: str
    command: str
    accuracy: tuple[Measured, ...] = ()


def _channels() -> tuple[Channel, ...]:
    ct = Channel("CT", "window", CT_WINDOW[0], CT_WINDOW[1], (0.0, 1.0))
    names: tuple[Literal["T1", "T1c", "T2", "FLAIR"], ...] = ("T1", "T1c", "T2", "FLAIR")
    return (*(Channel(name, "foreground_mean", 0.0, 0.5, (0.0, CLAMP)) for name in names), ct)


def _targets(network: NanoNetwork) -> tuple[Target, ...]:
    vectors = network.vectors.detach().double().tolist()
    biases = network.bias.detach().double().tolist()
    names = ("", *CLASS_NAMES[1:])
    rows = zip(names, vectors, biases, strict=True)
    return tuple(
        Target(name, tuple(round(v, 7) for v in vector), round(bias, 7)) for name, vector, bias in rows
    )


def head_manifest(
    about: About, golden: Golden, targets: tuple[Target, ...], files: tuple[FileEntry, ...]
) -> Manifest:
    """The manifest of a head's bundle without instructions.

    Args:
        about: The model.
        golden: Its golden case.
        targets: Background first.
        files: As they lie on the disk.
    """
    features = Tensor("features", "float32", (1, int(golden.features.shape[1]), *_FREE))
    return Manifest(
        schema="zeus-edge-bundle/1",
        name="zeus-nano-head",
        version=about.version,
        description="Whole-head union segmentation from any of T1, T1 after contrast, T2, FLAIR, CT.",
        licence="Apache-2.0",
        provenance={
            "method": _METHOD,
            "label_maps": "17 of 20 SynthSeg training label maps (Apache-2.0); 18 to 20 held out",
            "phantoms": "analytic head phantom of this project, random parameters",
            "steps": about.steps,
            "command": about.command,
        },
        body_part="head",
        encoder=Network(
            "encoder.onnx", (Tensor("image", "float32", (1, len(CHANNELS), *_FREE)),), (features,), 16
        ),
        channels=_channels(),
        grid=ModelGrid((1.5, 1.5, 1.5), _TILE, 0.25),
        structures=STRUCTURES,
        targets=targets,
        files=files,
        golden=golden.entry,
        accuracy=about.accuracy,
        connected=("brain",),
    )


def stage_plain(
    checkpoint: Path, folder: Path, version: str, accuracy: Sequence[Measured] = ()
) -> tuple[Bundle, tuple[Proof, ...]]:
    """Write the bundle of a plain network's averaged weights to a folder where nobody looks yet.

    Raises:
        BundleError: ONNX Runtime and torch disagree.
    """
    network = NanoNetwork(NanoConfig())
    step = load_average(checkpoint, network)
    model = encoder_onnx(network.encoder, len(CHANNELS))

    def expected(image: NDArray[np.float32]) -> Arrays:
        with torch.inference_mode():
            return {"features": network.encoder(torch.from_numpy(image)).numpy()}

    golden = golden_case(model, len(CHANNELS), expected)
    about = About(version, str(step), "python -m training.train; python -m export", tuple(accuracy))
    files: dict[str, Content] = {"encoder.onnx": model, **golden.files}
    made = stage_bundle(
        files, lambda entries: head_manifest(about, golden, _targets(network), entries), folder
    )
    return made, golden.proofs


def read_accuracy(path: Path | None) -> list[Measured]:
    """Rows of `benchmarks.accuracy --json`; none where there is no path."""
    lines = path.read_text(encoding="utf-8").splitlines() if path else []
    rows = [json.loads(line) for line in lines]
    command = "python -m benchmarks.accuracy"
    return [Measured(row["case"], row["structure"], float(row["dice"]), command) for row in rows]
