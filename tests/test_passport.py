"""A passport says what was compared, and holds only for what it was made for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from runtime.bundle import Bundle, open_bundle
from runtime.engines.kinds import EngineKind, OnnxRuntimeCpu
from runtime.errors import DeviceError
from runtime.formats.study_input import read_study
from runtime.passport import main
from runtime.qualify.issue import Wanted, qualify
from runtime.qualify.search import few_that_pass
from runtime.trust.document import Passport, decode_document
from runtime.trust.network_files import made_networks
from runtime.trust.running import choose_running
from runtime.trust.signing import Signer
from runtime.trust.validity import Status, passport_path, status
from runtime.user_data import write_own
from tests.passport_kinds import RIGHT, Accelerator, facts, overflowing_encoder
from tests.tiny_bundle import make_bundle

pytestmark = pytest.mark.usefixtures("own_folders")

FP16 = Wanted(("fp32", "fp16"), threads=1, facts=facts())
FP32 = replace(FP16, precisions=("fp32",))


def standing(tiny: Bundle, kinds: tuple[EngineKind, ...] = RIGHT, driver: str = "580.65.06") -> Status:
    return status(tiny, kinds, facts=facts(driver))


def verdicts(passport: Passport) -> dict[tuple[str, str], str]:
    return {(entry.engine, entry.precision): entry.verdict for entry in passport.entries}


def resigned(path: Path, change: Any) -> None:
    """Change a passport and sign it again with the device's own key."""
    document = decode_document(path.read_bytes())
    del document["signature"]
    change(document)
    write_own(path, json.dumps(Signer().sign(document)).encode())


def test_passport_compares_every_engine_and_precision_with_the_reference(tiny: Bundle) -> None:
    issued = qualify(tiny, FP16, RIGHT)
    assert verdicts(issued.passport) == {
        ("onnxruntime-cpu", "fp32"): "reference",
        ("accelerator", "fp32"): "passed",
        ("accelerator", "fp16"): "passed",
        ("onnxruntime-cpu", "fp16"): "passed",
    }
    half = issued.passport.entries[2]
    (case,) = half.cases
    assert case.error is not None
    assert case.error < 0.01
    assert [item.structure for item in case.structures] == ["shell", "core", "lesion"]
    assert all(item.dice >= 0.995 and item.hd95_mm == 0 for item in case.structures)
    assert half.latency_seconds > 0
    assert half.peak_bytes > 1 << 20
    assert standing(tiny).problem == ""
    assert "accelerator fp16" in standing(tiny).line()


def test_passport_fails_an_engine_whose_masks_differ(tiny: Bundle) -> None:
    wrong = Accelerator(change=lambda features: np.roll(features, 1, axis=2))
    issued = qualify(tiny, FP32, (wrong,))
    entry = issued.passport.entries[1]
    assert entry.verdict == "failed"
    assert "differ by" in entry.reason
    with pytest.raises(DeviceError, match=r"no engine on cuda is qualified .*it failed: scores of the tile"):
        choose_running(tiny, "cuda", kinds=(wrong,), facts=facts())


def test_passport_fails_an_engine_that_gives_no_numbers(tiny: Bundle) -> None:
    wrong = Accelerator(change=lambda features: features * np.float32(np.nan))
    issued = qualify(tiny, Wanted(threads=1, facts=facts()), (wrong,))
    assert issued.passport.entries[1].verdict == "failed"
    assert "not finite" in issued.passport.entries[1].reason


def test_passport_of_a_study_compares_masks_and_keeps_nothing_of_it(
    tiny: Bundle, axial: Path, tmp_path: Path
) -> None:
    wanted = replace(FP16, studies=((str(axial),),), precisions=("fp16",))
    issued = qualify(tiny, wanted, RIGHT[:1])
    tile, study = issued.passport.entries[1].cases
    assert (tile.case, study.case) == ("tile", "study 1")
    assert {item.structure: item.dice >= 0.995 for item in study.structures} == {"shell": True, "core": True}
    text = issued.path.read_text()
    assert not any(word in text for word in (axial.name, str(tmp_path), "ph1", "1.2.826"))


