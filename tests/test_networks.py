"""The parts of Zeus: what a missing scan, another target or padding must not change; every part exports."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is installed for training only (make check installs it)")

from tests.fusion_claims import missing_modalities_have_no_say  # noqa: E402
from training.networks.mask_decoder import DecoderConfig, MaskDecoder  # noqa: E402
from training.networks.text import MOST_TOKENS, TextConfig, TextEncoder  # noqa: E402
from training.networks.zeus import Fusion, Zeus, ZeusConfig  # noqa: E402

pytestmark = pytest.mark.torch
FUSIONS: list[Fusion] = ["early", "hybrid", "late"]
SMALL = DecoderConfig(width=24, layers=2, heads=4, hidden=20)


def zeus(fusion: Fusion, modalities: int = 3) -> Zeus:
    torch.manual_seed(1)
    made = Zeus(ZeusConfig(modalities, fusion, (4, 6, 8), 5, 7, SMALL))
    for parameter in made.parameters():  # zeros and ones hide what is not connected
        parameter.data += 0.1 * torch.randn(parameter.shape)
    return made.eval()


def study(modalities: int = 3, targets: int = 2) -> tuple[Any, Any, Any]:
    torch.manual_seed(2)
    image = torch.randn(2, modalities, 8, 12, 16)
    return (
        image,
        torch.tensor([[True, False, True], [False, True, False]]),
        torch.randn(2, modalities, targets, 7),
    )


@pytest.mark.parametrize("fusion", FUSIONS)
def test_zeus_scores_every_voxel_of_every_target(fusion: Fusion) -> None:
    scores, presence = zeus(fusion)(*study())
    assert scores.shape == (2, 2, 8, 12, 16)
    assert presence.shape == (2, 2)
    assert torch.isfinite(scores).all()


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_missing_modality_has_no_say(fusion: Fusion) -> None:
    missing_modalities_have_no_say(zeus(fusion), study())


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_modality_that_is_there_has_a_say(fusion: Fusion) -> None:
    network, (image, _, condition) = zeus(fusion), study()
    everything = torch.ones(2, 3, dtype=torch.bool)
    before, _ = network(image, everything, condition)
    for modality in range(3):
        for given in (image, condition):
            kept = given[:, modality].clone()
            given[:, modality] += 1
            assert (network(image, everything, condition)[0] - before).abs().amax(
                dim=(1, 2, 3, 4)
            ).min() > 1e-4
            given[:, modality] = kept


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_mask_does_not_depend_on_what_else_is_asked_for(fusion: Fusion) -> None:
    network, (image, present, condition) = zeus(fusion), study(targets=3)
    together, presence = network(image, present, condition)
    for target in range(3):
        alone, there = network(image, present, condition[:, :, target : target + 1])
        torch.testing.assert_close(alone[:, 0], together[:, target])
        torch.testing.assert_close(there[:, 0], presence[:, target])


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_weight_learns(fusion: Fusion) -> None:
    network, (image, _, condition) = zeus(fusion).train(), study()
    scores, presence = network(image, torch.ones(2, 3, dtype=torch.bool), condition)
    (scores.square().mean() + presence.square().mean()).backward()
    still = [
        name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()
    ]
    # A softmax does not see what is added to all it compares, so a bias of all is lost on it.
    assert [name for name in still if not name.endswith(("preference.bias", "key.bias"))] == []


def test_fusion_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="early, hybrid or late"):
        ZeusConfig(fusion="middle")  # type: ignore[arg-type]


def test_text_encoder_ignores_padding_and_sees_order() -> None:
    torch.manual_seed(3)
    encoder = TextEncoder(TextConfig(50, condition=7)).eval()
    ids = torch.tensor([[4, 9, 30, 0, 0], [9, 4, 30, 7, 1]])
    vectors = encoder(ids)
    assert vectors.shape == (2, 7)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))
    padded = torch.nn.functional.pad(ids, (0, MOST_TOKENS - 5))
    torch.testing.assert_close(encoder(padded), vectors)
    assert (encoder(torch.tensor([[4, 9, 30], [9, 4, 30]])).diff(dim=0)).abs().max() > 1e-3


def exported(module: Any, inputs: tuple[Any, ...], shapes: Any) -> Any:
    """A session of ONNX Runtime over a module."""
    import onnxruntime

    program = torch.onnx.export(
        module, inputs, dynamo=True, opset_version=20, dynamic_shapes=shapes, verbose=False
    )
    model = program.model_proto.SerializeToString()
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def agrees(session: Any, module: Any, inputs: tuple[Any, ...]) -> None:
    names = [given.name for given in session.get_inputs()]
    found = session.run(None, dict(zip(names, (x.numpy() for x in inputs), strict=True)))
    with torch.inference_mode():
        wanted = module(*inputs)
    for one, other in zip(found, (wanted,) if isinstance(wanted, torch.Tensor) else wanted, strict=True):
        torch.testing.assert_close(torch.from_numpy(one), other, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the exporter warns about itself
def test_text_encoder_exports_for_any_length() -> None:
    torch.manual_seed(4)
    encoder = TextEncoder(TextConfig(50, condition=7)).eval()
    free = torch.export.Dim("count", max=64), torch.export.Dim("tokens", max=MOST_TOKENS)
    ids = torch.randint(1, 50, (3, 12))
    session = exported(encoder, (ids,), ({0: free[0], 1: free[1]},))
    for shape in ((3, 12), (1, 2), (5, MOST_TOKENS)):
        agrees(session, encoder, (torch.randint(0, 50, shape).clamp_min(1),))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the exporter warns about itself
def test_mask_decoder_exports_for_any_number_of_targets_and_size_of_map() -> None:
    torch.manual_seed(5)
    decoder = MaskDecoder(SMALL, 7, 9, 5).eval()
    auto = torch.export.Dim.AUTO
    inputs = torch.randn(1, 9, 3, 4, 5), torch.randn(1, 6, 7)
    session = exported(decoder, inputs, ({2: auto, 3: auto, 4: auto}, {1: auto}))
    for sides, targets in itertools.product(((3, 4, 5), (2, 6, 3)), (2, 9)):
        agrees(session, decoder, (torch.randn(1, 9, *sides), torch.randn(1, targets, 7)))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_training_does_without_missing_modalities_and_says_the_same(fusion: Fusion) -> None:
    network, given = zeus(fusion), study()
    expected, _ = network(*given)
    network.train()
    found, _ = network(*given)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
