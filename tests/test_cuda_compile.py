"""The CUDA kernels compile on a machine without a device, for every architecture, as the launches expect."""

from __future__ import annotations

import itertools
import re
import struct
from typing import Any

import numpy as np
import pytest

from runtime import _kernels
from runtime.cuda import sources as sources_module
from runtime.cuda.compile import OPTIONS, compile_cubin
from runtime.cuda.sources import MAIN, kernel_sources
from runtime.errors import DeviceError
from tests.cuda_emulator import ENTRIES, REAL, STORED
from tests.source_tree import ROOT

ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_110", "sm_120")
ORIN = "sm_87"
SPILL_BYTES = 48
"""Of a thread in local memory: NVRTC 13.5 needs none, another version may spill some registers. An array of
64 voxels has more; operator() is written over those of a row, and takes one voxel of them."""

OBLIQUE = np.array([[1.0, 0.2, 0, 0], [0, 1, 0.2, 0], [0, 0, 1, 0]])


def entries(cubin: bytes) -> set[str]:
    """Names of the kernels in machine code: an ELF file with a section .text.NAME for each."""
    assert cubin[:5] == b"\x7fELF\x02"
    (table,) = struct.unpack_from("<Q", cubin, 0x28)
    size, count, names = struct.unpack_from("<HHH", cubin, 0x3A)
    (start,) = struct.unpack_from("<Q", cubin, table + names * size + 0x18)
    found = (start + struct.unpack_from("<I", cubin, table + n * size)[0] for n in range(count))
    sections = [cubin[at : cubin.index(b"\0", at)].decode() for at in found]
    return {name.removeprefix(".text.") for name in sections if name.startswith(".text.")}


@pytest.mark.parametrize(
    "architecture", [ORIN, *(pytest.param(name, marks=pytest.mark.slow) for name in ARCHITECTURES)]
)
def test_cuda_sources_compile_without_a_warning_or_arrays_in_local_memory(architecture: str) -> None:
    made = compile_cubin(architecture, kernel_sources(), (*OPTIONS, "--ptxas-options=-v"))
    assert entries(made.code) == set(ENTRIES)
    frames = [int(size) for size in re.findall(r"(\d+) bytes stack frame", made.log)]
    assert len(frames) == len(ENTRIES)
    assert max(frames) <= SPILL_BYTES
    assert "warning" not in made.log


def array(shape: tuple[int, ...], dtype: str, device: int = 0) -> Any:
    """A capsule that says it is CUDA memory; plans read no array."""
    return _kernels.device_capsule(1 << 40, shape, dtype, device, object())


def every_launch() -> dict[str, Any]:
    """Launches of every entry point, by its name."""
    table, plans = _kernels.LaunchTable(0), []
    intensity = _kernels.Intensity(
        slope=1, intercept=0, shift=0, gain=1, clamp_low=0, clamp_high=1, outside=0
    )
    size, scratch = (5, 6, 7), (1 << 20,)
    for stored in STORED:
        for real in REAL:
            for matrix in (np.eye(3, 4), OBLIQUE):
                plans.append(
                    table.prepare(
                        array(size, stored), array(size, real), matrix, (1, 1, 1), intensity,
                        array(scratch, "uint8"), 1,
                    )
                )  # fmt: skip
        plans.append(
            table.histogram(array(size, stored), array((65536,), "uint64"), array(scratch, "uint8"), 1)
        )
    for real, label in itertools.product(REAL, ("uint8", "uint16")):
        scores, labels, values = array((3, *size), real), array(size, label), array((3,), label)
        plans.append(table.argmax(scores, labels, values, 1))
        scores, labels, values = array((3, *size), real), array(size, label), array((3,), label)
        plans.append(table.label(scores, labels, OBLIQUE, values, 0, array(scratch, "uint8"), 1))
        for columns in (8, 10):
            given = array((3, *size), real), array(size, label), OBLIQUE, array((3,), label), 0
            gathered = array((3, columns), "int64")
            plans.append(table.label(*given, array(scratch, "uint8"), 1, gathered))
        labels, values = array(size, label), array((3,), label)
        if label == "uint8":
            vectors, biases = array((3, 4), "float32"), array((3,), "float32")
            scores = table.mask_scores(array((4, *size), real), vectors, biases)
            plans.append(table.label(scores, labels, OBLIQUE, values, 0, array(scratch, "uint8"), 1))
    for real in REAL:
        box = array((6,), "int64"), array(scratch, "uint8")
        plans.append(table.candidate_box(array((3, *size), real), 1, *box, 1))
    sums = array((3, *size), "float32"), array(size, "float32")
    plans.append(
        table.blend_add(array((3, 2, 2, 2), "float32"), array((2, 2, 2), "float32"), *sums, (0, 0, 0), 1)
    )
    plans.append(table.blend_normalise(array((3, *size), "float32"), array(size, "float32"), 1))
    pieces = array(size, "uint8"), array((256,), "uint8"), 26, True, 0, 0, array((256,), "uint64")
    plans.append(table.components(*pieces, array(scratch, "uint8"), 1))
    return {launch.entry: launch for plan in plans for launch in plan.launches}


