"""The bundle that answers instructions, from checkpoints: read back, asked, and written whole or not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is installed for training only (make check installs it)")

from export.__main__ import main  # noqa: E402
from export.sources import zeus as zeus_source  # noqa: E402
from runtime.bundle import Bundle, open_bundle  # noqa: E402
from runtime.engines.choose import open_engine  # noqa: E402
from runtime.errors import UsageError  # noqa: E402
from runtime.language.text import TextReader  # noqa: E402
from runtime.stages.condition import wanted  # noqa: E402
from runtime.stages.decode import decode  # noqa: E402
from training.conditions import text_model  # noqa: E402
from training.config import read_config  # noqa: E402
from training.instructions import NO_TARGET  # noqa: E402
from training.networks.conditioned import Conditioned  # noqa: E402
from training.networks.nano import NanoConfig, NanoNetwork  # noqa: E402
from training.structures import CLASS_NAMES, STRUCTURES  # noqa: E402
from training.tasks.zeus_heads import ZeusHeadTask  # noqa: E402
from training.train import main as train  # noqa: E402

pytestmark = [
    pytest.mark.torch,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # the exporter warns about itself
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text encoder of 60 steps, and a Zeus of random weights."""
    folder = tmp_path_factory.mktemp("runs")
    schedule = {"steps": 60, "batch": 48, "rate": 0.005, "warm_up": 5, "cool_down": 30}
    size = {"tokens": 300, "width": 32, "layers": 1, "heads": 2, "condition": 32}
    text = {"name": "text", "kind": "text", "schedule": schedule, "size": size}
    (folder / "text.json").write_text(json.dumps(text))
    assert train(["--config", str(folder / "text.json"), "--runs", str(folder), "--device", "cpu"]) == 0
    zeus = {
        "widths": [4, 6, 8, 10, 12],
        "features": 6,
        "condition": 32,
        "decoder": {"width": 16, "layers": 1, "heads": 2, "hidden": 8},
    }
    described = {"name": "zeus", "kind": "zeus-heads", "text": str(folder / "text.json"), "zeus": zeus}
    (folder / "zeus.json").write_text(json.dumps(described))
    torch.manual_seed(0)
    network = Conditioned(read_config(folder / "zeus.json").zeus, 0)  # type: ignore[union-attr]
    (folder / "zeus").mkdir()
    torch.save({"step": 3, "average": network.state_dict()}, folder / "zeus" / "last.pt")
    return folder


@pytest.fixture(scope="module")
def bundle(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("bundle") / "made"
    assert main([str(runs / "zeus.json"), "--runs", str(runs), "--out", str(out)]) == 0
    return open_bundle(out)


def test_a_bundle_has_a_row_for_every_structure_and_one_for_none(bundle: Bundle) -> None:
    given = bundle.manifest.instructions
    assert given is not None
    assert given.asked == (*(structure.name for structure in STRUCTURES), "")
    assert bundle.bank is not None
    assert bundle.bank.shape == (5, len(STRUCTURES) + 1, 32)
    assert [target.structure for target in bundle.manifest.targets] == ["", *CLASS_NAMES[1:]]
    assert bundle.manifest.provenance["steps"] == "3"


def test_the_plain_text_of_every_target_asks_for_it(bundle: Bundle, runs: Path) -> None:
    given = bundle.manifest.instructions
    assert given is not None
    model = text_model(str(runs / "text.json"), runs)
    reader = TextReader(bundle.path(given.text.tokenizer), given.text.most_tokens)
    present = np.array([True, False, False, False, False])
    with open_engine(bundle.path(given.text.network.file), "cpu", 1) as engine:
        for structure in STRUCTURES:
            made = reader.vector(model.plain("T1", structure.name), engine)
            assert wanted(made.vector, bundle, present).target == structure.name
            assert wanted(made.vector, bundle, present).similarity > 0.999
        assert reader.vector("thalamus", engine).vector.shape == (32,)  # one token


def test_the_decoder_answers_as_torch_does(bundle: Bundle, runs: Path) -> None:
    given = bundle.manifest.instructions
    assert given is not None
    assert bundle.bank is not None
    network = Conditioned(read_config(runs / "zeus.json").zeus, 0)  # type: ignore[union-attr]
    network.load_state_dict(torch.load(runs / "zeus" / "last.pt", weights_only=True)["average"])
    bottom = np.random.default_rng(0).standard_normal((1, 12, 2, 3, 4)).astype(np.float32)
    present = np.array([True, True, False, False, True])
    row = bundle.bank[:, 3]
    with torch.inference_mode():
        masks = network.zeus.eval().decode(
            torch.from_numpy(bottom), torch.from_numpy(row)[None, :, None], torch.from_numpy(present)[None]
        )
    with open_engine(bundle.path(given.decoder.file), "cpu", 1) as engine:
        found: Any = decode("thalamus", row, bottom, present, engine, bundle.manifest)
    np.testing.assert_allclose(found.target.vector, masks.vectors[0, 0].numpy(), rtol=1e-2, atol=1e-3)
    assert found.target.bias == pytest.approx(float(masks.biases[0, 0]), rel=1e-2, abs=1e-3)
    assert found.presence == pytest.approx(float(masks.presence[0, 0].sigmoid()), abs=1e-3)


def test_what_disagrees_with_torch_is_not_written(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = zeus_source.decoder_onnx

    def wrong(zeus: Any) -> bytes:
        other = dataclasses.replace(zeus.config)
        torch.manual_seed(9)
        return right(type(zeus)(other))

    monkeypatch.setattr(zeus_source, "decoder_onnx", wrong)
    out = tmp_path / "made"
    assert main([str(runs / "zeus.json"), "--runs", str(runs), "--out", str(out)]) == 4
    assert "nothing was written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_zeus_starts_with_the_answers_of_the_plain_network(runs: Path) -> None:
    torch.manual_seed(4)
    plain = NanoNetwork(NanoConfig(widths=(4, 6, 8, 10, 12), features=6)).eval()
    plain.bias.data.normal_()
    (runs / "plain").mkdir()
    torch.save({"step": 1, "average": plain.state_dict()}, runs / "plain" / "last.pt")
    config = dataclasses.replace(read_config(runs / "zeus.json"), start_from="plain")  # type: ignore[arg-type]
    zeus = ZeusHeadTask(config, runs, runs).network().zeus.eval()  # type: ignore[arg-type]
    model = text_model(config.text, runs)  # type: ignore[union-attr]
    image, present = torch.randn(1, 5, 32, 16, 32), torch.tensor([[True, False, True, True, False]])
    image = torch.where(present[:, :, None, None, None], image, 0.0)
    rows = [model.task.targets.index(name) for name in (*CLASS_NAMES[1:], NO_TARGET)]
    condition = model.network.anchors[rows].expand(1, 5, -1, -1)
    with torch.inference_mode():
        wanted = plain(image)
        found, _ = zeus(image, present, condition)
    assert (found[:, -1] < -5).all()  # what is foreign
    torch.testing.assert_close(found[:, :-1], wanted[:, 1:] - wanted[:, :1], rtol=1e-3, atol=1e-3)


def test_more_requests_than_drafts_are_refused(runs: Path) -> None:
    described = json.loads((runs / "zeus.json").read_text())
    described["zeus"]["decoder"]["drafts"] = 5
    (runs / "few.json").write_text(json.dumps({**described, "start_from": "plain"}))
    with pytest.raises(UsageError, match=r"raise zeus\.decoder\.drafts"):
        ZeusHeadTask(read_config(runs / "few.json"), runs, runs).network()  # type: ignore[arg-type]
