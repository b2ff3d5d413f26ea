"""What runs a study: the reference, what a passport allows, or, asked for so, what nobody compared."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest

from runtime import BundleError, DeviceError, Session
from runtime.bundle import Bundle, open_bundle
from runtime.engines.kinds import EngineKind, OnnxRuntimeCpu
from runtime.qualify.issue import Wanted, qualify
from runtime.trust.device_facts import _driver_version, _instruction_sets, device_facts, differences
from runtime.trust.document import CudaFacts, decode_document
from runtime.trust.running import choose_running
from runtime.trust.signing import Signer
from runtime.trust.validity import passport_path
from runtime.user_data import write_own
from tests.command import Run
from tests.passport_kinds import FACTS, RIGHT, Accelerator, facts
from tests.seg_phantom import validator_errors
from tests.tiny_bundle import make_bundle
from tests.tiny_promptable import make_promptable

pytestmark = pytest.mark.usefixtures("own_folders")

WRONG: tuple[EngineKind, ...] = (Accelerator(change=lambda made: np.roll(made, 1, axis=2)), OnnxRuntimeCpu())


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put other engines in the place of the product's, on a device with a GPU."""

    def put(kinds: tuple[EngineKind, ...]) -> None:
        for module in ("trust.running", "qualify.issue", "qualify.first"):
            monkeypatch.setattr(f"runtime.{module}.KINDS", kinds)
        monkeypatch.setattr("runtime.trust.device_facts._cuda", lambda: FACTS.cuda)

    return put


def report_of(folder: Path) -> dict[str, Any]:
    made: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return made


def test_infer_on_a_named_device_qualifies_it_once(
    run: Run, axial: Path, tmp_path: Path, engines: Any
) -> None:
    engines(RIGHT)
    code, _, told = run(axial, "--device", "cuda", "--threads", 1)
    assert code == 0
    assert told.startswith("qualifying: cuda has no valid passport for tiny-head here")
    report = report_of(tmp_path / "out" / "result")
    (path,) = (tmp_path / "data" / "zeus-edge" / "passports").iterdir()
    assert (report["engine"]["name"], report["engine"]["standing"]) == ("accelerator", "qualified")
    seg = pydicom.dcmread(tmp_path / "out" / "result" / "labels.seg.dcm")
    (algorithm,) = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence
    assert f"passport_sha256={report['engine']['passport_sha256']}" in algorithm.AlgorithmParameters
    assert "engine=accelerator 1." in algorithm.AlgorithmParameters
    assert "UNQUALIFIED" not in seg.ContentDescription + seg.SeriesDescription
    before = path.read_bytes()
    code, _, told = run(axial, "--device", "cuda", "--threads", 1, "--force")
    assert (code, told) == (0, "")
    assert path.read_bytes() == before


def test_infer_on_a_device_that_fails_ends_with_5_and_does_not_try_again(
    run: Run, axial: Path, tmp_path: Path, engines: Any
) -> None:
    engines(WRONG)
    code, _, told = run(axial, "--device", "cuda", "--threads", 1)
    assert code == 5
    assert "error: no engine on cuda is qualified for tiny-head here (it failed: scores of the tile" in told
    code, _, told = run(axial, "--device", "cuda", "--threads", 1)
    assert code == 5
    assert "qualifying" not in told
    assert not (tmp_path / "out" / "result").exists()
    assert run(axial, "--threads", 1)[0] == 0  # auto takes the reference
    assert report_of(tmp_path / "out" / "result")["engine"]["standing"] == "reference"


def test_infer_unqualified_is_marked_everywhere(run: Run, axial: Path, tmp_path: Path, engines: Any) -> None:
    engines(RIGHT)
    folder = tmp_path / "out" / "result"
    assert run(axial, "--device", "cpu", "--threads", 1)[0] == 0
    plain = pydicom.dcmread(folder / "labels.seg.dcm")
    picture = (folder / "preview.png").read_bytes()
    code, shown, told = run(axial, "--device", "cuda", "--unqualified", "--threads", 1, "--force")
    assert (code, told) == (0, "")
    assert "warning: the engine accelerator (fp32) is UNQUALIFIED here" in shown
    report = report_of(folder)
    assert report["engine"]["standing"] == "unqualified"
    assert "UNQUALIFIED" in report["warnings"][0]
    seg = pydicom.dcmread(folder / "labels.seg.dcm")
    assert "UNQUALIFIED" in seg.ContentDescription
    assert "UNQUALIFIED" in seg.SeriesDescription
    (algorithm,) = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence
    assert "qualification=UNQUALIFIED" in algorithm.AlgorithmParameters
    assert seg.SeriesInstanceUID != plain.SeriesInstanceUID
    assert "UNQUALIFIED" in str(nibabel.load(folder / "labels.nii.gz").header["descrip"])
    assert (folder / "preview.png").read_bytes() != picture
    assert (
        "passport"
        not in plain.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmParameters
    )


