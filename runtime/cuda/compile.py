"""Turn the CUDA sources into machine code for one architecture with NVRTC, which needs no device."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.cuda.sources import MAIN
from runtime.errors import DeviceError
from runtime.user_cache import UserCache

__all__ = ["CUBINS", "INSTALL", "OPTIONS", "Cubin", "cached_cubin", "compile_cubin", "compiler_version"]

OPTIONS = ("--std=c++17", "--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true")
"""The bits of the CPU's arithmetic: nothing fused, no subnormal flushed, quotients rounded right."""

INSTALL = 'install it with pip install "zeus-edge[cuda]", or use the CPU'
"""What helps where a package is missing."""

CUBINS = UserCache("cuda", ".cubin", largest_bytes=1 << 26)
"""Compiled kernels."""

_LONGEST_LOG = 4000


@dataclass(frozen=True)
class Cubin:
    """Machine code of every entry point.

    Attributes:
        code: For one architecture.
        log: What the compiler said; empty when it had nothing to say.
    """

    code: bytes
    log: str


def _nvrtc() -> Any:
    """The module of NVRTC's calls.

    Raises:
        DeviceError: The package or the library is not there.
    """
    try:
        from cuda.bindings import nvrtc
    except ImportError as error:
        raise DeviceError(f"the CUDA kernels need the package cuda-bindings; {INSTALL}") from error
    try:
        nvrtc.nvrtcVersion()
    except RuntimeError as error:  # the library is looked for at the first call
        raise DeviceError(f"the CUDA kernels need the compiler NVRTC; {INSTALL}") from error
    return nvrtc


def compiler_version() -> tuple[int, int]:
    """Major and minor version of NVRTC.

    Raises:
        DeviceError: NVRTC is not installed.
    """
    _, major, minor = _nvrtc().nvrtcVersion()
    return int(major), int(minor)


def compile_cubin(architecture: str, sources: Mapping[str, str], options: Sequence[str] = OPTIONS) -> Cubin:
    """Compile every entry point.

    Args:
        architecture: For example "sm_90".
        sources: `kernel_sources()`.
        options: Of NVRTC; others than `OPTIONS` change the bits of results.

    Raises:
        DeviceError: NVRTC is not installed, does not know the architecture or refuses the sources.
    """
    nvrtc = _nvrtc()
    known = [f"sm_{number}" for number in nvrtc.nvrtcGetSupportedArchs()[1]]
    if architecture not in known:
        version = ".".join(map(str, compiler_version()))
        raise DeviceError(
            f"NVRTC {version} does not know {architecture}, only {', '.join(known)}; "
            "install an nvidia-cuda-nvrtc for this device, or use the CPU"
        )
    headers = {name: text for name, text in sources.items() if name != MAIN}
    _, program = nvrtc.nvrtcCreateProgram(
        sources[MAIN].encode(), MAIN.encode(), len(headers),
        [text.encode() for text in headers.values()], [name.encode() for name in headers],
    )  # fmt: skip
    try:
        given = [text.encode() for text in (f"--gpu-architecture={architecture}", *options)]
        (status,) = nvrtc.nvrtcCompileProgram(program, len(given), given)
        log = _output(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program)
        shown = log.decode(errors="replace").strip("\0 \n")
        if int(status) != 0:
            raise DeviceError(
                f"the CUDA kernels do not compile for {architecture} ({status.name}); "
                f"install another nvidia-cuda-nvrtc, or use the CPU. The log:\n{shown[:_LONGEST_LOG]}"
            )
        return Cubin(_output(nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN, program), shown)
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _output(size_of: Any, fetch: Any, program: Any) -> bytes:
    """One result of a program: NVRTC says how long it is and fills memory of that size."""
    _, size = size_of(program)
    memory = bytearray(size)
    fetch(program, memory)
    return bytes(memory)


def cached_cubin(architecture: str, driver: int, sources: Mapping[str, str]) -> tuple[bytes, str]:
    """Machine code from the user's cache, or compiled now and put there.

    Args:
        architecture: For example "sm_90".
        driver: Version of the CUDA driver; another driver gets code of its own.
        sources: `kernel_sources()`.

    Returns:
        The machine code, and where it came from, in words.

    Raises:
        DeviceError: See `compile_cubin`.
    """
    made_from = [architecture, driver, compiler_version(), OPTIONS, sorted(sources.items())]
    name = f"{architecture}-{hashlib.sha256(json.dumps(made_from).encode()).hexdigest()}"
    code = CUBINS.load(name)
    if code is not None:
        return code, "read from the cache"
    code = compile_cubin(architecture, sources).code
    try:
        CUBINS.save(name, code)
    except OSError as error:
        return code, f"compiled, and not kept because the cache cannot be written ({error})"
    return code, "compiled"
