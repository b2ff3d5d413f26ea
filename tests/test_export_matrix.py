"""Every kind of network in every precision: ONNX Runtime answers as its source, and an engine is built."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is installed for training only (make check installs it)")

import onnx  # noqa: E402
import onnxslim  # noqa: E402
from torch import nn  # noqa: E402

from export.lowering import to_half, to_int8  # noqa: E402
from export.onnx_parts import part_program  # noqa: E402
from export.proof import relative_error, run_network  # noqa: E402
from training.networks.sam.vit import VitConfig, VitEncoder  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # the exporter warns
TRT_AOT = Path(__file__).resolve().parents[2] / "shared" / "tools" / "trt_aot" / "build.py"
BUNDLE = Path(__file__).resolve().parents[1] / "runtime" / "bundles" / "zeus-nano-head"
PRECISIONS = ["fp32", "fp16", "int8"]
BUILD_S = 120
"""That an engine may take; small ones take seconds."""


class EvaBlock(nn.Module):  # type: ignore[misc]
    """EVA ViT-g's: normalised before, queries and values with a bias, keys without."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=1e-6) for _ in range(2))
        self.qkv, self.proj = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.q_bias, self.v_bias = nn.Parameter(torch.randn(width)), nn.Parameter(torch.randn(width))
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Any) -> Any:
        inner = self.norms[0](x)
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        made = nn.functional.linear(inner, self.qkv.weight, bias)
        query, key, value = made.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
        x = x + self.proj(mixed)
        return x + self.mlp(self.norms[1](x))


class EvaEncoder(nn.Module):  # type: ignore[misc]
    """MiniGPT-Med's image encoder at a reduced width and depth; without the class token, as it is used."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.first = nn.Conv2d(3, 48, 14, 14), nn.Parameter(torch.randn(1, 1, 48))
        self.places = nn.Parameter(0.1 * torch.randn(1, 17, 48))
        self.blocks = nn.ModuleList(EvaBlock(48, 4, 208) for _ in range(3))
        self.last = nn.LayerNorm(48)

    def forward(self, image: Any) -> Any:
        x = self.patches(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.first, x], dim=1) + self.places
        for block in self.blocks:
            x = block(x)
        return self.last(x)[:, 1:].transpose(1, 2).unflatten(2, (4, 4))


def plain_unet(dims: int) -> nn.Module:
    from monai.networks.nets import UNet

    return UNet(dims, 1, 3, (8, 16, 32), (2, 2), num_res_units=0)


def residual_nnunet() -> nn.Module:
    from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet

    return ResidualEncoderUNet(
        **{"input_channels": 1, "n_stages": 3, "features_per_stage": (8, 16, 32), "conv_op": nn.Conv3d},
        **{"kernel_sizes": 3, "strides": (1, 2, 2), "n_blocks_per_stage": 1, "num_classes": 3},
        **{"n_conv_per_stage_decoder": 1, "conv_bias": True, "norm_op": nn.InstanceNorm3d},
        **{"norm_op_kwargs": {"affine": True}, "nonlin": nn.LeakyReLU, "nonlin_kwargs": {"inplace": True}},
    )


def swin_unetr() -> nn.Module:
    from monai.networks.nets import SwinUNETR

    return SwinUNETR(1, 3, depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 2), feature_size=12, window_size=4)


def sam_vit() -> nn.Module:
    return VitEncoder(VitConfig(64, 8, 24, 3, 2, 48, 4, (1,), 16))


@dataclass(frozen=True)
class Case:
    """A network and what it is shown.

    Attributes:
        make: The network; None is one of the bundle.
        sides: Of its image, channels first.
        segments: Whether its answer is scores of labels, learnt in `steps`.
        steps: Of learning them.
        inputs: Of a network of the bundle, by name.
        int8: Least likeness that simple ranges reach in int8, where that is less than 0.99: the mask decoder,
            which the commands export in float32 only.
    """

    make: Callable[[], nn.Module] | None
    sides: tuple[int, ...]
    segments: bool = False
    steps: int = 0
    inputs: dict[str, tuple[int, ...]] = field(default_factory=dict)
    int8: float = 0.99


CASES = {
    "unet 2-D": Case(lambda: plain_unet(2), (1, 64, 64), True, 150),
    "unet 3-D": Case(lambda: plain_unet(3), (1, 32, 32, 32), True, 40),
    "residual nnU-Net": Case(residual_nnunet, (1, 32, 32, 32), True, 40),
    "SwinUNETR": Case(swin_unetr, (1, 64, 64, 64), True, 15),
    "SAM ViT": Case(sam_vit, (3, 64, 64)),
    "EVA ViT": Case(EvaEncoder, (3, 56, 56)),
    "encoder.onnx": Case(None, (), inputs={"image": (1, 5, 32, 32, 32)}),
    "decoder.onnx": Case(
        None,
        (),
        inputs={"bottom": (1, 160, 2, 2, 2), "condition": (1, 5, 6, 64), "present": (1, 5)},
        int8=0.95,
    ),
    "text.onnx": Case(None, (), inputs={"ids": (1, 12)}),
}


def smooth(sides: tuple[int, ...], seed: int) -> Any:
    """Noise of a few voxels' width, of variance 1."""
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(seed).standard_normal(sides)
    wide = gaussian_filter(noise, [0] + [3.0] * (len(sides) - 1))
    return (wide / wide.std()).astype(np.float32)[None]


