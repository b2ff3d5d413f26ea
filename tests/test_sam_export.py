"""SAM's halves as ONNX: ONNX Runtime says what torch says."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is installed for training only (make check installs it)")

from tests.test_networks import agrees, exported  # noqa: E402
from training.networks.sam.efficient_vit import EfficientVitConfig  # noqa: E402
from training.networks.sam.mask_decoder import SamDecoderConfig  # noqa: E402
from training.networks.sam.parts import Sam, SamConfig, build_encoder  # noqa: E402
from training.networks.sam.tiny_vit import TinyVitConfig  # noqa: E402
from training.networks.sam.vit import VitConfig  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # the exporter warns
VIT = VitConfig(40, 8, 16, 2, 2, 24, 3, (1,), 16)
TINY_VIT = TinyVitConfig(16, 1, (8, 8, 12, 16), (1, 1, 1, 1), (1, 2, 2, 2), (2, 3, 3, 2), out=16)
EFFICIENT_VIT = EfficientVitConfig(64, 8, (8, 8, 8, 16, 16), (1, 1, 1, 1, 1), head=8, neck_layers=1, out=16)


def stirred(module: Any) -> Any:
    torch.manual_seed(1)
    for parameter in module.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    return module.eval()


@pytest.mark.parametrize("config", [VIT, TINY_VIT, EFFICIENT_VIT], ids=["vit", "tiny_vit", "efficient_vit"])
def test_image_encoder_exports_for_any_number_of_images(config: Any) -> None:
    encoder = stirred(build_encoder(config))
    side = encoder.image_size
    session = exported(encoder, (torch.randn(2, 3, side, side),), ({0: torch.export.Dim("images", max=8)},))
    for count in (2, 1, 5):
        agrees(session, encoder, (torch.randn(count, 3, side, side),))


class Decoder(torch.nn.Module):  # type: ignore[misc]
    """Prompt encoder and mask decoder, as an export has them."""

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.sam = sam

    def forward(self, maps: Any, prompts: Any, seen: Any) -> Any:
        return self.sam.decode(maps, prompts, seen)


def test_mask_decoder_exports_for_any_number_of_prompts() -> None:
    decoder = SamDecoderConfig(width=16, heads=2, hidden=24, quality_hidden=12)
    network = Decoder(stirred(Sam(SamConfig(VIT, decoder))))
    auto = torch.export.Dim.AUTO
    inputs = (
        torch.randn(2, 16, 5, 5),
        torch.randn(2, 3, 16),
        torch.tensor([[True, False, True], [True, True, True]]),
    )
    session = exported(network, inputs, ({0: auto}, {0: auto, 1: auto}, {0: auto, 1: auto}))
    for count, length in ((2, 3), (3, 2)):
        seen = torch.rand(count, length) > 0.5
        agrees(session, network, (torch.randn(count, 16, 5, 5), torch.randn(count, length, 16), seen))
