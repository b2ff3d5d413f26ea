"""An nnU-Net results folder as a bundle: its predictor's labels on a real scan, and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is installed for training only (make check installs it)")
pytest.importorskip("nnunetv2", reason="nnU-Net is in the extra others; make check installs it, beside torch")

from export.__main__ import main  # noqa: E402
from export.about import About  # noqa: E402
from export.checkpoint import read_checkpoint  # noqa: E402
from export.sources.nnunet_network import build_network  # noqa: E402
from export.sources.nnunet_plans import planned  # noqa: E402
from runtime import Session  # noqa: E402
from runtime.errors import BundleError  # noqa: E402
from tests.conftest import DATA  # noqa: E402
from tests.nnunet_folder import VARIANTS  # noqa: E402
from tests.source_tree import ROOT  # noqa: E402
from training.metrics import dice  # noqa: E402

pytestmark = [
    pytest.mark.torch,
    pytest.mark.slow,
    pytest.mark.data,
    pytest.mark.filterwarnings("ignore"),  # the exporter and nnU-Net warn about themselves
    pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is absent"),
]
IMAGES = DATA / "msd-hippocampus" / "images"


@pytest.fixture(scope="module")
def scan() -> Path:
    """A scan that nothing was trained on."""
    return sorted(IMAGES.glob("*.nii.gz"))[29]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, scan: Path) -> Path:
    """Results folders and predictions of every variant, by nnU-Net."""
    out = tmp_path_factory.mktemp("nnunet")
    command = [sys.executable, "-W", "ignore", "-m", "tests.nnunet_folder", IMAGES, out, scan]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_bundle_gives_the_labels_of_nnunets_own_predictor(
    variant: str, made: Path, scan: Path, tmp_path: Path
) -> None:
    assert main([str(made / variant / "results"), "--out", str(tmp_path / "bundle")]) == 0
    with Session(tmp_path / "bundle", "cpu", 1) as session:
        session.segment([f"T1={scan}"]).save(tmp_path / "result", ["nifti"])
        folds = session.bundle.manifest.provenance["folds"]
    found = np.asarray(nibabel.load(tmp_path / "result" / "labels.nii.gz").dataobj)
    expected = np.asarray(nibabel.load(made / variant / "labels.nii.gz").dataobj)
    assert folds == ("0, 1" if variant == "held" else "0")
    for value in (0, 1, 2):
        assert (expected == value).sum() > 100
        assert dice(found == value, expected == value) >= 0.999


Change = Callable[[dict[str, Any], dict[str, Any]], object]


def configuration(**other: Any) -> Change:
    return lambda plans, dataset: plans["configurations"]["3d_fullres"].update(other)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (configuration(previous_stage="3d_lowres"), "cascade"),
        (configuration(preprocessor_name="Mine"), "preprocessor Mine"),
        (configuration(resampling_fn_data="resample_torch_fornnunet"), "resample_torch_fornnunet"),
        (configuration(normalization_schemes=["RGBTo01Normalization"]), "RGBTo01Normalization"),
        (configuration(inherits_from="3d_fullres"), "inherits from"),
        (lambda plans, dataset: plans.update(image_reader_writer="NaturalImage2DIO"), "NaturalImage2DIO"),
        (lambda plans, dataset: dataset.update(channel_names={"0": "MRI"}), "modalities"),
        (lambda plans, dataset: dataset.update(labels={"background": 0, "whole": [1, 2], "a": 2}), "regions"),
        (lambda plans, dataset: dataset.update(labels={"background": 0, "a": 2}), "label values"),
    ],
)
def test_plans_that_cannot_be_reproduced_are_refused(made: Path, change: Change, reason: str) -> None:
    results = made / "3d" / "results"
    plans, dataset = (json.loads((results / f"{name}.json").read_text()) for name in ("plans", "dataset"))
    assert planned(plans, dataset, "3d_fullres", About()).labels == {1: "anterior", 2: "posterior"}
    change(plans, dataset)
    with pytest.raises(BundleError, match=reason):
        planned(plans, dataset, "3d_fullres", About())


def test_only_known_names_are_looked_up(made: Path) -> None:
    plans = json.loads((made / "3d" / "results" / "plans.json").read_text())
    told = plans["configurations"]["3d_fullres"]
    told["architecture"]["arch_kwargs"]["nonlin"] = "os.system"
    with pytest.raises(BundleError, match=r"nonlin is 'os\.system'"):
        build_network(told, 1, 3)
    told["architecture"]["network_class_name"] = "subprocess.Popen"
    with pytest.raises(BundleError, match=r"network subprocess\.Popen"):
        build_network(told, 1, 3)


def test_weights_that_do_not_fit_the_plans_are_refused(made: Path, tmp_path: Path, capsys: Any) -> None:
    folder = tmp_path / "results"
    shutil.copytree(made / "3d" / "results", folder)
    path = folder / "fold_0" / "checkpoint_final.pth"
    state = read_checkpoint(path)
    del state["network_weights"][next(iter(state["network_weights"]))]  # type: ignore[attr-defined,call-overload]
    torch.save(state, path)
    assert main([str(folder), "--out", str(tmp_path / "bundle")]) == 4
    assert "not those of the planned network" in capsys.readouterr().err
    assert main([str(folder), "--out", str(tmp_path / "bundle"), "--folds", "4"]) == 4
    assert "fold_4" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()
