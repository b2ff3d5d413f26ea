"""The image encoder of a SAM as ONNX, with what a device must know to show it a picture: `encoder.json`.

It is a part of a bundle and no bundle: what its map means is up to the decoder that is trained on it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import torch

from export.graph import slim, write_model
from export.onnx_parts import OPSET, part_program
from export.proof import Proof, prove_numbers, run_network
from runtime.bundle import file_sha256
from runtime.errors import BundleError, UsageError
from runtime.formats.output_folder import output_folder
from runtime.version import __version__
from training.networks.sam.efficient_vit import EFFICIENT_VIT_SAM
from training.networks.sam.layers import ImageEncoder
from training.networks.sam.load import load_sam, load_vit
from training.networks.sam.parts import EncoderConfig, SamConfig
from training.networks.sam.tensor_files import read_json
from training.networks.sam.tiny_vit import TinyVitConfig
from training.networks.sam.vit import VitConfig

__all__ = ["MODEL", "NETWORKS", "RECORD", "Pixels", "Released", "export_encoder"]

MODEL, RECORD = "model.onnx", "encoder.json"
_MOST_INSIDE = 1 << 31
_MOST_IMAGES = 64
_MEAN, _DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of SAM, in pixels of 0 to 255."""


@dataclass(frozen=True)
class Pixels:
    """How a picture becomes the network's image; channels are red, green and blue.

    Attributes:
        low: Of the pixels before `mean` and `std`.
        high: Of them.
        stretched: Whether each picture is stretched from its least and largest value to that range.
        mean: That is taken away, (3,).
        std: By which is divided, (3,).
        resized: "longest side", and the rest padded with 0 below and right; or "square", both sides.
    """

    low: float
    high: float
    stretched: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resized: str


@dataclass(frozen=True)
class Released:
    """A network whose weights come as a file that does not say its sizes.

    Attributes:
        sizes: Of the encoder.
        pixels: What it wants to be shown.
    """

    sizes: EncoderConfig
    pixels: Pixels


_SAM = Pixels(0, 255, False, _MEAN, _DEVIATION, "longest side")
_UNIT = dataclasses.replace(
    _SAM,
    high=1,
    mean=(_MEAN[0] / 255, _MEAN[1] / 255, _MEAN[2] / 255),
    std=(_DEVIATION[0] / 255, _DEVIATION[1] / 255, _DEVIATION[2] / 255),
)
_STRETCHED = Pixels(0, 1, True, (0, 0, 0), (1, 1, 1), "square")
_LARGE = VitConfig(width=1024, layers=24, heads=16, hidden=4096, everywhere=(5, 11, 17, 23))
_HUGE = VitConfig(width=1280, layers=32, heads=16, hidden=5120, everywhere=(7, 15, 23, 31))

NETWORKS: Mapping[str, Released] = MappingProxyType(
    {
        "sam_vit_b": Released(VitConfig(), _SAM),
        "sam_vit_l": Released(_LARGE, _SAM),
        "sam_vit_h": Released(_HUGE, _SAM),
        "medsam": Released(VitConfig(), _STRETCHED),
        "mobile_sam": Released(TinyVitConfig(image_size=1024, stem_stride=2), _SAM),
        "lite_medsam": Released(TinyVitConfig(), dataclasses.replace(_STRETCHED, resized="longest side")),
        **{f"efficientvit_sam_{name}": Released(size, _UNIT) for name, size in EFFICIENT_VIT_SAM.items()},
    }
)
"""By the name that `--network` gives. Source: `training/networks/sam/`, whose docstrings name theirs."""


