"""SAM from folders: encoder, decoder and masks are those of transformers, in every form of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is installed for training only (make check installs it)")

from tests.sam_checkpoints import (  # noqa: E402
    SIDE,
    close,
    sam_model,
    saved,
    stirred,
    tensors_of,
    transformers,
    vision_settings,
)
from training.networks.sam.load import load_sam, load_vit  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture
def image() -> Any:
    torch.manual_seed(4)
    return torch.randn(2, 3, SIDE, SIDE)


def test_sam_encoder_says_what_transformers_says(tmp_path: Path, image: Any) -> None:
    model = sam_model()
    sam = load_sam(saved(model, tmp_path))
    with torch.inference_mode():
        close(sam.encoder(image), model.vision_encoder(image).last_hidden_state)
    assert (sam.encoder.image_size, sam.encoder.map_size, sam.encoder.width) == (SIDE, SIDE // 8, 32)


def test_sam_decoder_says_what_transformers_says(tmp_path: Path) -> None:
    model = sam_model()
    sam = load_sam(saved(model, tmp_path))
    torch.manual_seed(5)
    maps, prompts = torch.randn(2, 32, 10, 10), torch.randn(2, 3, 32)
    nothing = model.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand_as(maps)
    places = model.get_image_wide_positional_embeddings().expand_as(maps)
    with torch.inference_mode():
        scores, quality = sam.decode(maps, prompts)
        close(sam.prompt.positions(), places[0].flatten(1).T)
        for several, masks in ((False, slice(0, 1)), (True, slice(1, None))):
            wanted = model.mask_decoder(maps, places, prompts[:, None], nothing, multimask_output=several)
            close(scores[:, masks], wanted[0][:, 0])
            close(quality[:, masks], wanted[1][:, 0])


def test_sam_from_image_to_masks_says_what_transformers_says(tmp_path: Path, image: Any) -> None:
    model = sam_model()
    sam = load_sam(saved(model, tmp_path))
    points = torch.tensor([[[[30.0, 40.0]]], [[[9.0, 70.0]]]])
    labels = torch.ones(2, 1, 1, dtype=torch.long)
    with torch.inference_mode():
        wanted = model(pixel_values=image, input_points=points, input_labels=labels, multimask_output=False)
        prompts, _ = model.prompt_encoder(points, labels, None, None)
        scores, quality = sam(image, prompts[:, 0])
    close(scores[:, :1], wanted.pred_masks[:, 0])
    close(quality[:, :1], wanted.iou_scores[:, 0])


def test_hidden_prompts_are_as_good_as_absent(tmp_path: Path) -> None:
    sam = load_sam(saved(sam_model(), tmp_path))
    torch.manual_seed(6)
    maps, prompts = torch.randn(1, 32, 10, 10), torch.randn(1, 4, 32)
    seen = torch.tensor([[True, False, True, False]])
    with torch.inference_mode():
        for found, wanted in zip(
            sam.decode(maps, prompts, seen), sam.decode(maps, prompts[seen][None]), strict=True
        ):
            close(found, wanted)


def test_weights_in_parts_are_the_same(tmp_path: Path, image: Any) -> None:
    model = sam_model()
    folder = saved(model, tmp_path, max_shard_size="20KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    with torch.inference_mode():
        close(load_sam(folder).encoder(image), model.vision_encoder(image).last_hidden_state)


def test_weights_in_half_precision_become_float32(tmp_path: Path, image: Any) -> None:
    model = sam_model()
    folder = saved(model.half(), tmp_path)
    model = model.float()
    with torch.inference_mode():
        close(load_sam(folder).encoder(image), model.vision_encoder(image).last_hidden_state)


def test_weights_in_a_pickle_of_tensors_are_the_same(tmp_path: Path, image: Any) -> None:
    model = sam_model()
    torch.save(tensors_of(model, tmp_path), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with torch.inference_mode():
        close(load_sam(tmp_path).encoder(image), model.vision_encoder(image).last_hidden_state)


def test_an_encoder_alone_says_what_transformers_says(tmp_path: Path, image: Any) -> None:
    config = transformers.SamVisionConfig(**vision_settings(mlp_dim=None, mlp_ratio=2.0))
    model = stirred(transformers.SamVisionModel(config))
    with torch.inference_mode():
        close(load_vit(saved(model, tmp_path))(image), model(image).last_hidden_state)
