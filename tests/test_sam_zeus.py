"""Zeus on SAM: what a missing scan or another target must not change, and what trains."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is installed for training only (make check installs it)")

from tests.fusion_claims import missing_modalities_have_no_say  # noqa: E402
from training.networks.sam.mask_decoder import SamDecoderConfig  # noqa: E402
from training.networks.sam.parts import Sam, SamConfig  # noqa: E402
from training.networks.sam.tiny_vit import TinyVitConfig  # noqa: E402
from training.networks.sam.vit import VitConfig  # noqa: E402
from training.networks.sam.zeus_sam import ZeusSam, ZeusSamConfig  # noqa: E402
from training.networks.zeus import Fusion  # noqa: E402

pytestmark = pytest.mark.torch
FUSIONS: list[Fusion] = ["early", "hybrid", "late"]
DECODER = SamDecoderConfig(width=16, heads=2, hidden=24, quality_hidden=12)
VIT = VitConfig(32, 8, 24, 2, 2, 32, 3, (1,), 16)
TINY_VIT = TinyVitConfig(16, 1, (8, 8, 12, 16), (1, 1, 1, 1), (1, 2, 2, 2), (2, 3, 3, 2), out=16)


def zeus(fusion: Fusion, modalities: int = 3, encoder: Any = VIT) -> ZeusSam:
    torch.manual_seed(1)
    config = ZeusSamConfig(modalities, fusion, condition=7, hidden=9, language=11)
    made = ZeusSam(config, Sam(SamConfig(encoder, DECODER)))
    for parameter in made.parameters():  # zeros and ones hide what is not connected
        parameter.data += 0.1 * torch.randn(parameter.shape)
    return made.eval()


def study(modalities: int = 3, targets: int = 2) -> tuple[Any, Any, Any]:
    torch.manual_seed(2)
    present = torch.tensor([[True, False, True], [False, True, False]])[:, :modalities]
    return torch.randn(2, modalities, 32, 32), present, torch.randn(2, modalities, targets, 7)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_zeus_sam_scores_every_target(fusion: Fusion) -> None:
    scores, quality = zeus(fusion)(*study())
    assert scores.shape == (2, 2, 16, 16)
    assert quality.shape == (2, 2)
    assert torch.isfinite(scores).all()


@pytest.mark.parametrize("fusion", FUSIONS)
def test_zeus_sam_gives_a_missing_modality_no_say(fusion: Fusion) -> None:
    missing_modalities_have_no_say(zeus(fusion), study())


@pytest.mark.parametrize("fusion", FUSIONS)
def test_zeus_sam_gives_every_present_modality_a_say(fusion: Fusion) -> None:
    network, (image, _, condition) = zeus(fusion), study()
    everything = torch.ones(2, 3, dtype=torch.bool)
    before, _ = network(image, everything, condition)
    for modality in range(3):
        for given in (image, condition):
            kept = given[:, modality].clone()
            given[:, modality] = torch.randn_like(kept)
            change = (network(image, everything, condition)[0] - before).abs().amax(dim=(1, 2, 3))
            assert change.min() > 1e-5
            given[:, modality] = kept


@pytest.mark.parametrize("fusion", FUSIONS)
def test_zeus_sam_decodes_every_target_by_itself(fusion: Fusion) -> None:
    network, (image, present, condition) = zeus(fusion), study(targets=3)
    together, quality = network(image, present, condition)
    for target in range(3):
        alone, there = network(image, present, condition[:, :, target : target + 1])
        torch.testing.assert_close(alone[:, 0], together[:, target])
        torch.testing.assert_close(there[:, 0], quality[:, target])


def test_early_fusion_of_one_modality_is_a_grey_image() -> None:
    early, late = zeus("early", 1), zeus("late", 1)
    image, present = torch.randn(2, 1, 32, 32), torch.ones(2, 1, dtype=torch.bool)
    early.sam.load_state_dict(late.sam.state_dict())
    torch.testing.assert_close(early.encode(image, present), late.encode(image, present)[:, 0])


def test_early_fusion_of_more_modalities_than_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="use hybrid or late"):
        ZeusSamConfig(4, "early")


def test_fusion_that_sam_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="early, hybrid or late"):
        ZeusSamConfig(fusion="middle")  # type: ignore[arg-type]


def test_sam_whose_parts_do_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="16 channels, the decoder wants 256"):
        Sam(SamConfig(VIT))


TRAINED = {"visual", "project", "mix", "trust", "sam.decoder"}


@pytest.mark.parametrize("fusion", FUSIONS)
def test_frozen_zeus_sam_trains_decoder_projections_and_fusion_only(fusion: Fusion) -> None:
    network = zeus(fusion).freeze().train()
    image, present, condition = study()
    scores, quality = network(image, present, condition)
    tokens = network.visual(condition[:, :, 0])
    (scores.square().mean() + quality.square().mean() + tokens.square().mean()).backward()
    for name, parameter in network.named_parameters():
        trains = any(name.startswith(part) for part in TRAINED)
        assert parameter.requires_grad == trains, name
        assert (parameter.grad is not None) == trains, name


def test_frozen_statistics_stay_as_they_are() -> None:
    network = zeus("late", encoder=TINY_VIT).freeze()
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    network.train()
    assert network.training
    assert network.sam.decoder.training
    network.encode(torch.randn(2, 3, 16, 16), torch.ones(2, 3, dtype=torch.bool))
    for name, buffer in network.named_buffers():
        torch.testing.assert_close(buffer, before[name])


def test_visual_tokens_have_the_width_of_the_language_model() -> None:
    assert zeus("late").visual(torch.randn(2, 3, 7)).shape == (2, 3, 11)
