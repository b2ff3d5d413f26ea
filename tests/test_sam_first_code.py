"""Files of the first codes: SAM and MedSAM, LiteMedSAM and MobileSAM, EfficientViT-SAM."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is installed for training only (make check installs it)")

from tests.sam_checkpoints import SIDE, close, first_code, sam_model, tensors_of  # noqa: E402
from tests.sam_released import (  # noqa: E402
    EFFICIENT_VIT,
    TINY_VIT,
    efficient_vit_shapes,
    image,
    summary,
    tiny_vit_shapes,
    weights,
)
from training.networks.sam.efficient_vit import EFFICIENT_VIT_SAM  # noqa: E402
from training.networks.sam.encoder_keys import original_encoder_keys  # noqa: E402
from training.networks.sam.load import load_sam  # noqa: E402
from training.networks.sam.mask_decoder import SamDecoderConfig  # noqa: E402
from training.networks.sam.parts import Sam, SamConfig, build_encoder  # noqa: E402
from training.networks.sam.tiny_vit import TinyVitConfig  # noqa: E402
from training.networks.sam.vit import VitConfig  # noqa: E402

pytestmark = pytest.mark.torch
DECODER = SamDecoderConfig(width=32, heads=2, hidden=40, quality_hidden=12)
VIT = VitConfig(SIDE, 8, 24, 3, 2, 40, 4, (1,), 32)

# What timm 1.0.31 says of the same weights (tests/sam_record_timm.py): ten values, mean and deviation.
TIMM_TINY_VIT = [
    -0.0705, 0.899616, 0.63824, 0.507263, 0.793072, -0.34318,
    0.802225, 0.64352, 0.098922, 0.757891, 0.058579, 1.424813,
]  # fmt: skip
TIMM_EFFICIENT_VIT = [
    [
        -0.897548, -0.177992, 1.844701, -0.597617, 0.569066, -0.334375,
        -0.438471, 1.084069, 1.143027, 1.808958, -0.024777, 1.086484,
    ],
    [
        -0.752393, -0.473272, -0.156683, 1.192609, 1.419783, 0.830243,
        -0.515554, 0.027939, 1.018296, 1.412556, 0.523751, 1.377417,
    ],
    [
        -0.472433, 0.776418, 0.103882, -0.112501, -1.629503, -0.677589,
        1.014613, 0.115728, 0.448863, -1.754784, -0.025882, 1.077215,
    ],
    [
        -1.771694, 0.856002, -0.349444, -0.861349, -2.816068, 0.101794,
        0.788405, -0.327007, -1.021107, -3.045289, -0.322004, 1.428736,
    ],
]  # fmt: skip


def written(encoder: dict[str, Any], folder: Path) -> Path:
    """A file of the first code: an encoder, and a small SAM's prompt encoder and decoder."""
    tensors = first_code(tensors_of(sam_model(1e-5), folder))
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("image_encoder.")}
    torch.save(
        tensors | {f"image_encoder.{name}": tensor for name, tensor in encoder.items()}, folder / "sam.pth"
    )
    return folder / "sam.pth"


@pytest.mark.parametrize("wrapped", [False, True])
def test_sam_of_the_first_code_says_what_transformers_says(tmp_path: Path, wrapped: bool) -> None:
    model = sam_model(1e-5)
    tensors = first_code(tensors_of(model, tmp_path))
    torch.save({"model": tensors, "epoch": 3} if wrapped else tensors, tmp_path / "sam.pth")
    sam = load_sam(tmp_path / "sam.pth", SamConfig(VIT, DECODER))
    points, labels = torch.tensor([[[[30.0, 40.0]]]]), torch.ones(1, 1, 1, dtype=torch.long)
    shown = image(SIDE)[:1]
    with torch.inference_mode():
        wanted = model(pixel_values=shown, input_points=points, input_labels=labels, multimask_output=True)
        prompts, _ = model.prompt_encoder(points, labels, None, None)
        scores, quality = sam(shown, prompts[:, 0])
    close(scores[:, 1:], wanted.pred_masks[:, 0])
    close(quality[:, 1:], wanted.iou_scores[:, 0])


def test_tiny_vit_says_what_timm_says(tmp_path: Path) -> None:
    # All but the neck, which is that of SAM's ViT, and the strides of SAM's relatives: timm has neither.
    file = written(weights(tiny_vit_shapes()), tmp_path)
    sam = load_sam(file, SamConfig(TINY_VIT, DECODER))
    with torch.inference_mode():
        close(summary(sam.encoder.features(image(96))), torch.tensor(TIMM_TINY_VIT))
        assert sam.encoder(image(96)).shape == (2, 32, 3, 3)