def test_passport_goes_by_the_study_of_a_bundle_that_brings_one(tmp_path: Path, axial: Path) -> None:
    (series,) = read_study([str(axial)]).series
    scan = nibabel.Nifti1Image(series.volume.voxels, series.volume.grid.affine).to_bytes()
    folder = make_bundle(
        tmp_path / "own",
        change=lambda document: document["golden"].update(study={"T1": "golden_T1.nii"}),
        more={"golden_T1.nii": scan},
    )
    issued = qualify(folder, replace(FP16, precisions=("fp16",)), RIGHT[:1])
    tile, study = issued.passport.entries[1].cases
    assert (tile.case, tile.structures, study.case) == ("tile", (), "study 1")
    assert tile.relative_error is not None
    assert {item.structure for item in study.structures} == {"shell", "core"}
    wrong = Accelerator(change=lambda features: np.roll(features, 3, axis=2))
    failed = qualify(folder, replace(FP16, precisions=("fp16",)), (wrong,)).passport.entries[1]
    assert failed.verdict == "failed"
    assert "of study 1 has Dice" in failed.reason


def test_passport_that_was_changed_is_refused(tiny: Bundle) -> None:
    issued = qualify(tiny, FP32, RIGHT)
    whole = issued.path.read_text()
    issued.path.write_text(whole.replace('"passed"', '"passed" ', 1))  # the same JSON is the same passport
    assert standing(tiny).problem == ""
    for changed in (whole.replace('"Test GPU"', '"Test GPV"'), whole[:-20], "{}", "[]", "[" * 10000):
        issued.path.write_text(changed)
        found = standing(tiny)
        assert "refused" in found.problem
        assert found.qualified == ()
        warning = choose_running(tiny, "auto", kinds=RIGHT, facts=facts()).warnings[0]
        assert "python -m runtime.passport" in warning


def test_passport_writable_by_others_is_refused(tiny: Bundle) -> None:
    issued = qualify(tiny, FP32, RIGHT)
    issued.path.chmod(0o666)
    assert "others can write it" in standing(tiny).problem


def test_passport_holds_for_its_own_bundle_alone(tiny: Bundle, tmp_path: Path) -> None:
    issued = qualify(tiny, FP32, RIGHT)
    other = open_bundle(make_bundle(tmp_path / "b", change=lambda document: document.update(version="0.0.2")))
    assert standing(other).problem == "there is no passport"
    assert "another bundle" in status(other, RIGHT, issued.path, facts()).problem


@pytest.mark.parametrize(
    ("kinds", "driver", "says"),
    [
        (RIGHT, "590.1.2", "expired: the driver is '590.1.2', it was '580.65.06'"),
        ((Accelerator(number="1.1"),), "580.65.06", "its library is of version 1.1, it was 1.0"),
        ((Accelerator(why="it was unplugged"),), "580.65.06", "it was unplugged"),
        ((OnnxRuntimeCpu(),), "580.65.06", "there is no such engine"),
    ],
)
def test_passport_expires(tiny: Bundle, kinds: tuple[EngineKind, ...], driver: str, says: str) -> None:
    qualify(tiny, FP32, RIGHT)
    found = standing(tiny, kinds, driver)
    assert says in found.line()
    assert "accelerator" not in [entry.engine for entry in found.qualified]


def test_passport_of_another_version_or_processor_expires(tiny: Bundle) -> None:
    issued = qualify(tiny, FP32, RIGHT)
    resigned(issued.path, lambda document: document.update(product_version="0.0.9"))
    assert "issued by version 0.0.9" in standing(tiny).problem
    resigned(issued.path, lambda document: document.update(schema="zeus-edge-passport/9"))
    assert "schema 'zeus-edge-passport/9'" in standing(tiny).problem
    qualify(tiny, FP32, RIGHT)
    resigned(issued.path, lambda document: document["device"].update(processor="another"))
    assert "the processor is 'Test CPU', it was 'another'" in standing(tiny).problem