@pytest.mark.parametrize("option", [[], ["--unqualified"]])
def test_seg_of_another_engine_is_valid(
    run: Run, axial: Path, tmp_path: Path, engines: Any, option: list[str]
) -> None:
    engines(RIGHT)
    assert run(axial, "--device", "cuda", "--format", "seg", "--threads", 1, *option)[0] == 0
    assert validator_errors(tmp_path / "out" / "result" / "labels.seg.dcm") == []


def test_session_auto_falls_back_with_one_warning(bundle: Path, axial: Path, engines: Any) -> None:
    engines(RIGHT)
    with Session(bundle, threads=1) as session:
        report = session.segment(axial).report
    (warning,) = [text for text in report.warnings if "reference" in text]
    assert f"run python -m runtime.passport {bundle}" in warning
    assert (report.engine["name"], report.engine["standing"]) == ("onnxruntime-cpu", "reference")
    with (
        Session(bundle, "cuda", 1) as session,
        pytest.raises(DeviceError, match=r"run python -m runtime\.passport"),
    ):
        session.segment(axial)


def test_auto_takes_the_fastest_that_is_qualified(bundle: Path, engines: Any) -> None:
    tiny = open_bundle(bundle)
    wanted = Wanted(("fp32", "fp16"), threads=1, facts=facts())
    issued = qualify(tiny, wanted, RIGHT)

    def chosen(**seconds: float) -> tuple[str, str]:
        document = decode_document(issued.path.read_bytes())
        del document["signature"]
        for entry in document["entries"]:
            entry["latency_seconds"] = seconds[f"{entry['engine'][:3]}_{entry['precision']}"]
        write_own(issued.path, json.dumps(Signer().sign(document)).encode())
        running = choose_running(tiny, "auto", kinds=RIGHT, facts=facts())
        assert running.kind is not None
        assert running.warnings == ()
        return running.kind.name, running.networks["encoder"].precision

    times = {"onn_fp32": 4.0, "onn_fp16": 3.0, "acc_fp32": 2.0, "acc_fp16": 1.0}
    assert chosen(**times) == ("accelerator", "fp16")
    assert chosen(**times | {"acc_fp16": 9.0}) == ("accelerator", "fp32")
    assert chosen(**times | {"acc_fp16": 9.0, "acc_fp32": 9.0}) == ("onnxruntime-cpu", "fp16")
    assert chosen(**times | {"onn_fp32": 0.5}) == ("onnxruntime-cpu", "fp32")


def test_qualified_half_precision_gives_the_masks_that_were_compared(
    bundle: Path, axial: Path, engines: Any
) -> None:
    engines(RIGHT)
    qualify(bundle, Wanted(("fp16",), studies=((str(axial),),), threads=1))
    with Session(bundle, "cuda", 1) as half, Session(bundle, "cpu", 1) as plain:
        found, wanted = half.segment(axial), plain.segment(axial)
    assert (found.report.engine["precision"], found.report.engine["standing"]) == ("fp16", "qualified")
    assert (found.labels.voxels == wanted.labels.voxels).mean() > 0.999


def test_passport_covers_the_decoder_of_a_bundle_with_instructions(tmp_path: Path, engines: Any) -> None:
    engines(RIGHT)
    promptable = make_promptable(tmp_path / "b")
    issued = qualify(promptable, Wanted(("fp32", "fp16"), threads=1))
    entries = {(entry.engine, entry.precision): entry for entry in issued.passport.entries}
    assert entries["accelerator", "fp32"].verdict == "passed"
    assert [item.role for item in entries["accelerator", "fp16"].files] == ["encoder", "decoder"]
    assert entries["accelerator", "fp16"].verdict == "passed"