SIZE_OF = """
template <class Kernel>
__device__ constexpr unsigned size_of(void (*)(Kernel)) {
  return sizeof(Kernel);
}
"""


def test_cuda_entry_points_take_the_structs_that_launches_pack() -> None:
    launches, sources = every_launch(), kernel_sources()
    assert set(launches) == set(ENTRIES)
    sizes = {name: len(launch.arguments) for name, launch in launches.items()}
    claims = "".join(f"static_assert(size_of({name}) == {size});\n" for name, size in sizes.items())
    compile_cubin(ORIN, {**sources, MAIN: sources[MAIN] + SIZE_OF + claims})
    wrong = f"static_assert(size_of(blend_add) == {sizes['blend_add'] + 8});\n"
    with pytest.raises(DeviceError, match="do not compile for sm_87"):
        compile_cubin(ORIN, {**sources, MAIN: sources[MAIN] + SIZE_OF + wrong})


def test_cuda_launches_cover_every_voxel_within_the_limits_of_a_grid() -> None:
    table = _kernels.LaunchTable(0)
    for size in ((1, 1, 1), (3, 4, 33), (400_000, 300_000, 2), (1, 1, 1 << 29)):
        plan = table.argmax(array((2, *size), "float16"), array(size, "uint8"), array((2,), "uint8"), 1)
        (launch,) = plan.launches
        assert launch.grid[0] * launch.block[0] >= np.prod(size, dtype=np.int64)
        assert launch.grid[1:] == launch.block[1:] == [1, 1]
        scratch = array((1 << 40,), "uint8")
        cells = table.label(
            array((2, *size), "float16"), array(size, "uint8"), OBLIQUE, array((2,), "uint8"), 0, scratch, 1
        ).launches[1]
        assert np.prod(cells.block) <= 256
        for n, voxels in enumerate(reversed(size)):
            covered = cells.grid[n] * cells.block[n]
            assert covered >= voxels or cells.grid[n] == 65535  # y and z go on in strides
        assert max(cells.grid[1:]) <= 65535


def test_cuda_sources_are_those_that_cmake_installs() -> None:
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    listed = re.search(r"foreach\(source ([^)]+)\)", text)
    assert listed is not None
    assert sorted(listed[1].split()) == sorted(kernel_sources())
    assert next(iter(kernel_sources())) == MAIN


def test_cuda_sources_that_are_missing_are_named(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources_module, "_folder", lambda: tmp_path)
    with pytest.raises(DeviceError, match=r"cuda\.cu cannot be read .*install zeus-edge again"):
        kernel_sources()


def test_cuda_compiler_shows_its_log_and_names_an_unknown_architecture() -> None:
    sources = kernel_sources()
    with pytest.raises(DeviceError, match=r"(?s)do not compile for sm_87 .*cuda\.cu\(\d+\): error.*nonsense"):
        compile_cubin(ORIN, {**sources, MAIN: sources[MAIN] + "nonsense x;\n"})
    with pytest.raises(DeviceError, match=r"does not know sm_10000, only .*sm_90"):
        compile_cubin("sm_10000", sources)
