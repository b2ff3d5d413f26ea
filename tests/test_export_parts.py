"""Every part of Zeus as ONNX: the numbers of torch for every size, and a real engine from each."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is installed for training only (make check installs it)")

from export.onnx_parts import decoder_onnx, text_onnx, zeus_encoder_onnx  # noqa: E402
from training.networks.mask_decoder import DecoderConfig  # noqa: E402
from training.networks.text import MOST_TOKENS, TextConfig, TextEncoder  # noqa: E402
from training.networks.zeus import Fusion, Zeus, ZeusConfig  # noqa: E402

pytestmark = [
    pytest.mark.torch,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # the exporter warns about itself
]
FUSIONS: list[Fusion] = ["early", "hybrid", "late"]
MODALITIES, CONDITION = 3, 7
TRT_AOT = Path(__file__).resolve().parents[2] / "shared" / "tools" / "trt_aot" / "build.py"


@pytest.fixture(scope="module", params=FUSIONS)
def zeus(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(1)
    config = ZeusConfig(MODALITIES, request.param, (4, 6, 8), 5, CONDITION, DecoderConfig(24, 2, 4, 20))
    made = Zeus(config)
    for parameter in made.parameters():  # zeros and ones hide what is not connected
        parameter.data += 0.1 * torch.randn(parameter.shape)
        parameter.data = parameter.data.half().float()  # as they are stored
    return made.eval()


@pytest.fixture(scope="module")
def files(zeus: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    (folder / "encoder.onnx").write_bytes(zeus_encoder_onnx(zeus))
    (folder / "decoder.onnx").write_bytes(decoder_onnx(zeus))
    return folder


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    torch.manual_seed(4)
    encoder = TextEncoder(TextConfig(50, condition=CONDITION)).eval()
    for parameter in encoder.parameters():
        parameter.data = parameter.data.half().float()
    path = tmp_path_factory.mktemp("text") / "text.onnx"
    path.write_bytes(text_onnx(encoder))
    return encoder, path


def run(path: Path, **inputs: Any) -> list[Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = {given.name for given in session.get_inputs()}
    found = session.run(None, {name: value.numpy() for name, value in inputs.items() if name in names})
    return [torch.from_numpy(value) for value in found]


def close(found: list[Any], wanted: Any) -> None:
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_encoder_is_that_of_torch_for_every_size_and_presence(zeus: Any, files: Path) -> None:
    torch.manual_seed(2)
    for sides, present in itertools.product(((8, 12, 16), (16, 8, 4)), ([1, 1, 1], [0, 1, 0])):
        there = torch.tensor([present], dtype=torch.bool)
        image = torch.randn(1, MODALITIES, *sides) * there[:, :, None, None, None]
        with torch.inference_mode():
            wanted = zeus.encode(image, there)
        close(run(files / "encoder.onnx", image=image, present=there), wanted)


def test_decoder_is_that_of_torch_for_every_number_of_targets(zeus: Any, files: Path) -> None:
    torch.manual_seed(3)
    late = (MODALITIES,) if zeus.config.fusion == "late" else ()
    for sides, targets in itertools.product(((3, 4, 5), (2, 6, 3)), (1, 2, 9)):
        bottom = torch.randn(1, *late, 8, *sides)
        condition = torch.randn(1, MODALITIES, targets, CONDITION)
        there = torch.tensor([[True, False, True]])
        with torch.inference_mode():
            wanted = zeus.decode(bottom, condition, there)
        close(run(files / "decoder.onnx", bottom=bottom, condition=condition, present=there), wanted)


def test_text_encoder_is_that_of_torch_for_every_length(text: tuple[Any, Path]) -> None:
    encoder, path = text
    for length in (1, 2, 12, MOST_TOKENS):
        ids = torch.randint(1, 50, (1, length))
        with torch.inference_mode():
            wanted = encoder(ids)
        close(run(path, ids=ids), [wanted])


def build(path: Path, *profiles: tuple[str, str, str, str]) -> dict[str, Any]:
    """Build an engine in a process of its own, as the library may crash."""
    arguments = [part for profile in profiles for part in ("--profile", *profile)]
    command = [sys.executable, str(TRT_AOT), str(path), "--cc", "sm86", "sm89", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.stdout.strip(), done.stderr[-2000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


needs_engine_builder = pytest.mark.skipif(
    not TRT_AOT.is_file() or find_spec("onnxruntime_ep_nv_tensorrt_rtx") is None,
    reason="needs ../shared/tools/trt_aot and the TensorRT-RTX wheel (make check installs it)",
)


@needs_engine_builder
def test_encoder_and_decoder_build_into_engines(zeus: Any, files: Path) -> None:
    m = MODALITIES
    image = ("image", f"1x{m}x8x8x8", f"1x{m}x16x16x16", f"1x{m}x32x32x32")
    answer = build(files / "encoder.onnx", image)
    assert answer.get("bytes", 0) > 0, answer
    late = f"{m}x" if zeus.config.fusion == "late" else ""
    bottom = ("bottom", f"1x{late}8x2x2x2", f"1x{late}8x4x4x4", f"1x{late}8x8x8x8")
    condition = ("condition", f"1x{m}x1x{CONDITION}", f"1x{m}x4x{CONDITION}", f"1x{m}x32x{CONDITION}")
    answer = build(files / "decoder.onnx", bottom, condition)
    assert answer.get("bytes", 0) > 0, answer


@needs_engine_builder
def test_text_encoder_builds_into_an_engine(text: tuple[Any, Path]) -> None:
    answer = build(text[1], ("ids", "1x2", "1x16", f"1x{MOST_TOKENS}"))
    assert answer.get("bytes", 0) > 0, answer
