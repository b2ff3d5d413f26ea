"""The kernel build: targets can be listed and forced, and share no inline symbol."""

import shutil
import subprocess
from pathlib import Path

import pytest

from runtime import _kernels
from runtime.errors import DeviceError, UsageError
from runtime.kernels import kernel_names, open_kernels

ROOT = Path(__file__).parents[1]


def test_every_listed_target_can_be_forced():
    assert kernel_names()[0] == "cpu"
    assert "cpu_baseline" in kernel_names()
    for name in kernel_names()[1:]:
        assert open_kernels(name).name == name
    assert open_kernels("cpu").name == kernel_names()[1]


def test_open_kernels_names_what_exists():
    with pytest.raises(DeviceError, match=r"cpu_avx9.*cpu_baseline"):
        open_kernels("cpu_avx9")
    with pytest.raises(ValueError, match="no kernels called"):
        _kernels.table("cpu_avx9")


@pytest.mark.parametrize("threads", [-1, 257])
def test_open_kernels_refuses_absurd_thread_counts(threads):
    with pytest.raises(UsageError, match="threads"):
        open_kernels(threads=threads)
    assert open_kernels(threads=3).threads == 3
    assert open_kernels().threads >= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [[], ["-mavx2", "-mf16c"], ["-mavx2", "-mf16c", *map("-mavx512{}".format, ("f", "bw", "dq", "vl"))]],
)
def test_targets_share_no_inline_symbol(flags, tmp_path):
    compiler, lister = shutil.which("g++"), shutil.which("nm")
    if compiler is None or lister is None:
        pytest.skip("g++ or nm is not installed")
    made = tmp_path / "cpu.o"
    subprocess.run(
        [compiler, "-std=c++17", "-O1", "-fPIC", *flags, f"-I{ROOT / 'kernels'}", "-DZEUS_TARGET=cpu_tested",
         "-c", str(ROOT / "kernels" / "cpu.cpp"), "-o", str(made)],
        check=True,
    )  # fmt: skip
    listed = subprocess.run(
        [lister, "-C", "--defined-only", made], check=True, capture_output=True, text=True
    )
    shared = [line for line in listed.stdout.splitlines() if line.split()[1] not in "tdrbn"]
    assert [line.split(maxsplit=2)[2] for line in shared] == ["zeus::cpu_tested"]