def test_efficient_vit_says_what_timm_says(tmp_path: Path) -> None:
    # The stages, which are those of L0 to L2; the neck is tested below, and the two kinds of stages that
    # only XL0 and XL1 have (fused where L0 is inverted, attention over 3 pixels) differ in sizes alone.
    file = written(weights(efficient_vit_shapes()), tmp_path)
    sam = load_sam(file, SamConfig(EFFICIENT_VIT, DECODER))
    with torch.inference_mode():
        for found, wanted in zip(sam.encoder.features(image(128))[1:], TIMM_EFFICIENT_VIT, strict=True):
            close(summary(found), torch.tensor(wanted))


def test_efficient_vit_neck_adds_three_stages(tmp_path: Path) -> None:
    # Against the same written out by hand with the names of the file; timm has no such neck.
    tensors = weights(efficient_vit_shapes())
    sam = load_sam(written(tensors, tmp_path), SamConfig(EFFICIENT_VIT, DECODER))
    functional = torch.nn.functional

    def step(x: Any, name: str) -> Any:
        weight = tensors[f"{name}.conv.weight"]
        x = functional.conv2d(x, weight, padding=weight.shape[2] // 2)
        norm = [tensors[f"{name}.norm.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return functional.batch_norm(x, *norm, eps=1e-6)

    with torch.inference_mode():
        maps = sam.encoder.features(image(128))
        x: Any = 0
        for index, found in enumerate((maps[4], maps[3], maps[2])):
            narrow = step(found, f"neck.input_ops.{index}.op_list.0")
            x = x + functional.interpolate(narrow, (16, 16), mode="bicubic", align_corners=False)
        for block in range(2):
            name = f"neck.middle.op_list.{block}.main"
            y = functional.gelu(step(x, f"{name}.spatial_conv"), approximate="tanh")
            x = x + step(y, f"{name}.point_conv")
        last = "neck.output_ops.0.op_list.0.conv"
        x = functional.conv2d(x, tensors[f"{last}.weight"], tensors[f"{last}.bias"])
        mean, variance = x.mean(1, keepdim=True), x.var(1, keepdim=True, correction=0)
        x = (x - mean) / (variance + 1e-6).sqrt()
        x = x * tensors["norm.weight"][:, None, None] + tensors["norm.bias"][:, None, None]
        close(sam.encoder(image(128)), x)


def test_lite_medsam_keeps_the_size_in_stem_and_last_stage(tmp_path: Path) -> None:
    config = TinyVitConfig(32, 1, *dataclasses.astuple(TINY_VIT)[2:6], out=32)
    tensors = weights(tiny_vit_shapes(config))
    tensors |= {"norm_head.weight": torch.ones(3), "head.bias": torch.ones(3)}  # as MobileSAM's file
    sam = load_sam(written(tensors, tmp_path), SamConfig(config, DECODER))
    with torch.inference_mode():
        assert sam.encoder(image(32)).shape == (2, 32, sam.encoder.map_size, sam.encoder.map_size)
    assert sam.encoder.map_size == 8


RELEASED = [
    *((name, config, efficient_vit_shapes(config)) for name, config in EFFICIENT_VIT_SAM.items()),
    ("LiteMedSAM", TinyVitConfig(), tiny_vit_shapes(TinyVitConfig())),
    ("MobileSAM", TinyVitConfig(1024, 2), tiny_vit_shapes(TinyVitConfig(1024, 2))),
]


@pytest.mark.parametrize(
    ("config", "shapes"), [row[1:] for row in RELEASED], ids=[row[0] for row in RELEASED]
)
def test_released_sizes_fit_without_rest(config: Any, shapes: Any) -> None:
    with torch.device("meta"):
        encoder = build_encoder(config)
    places, strange = original_encoder_keys(config).places(shapes)
    assert strange == []
    ours = {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
    assert {place: shapes[name] for name, place in places.items()} == ours
    assert encoder.map_size == 64
    assert encoder.width == 256


@pytest.mark.parametrize(
    ("config", "millions"),
    [(VitConfig(), 93.7), *zip(EFFICIENT_VIT_SAM.values(), (34.8, 47.7, 61.3, 117.0, 203.3), strict=True)],
    ids=["vit_b", *EFFICIENT_VIT_SAM],
)
def test_released_sizes_are_as_large_as_published(config: Any, millions: float) -> None:
    with torch.device("meta"):
        sam = Sam(SamConfig(config))
    assert sum(parameter.numel() for parameter in sam.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)
