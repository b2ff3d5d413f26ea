"""Export: the ONNX encoder is the trained one, whatever the size of its input."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is installed for training only (make check installs it)")

from export.__main__ import main  # noqa: E402
from export.onnx_parts import encoder_onnx  # noqa: E402
from runtime.bundle import open_bundle  # noqa: E402
from runtime.engines.choose import open_engine  # noqa: E402
from training.networks.nano import NanoConfig, NanoNetwork  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.slow]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = NanoNetwork(NanoConfig())
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim == 1:
                parameter.normal_(1.0 if name.endswith("weight") else 0.0, 0.2)
    return network.eval()


@pytest.mark.filterwarnings("ignore")  # the exporter warns about itself
def test_onnx_equals_torch_for_every_size(network, tmp_path):
    path = tmp_path / "encoder.onnx"
    path.write_bytes(encoder_onnx(network.encoder, 5))
    with open_engine(path, "cpu", 1) as engine:
        for shape in ((32, 32, 32), (48, 32, 16), (64, 80, 48)):
            image = np.random.default_rng(0).random((1, 5, *shape), np.float32)
            with torch.inference_mode():
                expected = network.encoder(torch.from_numpy(image)).numpy()
            found = engine.run({"image": image})["features"]
            assert found.shape == expected.shape
            # weights are rounded to half precision: 2^-11 a weight, averaged over hundreds
            assert np.abs(found - expected).max() < 5e-3 * max(1, np.abs(expected).max())


@pytest.mark.filterwarnings("ignore")
def test_bundle_of_a_checkpoint_reads_back(network, tmp_path):
    state = {k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    torch.save({"step": 7, "average": state}, tmp_path / "last.pt")
    assert main([str(tmp_path / "last.pt"), "--out", str(tmp_path / "bundle")]) == 0
    again = open_bundle(tmp_path / "bundle")
    assert main([str(tmp_path / "last.pt"), "--out", str(tmp_path / "other"), "--precision", "int8"]) == 2
    assert again.manifest.provenance["steps"] == "7"
    assert sum(path.stat().st_size for path in again.folder.iterdir()) <= 12e6