def test_infer_without_a_passport_loads_no_cryptography(bundle: Path, axial: Path, tmp_path: Path) -> None:
    given = [str(axial), "--bundle", str(bundle), "--out", str(tmp_path / "o"), "--quiet"]
    given += ["--format", "json", "--threads", "1"]
    program = f"import sys\nfrom runtime.infer import main\nassert main({given!r}) == 0\n"
    program += "print('cryptography' in sys.modules, 'runtime.qualify' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_passport_without_cryptography_is_no_passport(
    bundle: Path, engines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines(RIGHT)
    tiny: Bundle = open_bundle(bundle)
    qualify(tiny, Wanted(threads=1))
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric", None)
    running = choose_running(tiny, "auto")
    assert running.standing == "reference"
    assert 'pip install "zeus-edge[passport]"' in running.warnings[0]
    with pytest.raises(DeviceError, match="need the package cryptography"):
        qualify(tiny, Wanted(threads=1))


def test_a_reference_that_is_not_the_bundles_is_refused(tmp_path: Path) -> None:
    def lie(document: dict[str, Any]) -> None:
        document["golden"]["features"] = "golden_other.npy"
        document["files"] = [item for item in document["files"] if item["path"] != "golden_features.npy"]

    other = io.BytesIO()
    np.save(other, np.full((1, 4, 8, 8, 8), 0.5, np.float16))
    folder = make_bundle(tmp_path / "b", change=lie, more={"golden_other.npy": other.getvalue()})
    with pytest.raises(BundleError, match="differs from what the bundle says of its golden tile"):
        qualify(folder, Wanted(threads=1))


def test_device_facts_name_what_masks_may_depend_on() -> None:
    now = device_facts(with_cuda=False)
    assert now.processor
    assert now.cores >= 1
    assert now.instruction_sets
    assert differences(now, now) == ""
    assert differences(replace(now, cores=99, power_mode="other"), now) == ""
    assert "instruction sets" in differences(replace(now, instruction_sets=()), now)
    for changed in (CudaFacts("A", "8.7", "1"), CudaFacts("B", "9.0", "1"), CudaFacts("B", "8.7", "2")):
        assert differences(replace(now, cuda=changed), replace(now, cuda=CudaFacts("B", "8.7", "1")))
    assert "'none'" in differences(now, replace(now, cuda=CudaFacts("B", "8.7", "1")))


def test_device_facts_are_read_from_the_systems_own_words() -> None:
    assert _instruction_sets("processor : 0\nflags\t\t: fpu sse4_2 avx2 fma vmx\n") == (
        "avx2",
        "fma",
        "sse4_2",
    )
    assert _instruction_sets("Features\t: fp asimd asimdhp sve2 crc32\n") == ("asimd", "asimdhp", "sve2")
    kernel = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27\nGCC version: 12\n"
    assert _driver_version(kernel, "") == "580.65.06"
    assert _driver_version("", "# R36 (release), REVISION: 4.3\n") == "# R36 (release), REVISION: 4.3"
    assert _driver_version("", "") == ""


def test_device_facts_hold_a_jetsons_power_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvpmodel"
    tool.write_text("#!/bin/sh\necho 'NV Power Mode: MAXN_SUPER'\necho 2\n")
    tool.chmod(0o755)
    monkeypatch.setattr("runtime.trust.device_facts._NVPMODEL", tool)
    assert device_facts(with_cuda=False).power_mode == "nvpmodel MAXN_SUPER"


def test_passport_lies_in_the_users_data_by_the_bundles_hash(bundle: Path, tmp_path: Path) -> None:
    tiny = open_bundle(bundle)
    name = f"{tiny.identity.bundle_sha256}.json"
    assert passport_path(tiny) == tmp_path / "data" / "zeus-edge" / "passports" / name


@pytest.mark.gpu
def test_passport_of_a_cuda_device(tmp_path: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("no CUDA device")
    issued = qualify(None, Wanted(("fp32", "fp16"), engines=("onnxruntime-cuda",)))
    tried = {entry.precision: entry.verdict for entry in issued.passport.entries[1:]}
    assert tried["fp16"] == "passed"
    assert issued.passport.device.cuda is not None
