"""What leaves the house: the files of a built wheel, one by one."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from runtime.cuda.sources import kernel_sources
from runtime.version import __version__
from tests.source_tree import ROOT, project_files, relative

INFO = f"zeus_edge-{__version__}.dist-info"
PACKAGES = ("runtime", "training", "export")
SHIPPED = (
    *("bank.npy", "bundle.json", "decoder.onnx", "encoder.onnx", "golden_features.npy", "golden_image.npy"),
    *("golden_FLAIR.nii.gz", "golden_T1.nii.gz"),
    *("text.onnx", "tokenizer.json"),
)
BESIDE_PYTHON = {
    "runtime/_kernels.pyi",
    "runtime/_kernels.so",
    *(f"runtime/bundles/zeus-nano-head/{name}" for name in SHIPPED),
    "runtime/language/instruct.txt",
    "runtime/language/look.txt",
    "runtime/py.typed",
    *(f"runtime/cuda/sources/{name}" for name in kernel_sources()),
    *(relative(path) for path in (ROOT / "training" / "configs").glob("*.json")),
    *(relative(path) for path in (ROOT / "training" / "instructions").rglob("*.txt")),
    *(f"{INFO}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")),
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built as a release is, with compiler warnings made errors."""
    for module in ("cmake", "nanobind", "ninja", "scikit_build_core"):
        pytest.importorskip(module)
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    settings = [f"build-dir={folder / 'build'}", "cmake.define.ZEUS_DEVELOPER=ON"]
    options = [f"--config-settings={setting}" for setting in settings]
    done = subprocess.run(
        [*command, *options, "--wheel-dir", folder, ROOT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_wheel_holds_exactly_these_files(wheel: Path) -> None:
    python = {relative(path) for path in project_files() if path.suffix == ".py"}
    python = {name for name in python if name.partition("/")[0] in PACKAGES}
    found = zipfile.ZipFile(wheel).namelist()
    # The kernels' file carries the name of the interpreter or of the stable ABI.
    plain = [re.sub(r"^(runtime/_kernels)\..*\.so$", r"\1.so", entry) for entry in found]
    assert sorted(plain) == sorted(python | BESIDE_PYTHON)


@pytest.mark.slow
def test_wheel_runs_from_elsewhere(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import runtime._kernels, runtime.bundle, runtime.cuda.sources, runtime.kernels\n"
        "print(runtime._kernels.__file__, runtime.kernels.open_kernels().name)\n"
        "print(runtime.bundle.open_bundle().identity.name)\n"
        "print(*runtime.cuda.sources.kernel_sources())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    kernels, name, sources = done.stdout.splitlines()
    assert sources.split() == list(kernel_sources())
    assert kernels.startswith(str(tmp_path))
    assert "cpu_" in kernels
    assert name == "zeus-nano-head"