def test_passport_refuses_a_network_that_was_exchanged(tiny: Bundle) -> None:
    issued = qualify(tiny, replace(FP16, precisions=("fp16",)), RIGHT)
    (network,) = made_networks().glob("*.onnx")
    assert choose_running(tiny, "cuda", kinds=RIGHT, facts=facts()).networks["encoder"].path == network
    network.write_bytes(network.read_bytes() + b"\0")
    assert "is not the one that was qualified" in standing(tiny).line()
    assert standing(tiny).qualified == ()
    network.unlink()
    assert "cannot be read" in standing(tiny).line()
    resigned(issued.path, lambda made: made["entries"][1]["files"][0].update(name="../../elsewhere.onnx"))
    assert "is not the one that was qualified" in standing(tiny).line()


@pytest.mark.slow
def test_passport_mends_half_precision_by_keeping_few_nodes(tmp_path: Path) -> None:
    def forgive(document: dict[str, Any]) -> None:
        document["golden"]["tolerance"] = 1e3  # the golden features are those of another encoder

    broken = open_bundle(make_bundle(tmp_path / "b", overflowing_encoder(), forgive))
    kinds = (Accelerator(literal=True),)
    issued = qualify(broken, replace(FP16, precisions=("fp16",)), kinds)
    entry = issued.passport.entries[1]
    assert entry.tries[0].passed is False
    assert entry.tries[0].kept == 0
    assert entry.verdict == "passed"
    assert "squares" in entry.kept_nodes
    assert len(entry.kept_nodes) <= 2
    assert len(entry.tries) <= 17
    kept = {item.name for item in made_networks().glob("*.onnx")}
    assert len(kept) == 2  # the one without kept nodes, and the one that passed
    unmended = qualify(broken, replace(FP16, precisions=("fp16",), most_tries=0), kinds)
    assert unmended.passport.entries[1].verdict == "failed"


def test_search_finds_few_nodes() -> None:
    names = [f"n{number}" for number in range(40)]
    tried: list[tuple[str, ...]] = []

    def needs(*wanted: str) -> Any:
        def passes(kept: tuple[str, ...]) -> bool:
            tried.append(kept)
            return set(wanted) <= set(kept)

        return passes

    assert few_that_pass(names, needs("n17"), 16) == ("n17",)
    assert len(tried) <= 16
    assert few_that_pass(names, needs("n3", "n30"), 200) == ("n3", "n30")
    tried.clear()
    assert few_that_pass(names, needs("absent"), 5) is None
    assert len(tried) == 5
    found = few_that_pass(names, needs("n17"), 2)
    assert found is not None
    assert "n17" in found


def test_passport_without_onnx_says_what_is_missing(
    tiny: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "onnx.py").write_text("raise ModuleNotFoundError(\"No module named 'onnx'\")\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    entry = qualify(tiny, replace(FP16, precisions=("fp16",)), RIGHT).passport.entries[1]
    assert (entry.verdict, entry.files) == ("not tried", ())
    assert entry.reason.startswith("making it needs onnx (")


def test_passport_command_says_and_copies(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(bundle), "--status"]) == 5
    assert "there is no passport" in capsys.readouterr().out
    given = [str(bundle), "--precision", "fp32,fp16", "--threads", "1", "--engines", "onnxruntime-cpu"]
    assert main([*given, "--out", str(tmp_path / "copy.json")]) == 0
    shown = capsys.readouterr()
    assert "qualifying: onnxruntime-cpu, fp16" in shown.err
    assert "onnxruntime-cpu   fp16  passed" in shown.out
    assert (tmp_path / "copy.json").read_bytes() == passport_path(open_bundle(bundle)).read_bytes()
    assert main([str(bundle), "--status"]) == 0
    assert "valid; qualified: onnxruntime-cpu fp16" in capsys.readouterr().out
    assert main([*given, "--out", str(tmp_path / "copy.json")]) == 7
    assert main([str(bundle), "--precision", "fp8"]) == 2
    assert main([str(bundle), "--engines", "other"]) == 2
    assert main([str(bundle), "--key", str(tmp_path / "none.pem")]) == 5
    assert "see --key" in capsys.readouterr().err
