"""A CUDA device for machines without one: cuda.cu runs on the CPU, below an emulated driver."""

from __future__ import annotations

import ctypes
import itertools
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from runtime.cuda.driver import CudaDevice
from runtime.cuda.module import CudaModule
from runtime.cuda.stream import LEGACY, CudaStream
from runtime.cuda.table import CudaTable, open_table
from runtime.errors import DeviceError
from tests.cuda_emulated_driver import EmulatedDriver
from tests.source_tree import ROOT

STORED = ("int8", "uint8", "int16", "uint16", "int32", "float32")
REAL = ("float32", "float16", "bfloat16")
LABELS = ("uint8", "uint16")
ENTRIES = (
    *(f"prepare_{kind}_{a}_{b}" for kind, a, b in itertools.product(("aligned", "oblique"), STORED, REAL)),
    *(f"histogram_{kind}" for kind in STORED),
    *(
        f"{name}_{a}_{b}"
        for name, a, b in itertools.product(("argmax", "label", "label_confident"), REAL, LABELS)
    ),
    *(f"{name}_{kind}" for name, kind in itertools.product(("beaten", "guarded_argmax", "scores"), REAL)),
    *(f"gather_rows_{kind}" for kind in LABELS),
    *(
        f"components_{step}"
        for step in (
            "count",
            "sum_plane",
            "sum_planes",
            "add_planes",
            "find",
            "join",
            "measure",
            "choose",
            "clear",
        )
    ),
    *("gather_clear", "prepare_taps", "histogram_clear", "blend_add", "blend_normalise", "shared_winner"),
    *("box_clear", "box_rows"),
)
"""Every entry point of cuda.cu."""


KINDS = ["emulated", pytest.param("device", marks=pytest.mark.gpu)]
"""Parameters of a fixture that gives the table of each."""


def build_emulator(folders: pytest.TempPathFactory) -> ctypes.CDLL:
    """Compile cuda.cu for this CPU, once in a run of tests."""
    folder = folders.getbasetemp() / "emulator"
    made = folder / "emulator.so"
    if made.is_file():
        return ctypes.CDLL(str(made))
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed")
    folder.mkdir()
    (folder / "entries.h").write_text("".join(f"EMULATED({name})\n" for name in ENTRIES))
    subprocess.run(
        [compiler, "-std=c++17", "-O1", "-ffp-contract=off", "-fPIC", "-pthread", "-shared",
         f"-I{ROOT / 'kernels'}", f"-I{folder}", str(ROOT / "tests" / "cuda_emulator.cpp"), "-o", str(made)],
        check=True,
    )  # fmt: skip
    return ctypes.CDLL(str(made))


def bare_driver(monkeypatch: pytest.MonkeyPatch) -> EmulatedDriver:
    """A driver that is there, with one device, on which no kernel can run."""
    from runtime.cuda import driver as module

    made = EmulatedDriver()
    monkeypatch.setattr(module, "_driver", lambda: made)
    return made


def emulated_table(driver: EmulatedDriver, monkeypatch: pytest.MonkeyPatch) -> CudaTable:
    """A table over an emulated device."""
    from runtime.cuda import driver as module

    monkeypatch.setattr(module, "_driver", lambda: driver)
    device = module.CudaDevice()
    return CudaTable(CudaModule(device, b"code"), CudaStream(device, LEGACY))


def real_table() -> CudaTable:
    """The first CUDA device's."""
    try:
        device = CudaDevice()
    except DeviceError as error:
        pytest.skip(f"no CUDA device: {error}")
    return open_table(device.ordinal)  # whatever fails from here on is a failure


def table_under_test(kind: str, folders: pytest.TempPathFactory) -> Iterator[CudaTable]:
    """The body of a fixture over `KINDS`; what is emulated is checked at the end."""
    if kind == "device":
        yield real_table()
        return
    driver = EmulatedDriver(build_emulator(folders))
    with pytest.MonkeyPatch.context() as patch:
        yield emulated_table(driver, patch)
    driver.cuCtxSynchronize()
    driver.check_guards()
    assert driver.depth == 0