def shown(case: Case, seed: int) -> dict[str, Any]:
    """What a network of a case is shown."""
    if case.make is not None:
        return {"image": smooth(case.sides, seed)}
    random = np.random.default_rng(seed)
    if "ids" in case.inputs:
        return {"ids": random.integers(1, 50, case.inputs["ids"])}
    # What the encoder sees of the golden case, moved a little each time.
    image = np.roll(np.load(BUNDLE / "golden_image.npy").astype(np.float32), seed, axis=-1)
    if "image" in case.inputs:
        return {"image": image}
    chosen = random.permutation(21)[: case.inputs["condition"][2]]
    return {
        "bottom": run_network(BUNDLE / "encoder.onnx", {"image": image})["bottom"],
        "condition": np.load(BUNDLE / "bank.npy")[None, :, chosen],
        "present": np.ones(case.inputs["present"], bool),
    }


def taught(network: nn.Module, case: Case) -> nn.Module:
    """The network after moments of learning dark, middle and bright: random scores decide nothing."""
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    for step in range(case.steps):
        image = torch.from_numpy(smooth(case.sides, 100 + step))
        wanted = torch.bucketize(image[:, 0], torch.tensor([-0.5, 0.5]))
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(image), wanted).backward()
        optimiser.step()
    return network


def fixed(path: Path, inputs: dict[str, tuple[int, ...]]) -> onnx.ModelProto:
    """A network of the bundle at one size, its weights in float32."""
    model = onnx.load(path)
    for given in model.graph.input:
        for side, wanted in zip(given.type.tensor_type.shape.dim, inputs[given.name], strict=True):
            side.dim_value = wanted
    for result in model.graph.output:
        result.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    return onnxslim.slim(model)


@dataclass(frozen=True)
class Made:
    """A case in all precisions.

    Attributes:
        files: By precision.
        truth: What the source answers to `shown(case, 0)`, by output.
    """

    case: Case
    files: dict[str, Path]
    truth: dict[str, Any]


@pytest.fixture(scope="module", params=CASES)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    case, folder = CASES[request.param], tmp_path_factory.mktemp("matrix")
    files = {precision: folder / f"{precision}.onnx" for precision in PRECISIONS}
    feeds = shown(case, 0)
    if case.make is None:
        model = fixed(BUNDLE / request.param, case.inputs)
        truth = run_network(BUNDLE / request.param, feeds)
    else:
        torch.manual_seed(3)
        network = taught(case.make(), case).eval()
        image = torch.from_numpy(feeds["image"])
        with torch.inference_mode():
            truth = {"answer": network(image).numpy()}
        model = onnxslim.slim(part_program(network, {"image": image}, ["answer"], [{}]))
    model = onnx.shape_inference.infer_shapes(model)
    files["fp32"].write_bytes(model.SerializeToString())
    to_int8(files["fp32"], files["int8"], [shown(case, seed) for seed in range(4)])
    files["fp16"].write_bytes(to_half(onnx.load(files["fp32"])).SerializeToString())
    return Made(case, files, truth)


def likeness(case: Case, found: Any, wanted: Any) -> float:
    """Dice of the labels, the least of all; or, where there are none, the cosine of all numbers."""
    if not case.segments:
        one, other = found.astype(np.float64).ravel(), wanted.astype(np.float64).ravel()
        return float(one @ other / np.sqrt((one @ one) * (other @ other)))
    labels = [scores.argmax(axis=1) for scores in (found, wanted)]
    dice = []
    for value in range(wanted.shape[1]):
        one, other = (label == value for label in labels)
        if one.any() or other.any():
            dice.append(2 * float((one & other).sum()) / float(one.sum() + other.sum()))
    return min(dice)


def test_float32_is_its_source(made: Made) -> None:
    found = run_network(made.files["fp32"], shown(made.case, 0))
    for name, wanted in made.truth.items():
        assert relative_error(found[name], wanted) <= 1e-4


@pytest.mark.parametrize("precision", PRECISIONS[1:])
def test_lower_precision_is_like_its_source(made: Made, precision: str) -> None:
    limits = {"fp16": 0.995 if made.case.segments else 0.999, "int8": made.case.int8}
    found = run_network(made.files[precision], shown(made.case, 0))
    for name, wanted in made.truth.items():
        assert likeness(made.case, found[name], wanted) >= limits[precision], name


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_lower_precision_is_in_the_file(made: Made, precision: str) -> None:
    model = onnx.load(made.files[precision])
    kinds = [node.op_type for node in model.graph.node]
    assert ("Cast" if precision == "fp16" else "DequantizeLinear") in kinds
    stored = {tensor.data_type for tensor in model.graph.initializer}
    assert (onnx.TensorProto.FLOAT16 if precision == "fp16" else onnx.TensorProto.INT8) in stored


@pytest.mark.skipif(
    not TRT_AOT.is_file() or find_spec("onnxruntime_ep_nv_tensorrt_rtx") is None,
    reason="needs ../shared/tools/trt_aot and the TensorRT-RTX wheel (make check installs it)",
)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_engine_is_built(made: Made, precision: str) -> None:
    command = [sys.executable, str(TRT_AOT), str(made.files[precision]), "--cc", "sm89"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_S, check=False)
    assert done.stdout.strip(), done.stderr[-2000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert answer.get("bytes", 0) > 0, answer


def test_every_network_of_the_bundle_is_here() -> None:
    named = {name for name in CASES if name.endswith(".onnx")}
    assert named == {path.name for path in BUNDLE.glob("*.onnx")}
    assert set(itertools.chain(*(case.inputs for case in CASES.values()))) >= {"image", "bottom", "ids"}
