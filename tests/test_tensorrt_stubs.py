"""What we call exists in TensorRT 10.3, 10.16 and 11.4 alike, by mypy; and mypy would see if it did not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.source_tree import ROOT

pytestmark = pytest.mark.slow

VERSIONS = ("10.3", "10.16", "11.4")
PACKAGE = Path("runtime/engines/tensorrt")
SETTINGS = """[mypy]
strict = True
follow_imports = silent
[mypy-tensorrt.*]
ignore_errors = True
"""
PLANTED = {
    "weak": "    config.set_flag(trt.BuilderFlag.FP16)",
    "batch": "    builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))",
    "fast": "    print(builder.platform_has_fast_fp16)",
    "calibrator": "    print(trt.IInt8EntropyCalibrator2)",
    "build": "    builder.build_engine(network, config)",
}
"""Calls that 10.3 still has and 11.4 has not; the last has neither."""


STUBS = ROOT / "build" / "tensorrt_stubs"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (STUBS / VERSIONS[-1] / "tensorrt" / "__init__.pyi").is_file():
        pytest.skip("make check makes the stubs: .ci/tensorrt_stubs build/tensorrt_stubs")
    file = tmp_path_factory.mktemp("stubs") / "mypy.ini"
    file.write_text(SETTINGS)
    return file


def complaints(settings: Path, version: str, tree: Path) -> list[str]:
    """What mypy says about the package in a tree, with the stubs of one version."""
    pytest.importorskip("mypy")
    path = os.pathsep.join(map(str, (STUBS / version, tree)))
    options = ("--config-file", settings, "--cache-dir", settings.parent / version)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, *sorted((tree / PACKAGE).glob("*.py"))],
        capture_output=True, text=True, check=False, cwd=tree,
        env={**os.environ, "MYPYPATH": path, "PYTHONPATH": ""},
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert "source files" in done.stdout
    return re.findall(rf"^{PACKAGE}.*error: .*$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("version", VERSIONS)
def test_calls_exist_in_every_version(settings: Path, version: str) -> None:
    stub = (STUBS / version / "tensorrt" / "__init__.pyi").read_text(encoding="utf-8")
    assert "class IBuilderConfig" in stub
    assert ("    FP16: " in stub) == (version != "11.4")  # they are stubs of different versions
    assert complaints(settings, version, ROOT) == []


def test_calls_that_a_version_lacks_are_found(settings: Path, tmp_path: Path) -> None:
    # The packages on the way are copied without the rest of `runtime`, which mypy need not see twice.
    tree = tmp_path / "tree"
    names = [PACKAGE / path.name for path in (ROOT / PACKAGE).glob("*.py")]
    above = ("runtime/engines/engine.py", "runtime/errors.py", "runtime/engines/__init__.py")
    for name in (*names, *map(Path, above), Path("runtime/__init__.py")):
        target = tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        text = (ROOT / name).read_text(encoding="utf-8")
        target.write_text("" if name.parent == Path("runtime") and name.stem == "__init__" else text)
    file = tree / PACKAGE / "build.py"
    whole = file.read_text(encoding="utf-8")
    anchor = "    plan = builder.build_serialized_network(network, config)\n"
    assert anchor in whole
    file.write_text(whole.replace(anchor, "\n".join([*PLANTED.values(), anchor])))
    for name in names:  # the others import what is not here
        if name.name not in ("__init__.py", "build.py", "options.py"):
            (tree / name).unlink()
    missing = ("FP16", "EXPLICIT_BATCH", "platform_has_fast_fp16", "IInt8EntropyCalibrator2", "build_engine")
    found = "\n".join(complaints(settings, "11.4", tree))
    assert [name for name in missing if f'"{name}"' not in found] == []
    found = "\n".join(complaints(settings, "10.3", tree))
    assert [name for name in missing if f'"{name}"' in found] == ["build_engine"]