def export_encoder(
    source: Path, out: Path, network: str | None = None, licence: str = "unknown", force: bool = False
) -> tuple[Path, tuple[Proof, ...]]:
    """Make an encoder's folder.

    Args:
        source: A folder with config.json and weights of a SAM or of its encoder alone, or a file of weights.
        out: The folder to make.
        network: One of `NETWORKS`: sizes of a file; of a folder, only what it wants to be shown.
        licence: Of the weights.
        force: Whether an older folder of this kind may be replaced.

    Returns:
        The ONNX file, and what was proved.

    Raises:
        UsageError: A file without `network`.
        BundleError: The source is damaged or not supported, or ONNX Runtime does not answer as torch does.
        DestinationError: `out` cannot be written.
    """
    with output_folder(out, force, RECORD) as work:
        encoder = _encoder(source, network)
        pixels, origin = _pixels(source, network)
        side, width, map_side = encoder.image_size, encoder.width, encoder.map_size
        write_model(_program(encoder), work / MODEL)
        proof = _proved(encoder, work / MODEL)
        files = sorted(work.iterdir())
        record = {
            "name": source.resolve().stem,
            "network": type(encoder).__name__,
            "inputs": [{"name": "image", "dtype": "float32", "shape": [0, 3, side, side]}],
            "outputs": [{"name": "map", "dtype": "float32", "shape": [0, width, map_side, map_side]}],
            "pixels": dataclasses.asdict(pixels) | {"said_by": origin},
            "opset": OPSET,
            "files": {
                file.name: {"bytes": file.stat().st_size, "sha256": file_sha256(file)} for file in files
            },
            "licence": licence,
            "source": {file.name: file_sha256(file) for file in _weights_of(source)},
            "exported_by": f"zeus-edge {__version__}",
            "proofs": [proof.text],
        }
        (work / RECORD).write_text(json.dumps(record, indent=2) + "\n")
        work.chmod(0o755)  # unlike a result it holds no patient data
    return out / MODEL, (proof,)


def _encoder(source: Path, network: str | None) -> ImageEncoder:
    if not source.is_dir():
        if network is None:
            raise UsageError(f"{source} does not say its sizes; name it with --network, see --help")
        return load_sam(source, SamConfig(NETWORKS[network].sizes)).encoder.eval()
    config = read_json(source / "config.json")
    if isinstance(config, dict) and config.get("model_type") == "sam_vision_model":
        return load_vit(source)
    return load_sam(source).encoder.eval()


def _pixels(source: Path, network: str | None) -> tuple[Pixels, str]:
    """What the encoder wants to be shown, and who says so."""
    if network is not None:
        return NETWORKS[network].pixels, f"--network {network}"
    path = source / "preprocessor_config.json"
    if not path.is_file():
        raise BundleError(
            f"{path} is missing, and SAM and MedSAM want other pixels; "
            "copy it, or name the network (--network)"
        )
    found: Any = read_json(path)
    try:
        scale = float(found.get("rescale_factor", 1 / 255)) if found.get("do_rescale", True) else 1.0
        mean, std = (
            tuple(float(value) for value in found[name]) if found.get("do_normalize", True) else (plain,) * 3
            for name, plain in (("image_mean", 0.0), ("image_std", 1.0))
        )
        size = found["size"]
        resized = "longest side" if "longest_edge" in size else "square"
    except (AttributeError, KeyError, TypeError, ValueError):
        mean = std = ()
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise BundleError(f"{path} does not say how pixels are normalised; copy it again, or use --network")
    return Pixels(0, 255 * scale, False, mean, std, resized), path.name


def _program(encoder: ImageEncoder) -> onnx.ModelProto:
    side = encoder.image_size
    images = torch.export.Dim("images", max=_MOST_IMAGES)
    program = part_program(encoder, {"image": torch.zeros(2, 3, side, side)}, ["map"], [{0: images}])
    # What is larger than a protocol buffer can be stays as the exporter made it; that folds constants, too.
    return slim(program) if program.ByteSize() < _MOST_INSIDE else program


def _proved(encoder: ImageEncoder, model: Path) -> Proof:
    side = encoder.image_size
    image = np.random.default_rng(1).standard_normal((1, 3, side, side)).astype(np.float32)
    with torch.inference_mode():
        wanted = encoder(torch.from_numpy(image)).numpy()
    return prove_numbers("encoder", run_network(model, {"image": image})["map"], wanted, "torch")


def _weights_of(source: Path) -> list[Path]:
    """The files that weights came from."""
    if not source.is_dir():
        return [source]
    return sorted(path for path in source.iterdir() if path.suffix in (".safetensors", ".bin"))
