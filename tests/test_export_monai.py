"""A MONAI bundle as ours: MONAI's own labels on a real scan, and what is refused."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is installed for training only (make check installs it)")
pytest.importorskip("monai", reason="MONAI is in the extra others; make check installs it, beside torch")

from export.__main__ import main  # noqa: E402
from export.sources.monai_config import resolve  # noqa: E402
from export.sources.monai_transforms import (  # noqa: E402
    read_inferer,
    read_postprocessing,
    read_preprocessing,
)
from runtime import Session  # noqa: E402
from runtime.errors import BundleError  # noqa: E402
from tests.conftest import DATA  # noqa: E402
from tests.monai_bundle_maker import VARIANTS, config  # noqa: E402
from tests.source_tree import ROOT  # noqa: E402
from training.metrics import dice  # noqa: E402

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore"),  # the exporter and MONAI warn about themselves
]
SCAN = DATA / "totalseg" / "example_ct_sm.nii.gz"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundles and predictions of every variant, by MONAI."""
    if not SCAN.is_file():
        pytest.skip(f"{SCAN} is absent")
    out = tmp_path_factory.mktemp("monai")
    command = [sys.executable, "-W", "ignore", "-m", "tests.monai_bundle_maker", out, SCAN]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_bundle_gives_the_labels_of_monais_own_chain(variant: str, made: Path, tmp_path: Path) -> None:
    assert main([str(made / variant / "bundle"), "--out", str(tmp_path / "bundle")]) == 0
    with Session(tmp_path / "bundle", "cpu", 1) as session:
        session.segment([f"CT={SCAN}"]).save(tmp_path / "result", ["nifti"])
    found = np.asarray(nibabel.load(tmp_path / "result" / "labels.nii.gz").dataobj)
    expected = np.load(made / variant / "labels.npy")
    for value in (0, 1, 2):
        assert (expected == value).sum() > 1000
        assert dice(found == value, expected == value) >= 0.999


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    made = copy.deepcopy(config("windowed"))
    change(made)
    return made


def transform(at: int, **other: Any) -> Callable[[dict[str, Any]], object]:
    return lambda made: made["preprocessing"]["transforms"][at].update(other)


def after(at: int, **other: Any) -> Callable[[dict[str, Any]], object]:
    return lambda made: made["postprocessing"]["transforms"][at].update(other)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (transform(1, _target_="CropForegroundd"), "CropForeground is not supported"),
        (transform(3, mode="nearest"), "Spacing with 'mode'"),
        (transform(3, scale_extent=True), "Spacing with 'scale_extent'"),
        (transform(4, a_min="$len(x)"), "expressions are not evaluated"),
        (transform(4, a_min="@nowhere"), "refers to 'nowhere'"),
        (transform(1, _target_="ScaleIntensityd"), "second normalisation"),
        (lambda made: made["inferer"].update(_target_="SimpleInferer"), "SimpleInferer is not supported"),
        (lambda made: made["inferer"].update(roi_size=[-1, 32, 32]), "no fixed size"),
        (lambda made: made["inferer"].update(padding_mode="reflect"), "padding_mode is not supported"),
        (after(1, nearest_interp=True), "nearest_interp"),
        (
            after(1, _target_="KeepLargestConnectedComponentd"),
            "KeepLargestConnectedComponent is not supported",
        ),
        (lambda made: made["postprocessing"]["transforms"].pop(1), "only Activations, Invert, AsDiscrete"),
        (lambda made: made["postprocessing"]["transforms"].reverse(), "only Activations, Invert, AsDiscrete"),
    ],
)
def test_what_cannot_be_reproduced_is_refused(
    change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    def read(given: dict[str, Any]) -> object:
        seen = read_preprocessing(given, 1)
        return read_inferer(given, seen), read_postprocessing(given, seen)

    read(config("windowed"))
    with pytest.raises(BundleError, match=reason):
        read(changed(change))


def test_slices_are_put_first() -> None:
    given = changed(
        lambda made: made["inferer"].update(_target_="SliceInferer", roi_size=[32, 24], spatial_dim=2)
    )
    grid, recipe = read_inferer(given, read_preprocessing(given, 1))
    assert (recipe.axes, grid.spacing_mm, grid.tile_voxels) == ("SRA", (5.0, 4.0, 3.5), (1, 32, 24))


def test_references_are_followed_and_circles_refused() -> None:
    given = {"a": "@b::c", "b": {"c": ["$1 + 1j", "@a"]}, "n": [0, "$1"], "s": "@n#1", "t": "$(3, 4)"}
    assert resolve("@s", given, "s") == 1
    assert resolve("@t", given, "t") == (3, 4)
    with pytest.raises(BundleError, match="refers to itself"):
        resolve("@a", given, "a")


def test_only_monais_networks_are_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "bundle" / "configs"
    folder.mkdir(parents=True)
    described = {
        "network_data_format": {
            "inputs": {"image": {"modality": "CT", "num_channels": 1}},
            "outputs": {"pred": {"channel_def": {"0": "background", "1": "a", "2": "b"}}},
        }
    }
    (folder / "metadata.json").write_text(json.dumps(described))
    hostile = changed(lambda made: made.update(network_def={"_target_": "subprocess.Popen", "args": "true"}))
    (folder / "inference.json").write_text(json.dumps(hostile))
    assert main([str(folder.parent), "--out", str(tmp_path / "out")]) == 4
    assert "subprocess.Popen is no network" in capsys.readouterr().err
