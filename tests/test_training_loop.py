"""Trainings by configuration: resumable to the bit, refused when wrong, measured on what was held out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is installed for training only (make check installs it)")

from runtime.errors import UsageError  # noqa: E402
from training.config import CONFIGS, read_config  # noqa: E402
from training.evaluate import main as evaluate  # noqa: E402
from training.labelled import fold_of  # noqa: E402
from training.loop import Place, Schedule, _State, save_resume  # noqa: E402
from training.tasks.labelled import LabelledTask  # noqa: E402
from training.train import main  # noqa: E402

pytestmark = pytest.mark.torch

ZEUS = {
    "modalities": 1,
    "widths": [4, 6, 8],
    "features": 4,
    "condition": 32,
    "decoder": {"width": 16, "layers": 1, "heads": 2, "hidden": 8},
}
SCHEDULE = {"steps": 4, "batch": 2, "warm_up": 2, "cool_down": 2}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two bright blocks in noise, six cases, with a text encoder that has seen four batches."""
    folder = tmp_path_factory.mktemp("training")
    random = np.random.default_rng(0)
    affine = np.diag([-1.0, 1.0, 1.0, 1.0])
    for n in range(6):
        labels = np.zeros((14, 18, 12), np.uint8)
        labels[3:7, 4:9, 3:8], labels[8:12, 8:14, 4:9] = 1, 2
        image = random.normal(100, 10, labels.shape) + 60 * (labels == 1) + 120 * (labels == 2)
        for part, voxels in (("images", image.astype(np.int16)), ("labels", labels)):
            (folder / "data" / part).mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(voxels, affine), folder / "data" / part / f"case_{n:03d}.nii.gz")
    size = {"tokens": 120, "width": 16, "layers": 1, "heads": 2, "condition": 32}
    text = {"name": "text", "kind": "text", "vocabulary": "hippocampus", "schedule": SCHEDULE, "size": size}
    (folder / "text.json").write_text(json.dumps(text))
    assert (
        main(["--config", str(folder / "text.json"), "--runs", str(folder / "runs"), "--device", "cpu"]) == 0
    )
    return folder


def config(folder: Path, **changes: Any) -> Path:
    """A configuration's file."""
    held_out = fold_of("case_000", 3)
    data = {
        "folder": str(folder / "data"),
        "layout": "folder",
        "images": {"MRI": "images"},
        "labels": "labels",
        "structures": {"1": "Anterior", "2": "Posterior"},
        "channels": [{"modality": "MRI"}],
        "targets": ["Anterior", "Posterior"],
        "spacing_mm": 1.0,
        "patch_voxels": [16, 20, 16],
        "folds": 3,
        "held_out": held_out,
    }
    made = {"name": "run", "kind": "labelled", "data": data, "zeus": ZEUS, "schedule": SCHEDULE, **changes}
    path = folder / f"{made['name']}.json"
    path.write_text(json.dumps(made))
    return path


def run(path: Path, runs: Path, *options: str) -> int:
    return main(["--config", str(path), "--runs", str(runs), "--device", "cpu", *options])


MODELS: dict[str, dict[str, Any]] = {
    "unet": {"model": "unet"},
    "learned": {"model": "zeus"},
    "asked": {"model": "zeus", "text_modalities": ["MRI"]},
}


def of_model(folder: Path, model: str) -> Path:
    """The configuration of a model."""
    text = {"text": str(folder / "text.json")} if model == "asked" else {}
    return config(folder, **MODELS[model], **text, name=model)


def runs_with_text(folder: Path, runs: Path) -> Path:
    """A new folder of runs in which the text encoder is trained."""
    shutil.copytree(folder / "runs" / "text", runs / "text")
    return runs


@pytest.mark.parametrize("model", MODELS)
def test_a_training_in_four_pieces_ends_with_the_same_weights(
    folder: Path, tmp_path: Path, model: str
) -> None:
    path = of_model(folder, model)
    whole, pieces = (runs_with_text(folder, tmp_path / name) for name in ("whole", "pieces"))
    assert run(path, whole) == 0
    for step in range(1, 5):
        assert run(path, pieces, "--resume", "--minutes", "1e-9") == 0
        kept = torch.load(pieces / model / "last.pt", weights_only=True)
        assert kept["step"] == step
    wanted = torch.load(whole / model / "last.pt", weights_only=True)
    for part in ("network", "average"):
        assert all(torch.equal(kept[part][name], wanted[part][name]) for name in wanted[part])
    assert json.loads((whole / model / "config.json").read_text())["schedule"]["steps"] == 4


def test_resume_from_committed_half_precision_goes_on_at_its_step(folder: Path, tmp_path: Path) -> None:
    path = of_model(folder, "unet")
    assert run(path, tmp_path) == 0
    save_resume(tmp_path / "unet", tmp_path / "resume")
    state = _State(
        LabelledTask(read_config(path), Path(), tmp_path),
        Schedule(),
        Place(  # type: ignore[arg-type]
            tmp_path / "elsewhere", resume=True, resume_from=tmp_path / "resume" / "unet.pt"
        ),
    )
    assert state.step == 4
    kept = torch.load(tmp_path / "unet" / "last.pt", weights_only=True)["network"]
    for name, value in state.network.state_dict().items():
        torch.testing.assert_close(value, kept[name], rtol=1e-3, atol=1e-6)
    assert (tmp_path / "resume" / "unet.pt").stat().st_size < (
        tmp_path / "unet" / "last.pt"
    ).stat().st_size / 3


