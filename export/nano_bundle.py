"""Make the bundle `zeus-nano-head` from a training checkpoint.

python -m export.nano_bundle --checkpoint training/runs/zeus-nano-head/last.pt
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from export.onnx_parts import encoder_onnx
from runtime.bundle import (
    Bundle,
    Channel,
    FileEntry,
    GoldenCase,
    Manifest,
    Measured,
    ModelGrid,
    Network,
    Target,
    Tensor,
    default_bundle,
    dump_manifest,
    open_bundle,
)
from training.contrast import CLAMP, CT_WINDOW
from training.networks.nano import NanoConfig, NanoNetwork
from training.structures import CLASS_NAMES, STRUCTURES
from training.tissues import CHANNELS

__all__ = ["main", "write_bundle"]

_TILE = (128, 160, 128)
_GOLDEN_SIDE = 32
_TOLERANCE = 2e-2
_GOLDEN_TOLERANCE = 2e-3
"""Of the largest golden feature: float16, in which they are stored, rounds to a quarter of that."""


def _load(checkpoint: Path) -> tuple[NanoNetwork, int]:
    state = torch.load(checkpoint, weights_only=True, map_location="cpu")
    network = NanoNetwork(NanoConfig())
    weights = {
        key: value.float() if value.is_floating_point() else value for key, value in state["average"].items()
    }
    network.load_state_dict(weights)
    return network.eval(), int(state["step"])


def _golden(network: NanoNetwork, model: bytes) -> tuple[NDArray[Any], NDArray[Any]]:
    """A random input and what ONNX Runtime answers, after it agreed with torch."""
    side = (_GOLDEN_SIDE,) * 3
    image = np.random.default_rng(0).random((1, len(CHANNELS), *side), np.float32).astype(np.float16)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    features = session.run(["features"], {"image": image.astype(np.float32)})[0]
    with torch.inference_mode():
        expected = network.encoder(torch.from_numpy(image.astype(np.float32))).numpy()
    error = float(np.abs(features - expected).max())
    if not error <= _TOLERANCE * max(1.0, float(np.abs(expected).max())):
        raise SystemExit(f"the exported encoder differs from torch by {error:.4g}; nothing was written")
    print(f"largest difference from torch: {error:.2g}", file=sys.stderr)
    return image, features.astype(np.float16)


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


def _entry(folder: Path, name: str) -> FileEntry:
    data = (folder / name).read_bytes()
    return FileEntry(name, len(data), hashlib.sha256(data).hexdigest())


def write_bundle(checkpoint: Path, out: Path, version: str, accuracy: Sequence[Measured] = ()) -> Bundle:
    """Export a checkpoint's averaged weights as a bundle; `out` is replaced when all is well.

    Raises:
        SystemExit: ONNX Runtime and torch disagree.
    """
    network, step = _load(checkpoint)
    model = encoder_onnx(network.encoder, len(CHANNELS))
    image, features = _golden(network, model)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as name:
        folder = Path(name) / "bundle"
        folder.mkdir()
        (folder / "encoder.onnx").write_bytes(model)
        np.save(folder / "golden_image.npy", image)
        np.save(folder / "golden_features.npy", features)
        files = [_entry(folder, path.name) for path in sorted(folder.iterdir())]
        free = (0, 0, 0)
        tolerance = round(_GOLDEN_TOLERANCE * max(1.0, float(np.abs(features).max())), 4)
        manifest = Manifest(
            schema="zeus-edge-bundle/1",
            name="zeus-nano-head",
            version=version,
            description="Whole-head union segmentation from any of T1, T1 after contrast, T2, FLAIR, CT.",
            licence="Apache-2.0",
            provenance=_provenance(step),
            body_part="head",
            encoder=Network(
                "encoder.onnx",
                (Tensor("image", "float32", (1, len(CHANNELS), *free)),),
                (Tensor("features", "float32", (1, int(features.shape[1]), *free)),),
                16,
            ),
            channels=_channels(),
            grid=ModelGrid((1.5, 1.5, 1.5), _TILE, 0.25),
            structures=STRUCTURES,
            targets=_targets(network),
            files=tuple(files),
            golden=GoldenCase("golden_image.npy", "golden_features.npy", tolerance),
            accuracy=tuple(accuracy),
            connected=("brain",),
        )
        (folder / "bundle.json").write_bytes(dump_manifest(manifest))
        open_bundle(folder)
        if out.exists():
            shutil.rmtree(out)
        folder.rename(out)
    return open_bundle(out)


def _provenance(step: int) -> dict[str, str]:
    return {
        "method": "synthetic images only: label maps, random contrast, resolution, bias, noise, deformation",
        "label_maps": "17 of 20 SynthSeg training label maps (Apache-2.0); 18 to 20 held out",
        "phantoms": "analytic head phantom of this project, random parameters",
        "steps": str(step),
        "command": "python -m training.train; python -m export.nano_bundle",
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Export; 0 when the bundle was written and read back."""
    parser = argparse.ArgumentParser(prog="python -m export.nano_bundle", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=default_bundle())
    parser.add_argument("--version", default="0.1.0")
    parser.add_argument("--accuracy", type=Path, help="JSON lines of benchmarks.accuracy to record")
    options = parser.parse_args(argv)
    rows: list[Measured] = []
    if options.accuracy:
        for line in options.accuracy.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            rows.append(
                Measured(row["case"], row["structure"], float(row["dice"]), "python -m benchmarks.accuracy")
            )
    bundle = write_bundle(options.checkpoint, options.out, options.version, rows)
    size = sum(path.stat().st_size for path in bundle.folder.iterdir())
    print(
        f"{bundle.folder}: {size / 1e6:.1f} MB, bundle {bundle.identity.bundle_sha256[:12]}", file=sys.stderr
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
