"""Tiny MONAI bundles and predictions, all by MONAI's own code; a program of its own.

python -m tests.monai_bundle_maker OUT SCAN

MONAI warns when it is imported, which would be an error in a test.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

__all__ = ["VARIANTS", "config", "main"]

_STEPS = 40
_NETWORK = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": "@channels",
    "out_channels": 3,
    "channels": [6, 8, 12],
    "strides": [2, 2],
    "num_res_units": 1,
    "norm": "instance",
}
_WINDOWED = [
    {"_target_": "LoadImaged", "keys": "@image_key"},
    {"_target_": "EnsureChannelFirstd", "keys": "@image_key"},
    {"_target_": "Orientationd", "keys": "@image_key", "axcodes": "RAS"},
    {"_target_": "Spacingd", "keys": "@image_key", "pixdim": [4.0, 3.5, 5.0], "mode": "bilinear"},
    {
        "_target_": "ScaleIntensityRanged",
        "keys": "@image_key",
        "a_min": -200,
        "a_max": 300,
        "b_min": -1.0,
        "b_max": 1.0,
        "clip": True,
    },
    {"_target_": "EnsureTyped", "keys": "@image_key"},
]
_MEASURED = [
    {"_target_": "LoadImaged", "keys": "@image_key"},
    {"_target_": "EnsureChannelFirstd", "keys": "@image_key"},
    {"_target_": "NormalizeIntensityd", "keys": "@image_key", "nonzero": True, "channel_wise": True},
    {"_target_": "Spacingd", "keys": "@image_key", "pixdim": [3.7, 3.7, 3.7], "mode": "bilinear"},
]
_AFTER = [
    {"_target_": "Activationsd", "keys": "pred", "softmax": True},
    {
        "_target_": "Invertd",
        "keys": "pred",
        "transform": "@preprocessing",
        "orig_keys": "@image_key",
        "nearest_interp": False,
        "to_tensor": True,
    },
    {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
]
VARIANTS: dict[str, dict[str, Any]] = {
    "windowed": {
        "preprocessing": _WINDOWED,
        "postprocessing": _AFTER,
        "inferer": {"roi_size": [32, 32, 16], "overlap": 0.5, "mode": "gaussian"},
        "network": _NETWORK,
    },
    "measured": {
        "preprocessing": _MEASURED,
        "postprocessing": _AFTER[1:],
        "inferer": {"roi_size": [24, 48, 24], "overlap": 0.25},
        "network": {
            "_target_": "monai.networks.nets.SegResNet",
            "spatial_dims": 3,
            "in_channels": 1,
            "out_channels": 3,
            "init_filters": 8,
            "blocks_down": [1, 1],
            "blocks_up": [1],
        },
    },
}


def config(variant: str) -> dict[str, Any]:
    """inference.json, in MONAI's words."""
    said = VARIANTS[variant]
    return {
        "image_key": "image",
        "channels": 1,
        "device": "$torch.device('cpu')",
        "network_def": said["network"],
        "preprocessing": {"_target_": "Compose", "transforms": said["preprocessing"]},
        "inferer": {"_target_": "SlidingWindowInferer", "sw_batch_size": 2, **said["inferer"]},
        "postprocessing": {"_target_": "Compose", "transforms": said["postprocessing"]},
    }


def _write(folder: Path, variant: str, network: Any) -> None:
    import torch

    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    metadata = {
        "version": "0.1.0",
        "monai_version": "1.6.1",
        "task": "for tests",
        "network_data_format": {
            "inputs": {"image": {"type": "image", "modality": "CT", "num_channels": 1}},
            "outputs": {"pred": {"channel_def": {"0": "background", "1": "soft tissue", "2": "bone"}}},
        },
    }
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    (folder / "configs" / "inference.json").write_text(json.dumps(config(variant)))
    if variant == "windowed":
        torch.save(network.state_dict(), folder / "models" / "model.pt")
    else:
        torch.jit.save(torch.jit.script(network), folder / "models" / "model.ts")


def _train(parser: Any, scan: Path) -> Any:
    """Some steps towards brightness, so that labels have borders."""
    import torch

    torch.manual_seed(0)
    network = parser.get_parsed_content("network_def")
    image = parser.get_parsed_content("preprocessing")({"image": str(scan)})["image"].as_tensor()[None]
    low, high = torch.quantile(image[image > image.min()][::7], torch.tensor([0.4, 0.85]))
    truth = (image[:, 0] > low).long() + (image[:, 0] > high).long()
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    sides = [16, 32, 16]
    for step in range(_STEPS):
        at = [(7 * step * (n + 1)) % max(1, image.shape[n + 2] - sides[n]) for n in range(3)]
        box = tuple(slice(a, a + side) for a, side in zip(at, sides, strict=True))
        loss = torch.nn.functional.cross_entropy(network(image[(..., *box)]), truth[(..., *box)])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


def main(arguments: list[str]) -> None:
    """Make OUT/VARIANT/bundle and what MONAI makes of the scan, OUT/VARIANT/labels.npy."""
    import numpy as np
    import torch
    from monai.bundle import ConfigParser
    from monai.data import decollate_batch

    out, scan = Path(arguments[0]), Path(arguments[1])
    for variant in VARIANTS:
        parser = ConfigParser(config(variant))
        network = _train(parser, scan)
        _write(out / variant / "bundle", variant, network)
        given = parser.get_parsed_content("preprocessing")({"image": str(scan)})
        with torch.inference_mode():
            scores = parser.get_parsed_content("inferer")(given["image"][None], network)
        given["pred"] = decollate_batch(scores)[0]
        labels = parser.get_parsed_content("postprocessing")(given)["pred"]
        np.save(out / variant / "labels.npy", np.asarray(labels)[0].astype(np.uint8))


if __name__ == "__main__":
    main(sys.argv[1:])