@pytest.mark.parametrize("model", MODELS)
def test_evaluate_measures_the_fold_that_was_held_out(
    folder: Path, tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path, runs = of_model(folder, model), runs_with_text(folder, tmp_path / "runs")
    assert run(path, runs) == 0
    out = tmp_path / "rows.jsonl"
    assert evaluate(["--config", str(path), "--runs", str(runs), "--json", str(out), "--threads", "1"]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    held_out = [n for n in range(6) if fold_of(f"case_{n:03d}", 3) == fold_of("case_000", 3)]
    assert rows[0]["cases"] == len(held_out) < 6
    assert rows[0]["steps"] == 4
    assert 0 <= rows[0]["DSC"] <= 1
    assert len(rows) == (3 if model == "asked" else 1)
    if model == "asked":
        assert rows[1]["lowest"] <= rows[1]["highest"]
        assert 0 <= rows[2]["empty masks"] <= 1
        assert 0 <= rows[2]["presence"] <= 1
    assert model in capsys.readouterr().out


def test_a_network_learns_the_blocks(folder: Path, tmp_path: Path) -> None:
    path = config(folder, name="learns", schedule={**SCHEDULE, "steps": 140, "rate": 0.01, "cool_down": 60})
    assert run(path, tmp_path) == 0
    rows = tmp_path / "rows.jsonl"
    assert evaluate(["--config", str(path), "--runs", str(tmp_path), "--json", str(rows)]) == 0
    assert json.loads(rows.read_text())["DSC"] > 0.8


@pytest.mark.parametrize("fusion", ["early", "hybrid", "late"])
def test_modalities_of_a_4d_file_are_fused(folder: Path, tmp_path: Path, fusion: str) -> None:
    random = np.random.default_rng(1)
    pairs = []
    for n in range(4):
        image, labels = random.integers(0, 900, (10, 12, 8, 2)), random.integers(0, 3, (10, 12, 8))
        for name, voxels in (("image", image.astype(np.int16)), ("label", labels.astype(np.uint8))):
            nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / f"{name}_{n}.nii.gz")
        pairs.append({"image": f"./image_{n}.nii.gz", "label": f"./label_{n}.nii.gz"})
    described = {"modality": {"0": "T2", "1": "ADC"}, "labels": {"0": "background", "1": "PZ", "2": "TZ"}}
    (tmp_path / "dataset.json").write_text(json.dumps({**described, "training": pairs}))
    data = {
        "folder": str(tmp_path),
        "layout": "decathlon",
        "channels": [{"modality": "T2"}, {"modality": "ADC"}],
        "targets": ["PZ", "TZ"],
        "spacing_mm": 1.0,
        "patch_voxels": [12, 12, 8],
        "folds": 2,
        "held_out": fold_of("image_0", 2),
    }
    zeus = {**ZEUS, "modalities": 2, "fusion": fusion}
    path = config(folder, name=fusion, data=data, zeus=zeus, schedule={**SCHEDULE, "steps": 1})
    assert run(path, tmp_path / "runs") == 0
    rows = tmp_path / "rows.jsonl"
    assert evaluate(["--config", str(path), "--runs", str(tmp_path / "runs"), "--json", str(rows)]) == 0
    assert 1 <= json.loads(rows.read_text())["cases"] < 4


def test_a_text_encoder_is_measured_on_both_parts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(["--config", str(folder / "text.json"), "--runs", str(folder / "runs")]) == 0
    shown = capsys.readouterr().out
    assert "right target, training texts" in shown
    assert "right target, evaluation texts" in shown


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "unheard"}, "use one of"),
        ({"model": "unet", "text": "zeus-text-head", "text_modalities": ["T1"]}, "text needs the model zeus"),
        ({"zeus": {**ZEUS, "modalities": 2}}, "there are 1 channels"),
        ({"schedule": {"stepz": 1}}, "unknown key"),
    ],
)
def test_a_wrong_configuration_is_refused(folder: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_config(config(folder, name="wrong", **changes))


def test_what_is_not_there_is_named(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="zeus-nano-head"):  # ours are listed
        read_config("no-such-training")
    with pytest.raises(SystemExit) as stop:
        run(of_model(folder, "asked"), tmp_path)  # its text encoder was not trained there
    assert stop.value.code == 2
    assert "last.pt is not there; run python -m training.train" in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.json")), ids=lambda path: path.stem)
def test_our_configurations_are_whole(path: Path) -> None:
    assert read_config(path.stem).name == path.stem


def test_the_rate_rises_and_falls() -> None:
    schedule = Schedule(steps=100, rate=1.0, warm_up=10, cool_down=50)
    rates = [schedule.rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[20] == 1.0
    assert rates[99] == pytest.approx(0.02)
