"""What identifies the device that a passport is for."""

from __future__ import annotations

import os
import platform
import re
from contextlib import suppress
from pathlib import Path

from runtime.errors import DeviceError
from runtime.report import machine
from runtime.trust.document import CudaFacts, DeviceFacts

__all__ = ["device_facts", "differences"]

_ARITHMETIC = re.compile(
    r"sse4_[12]|ssse3|avx\w*|fma|f16c|amx\w*|asimd\w*|sve\w*|bf16|i8mm|fphp|neon|vfpv4|rvv?"
)
"""CPU flags that may change how a network is computed."""
_FLAGS = ("flags", "Features", "isa")
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_DRIVER = Path("/proc/driver/nvidia/version")
_TEGRA = Path("/etc/nv_tegra_release")
_NVPMODEL, _NVPMODEL_S = Path("/usr/sbin/nvpmodel"), 5.0


def device_facts(with_cuda: bool) -> DeviceFacts:
    """The facts of this device.

    Args:
        with_cuda: Whether a CUDA device is a part of them.

    Raises:
        DeviceError: A CUDA device is to be a part of them and there is none.
    """
    return DeviceFacts(
        machine()["processor"],
        _instruction_sets(_read(Path("/proc/cpuinfo"))),
        len(os.sched_getaffinity(0)),
        _power_mode(),
        _cuda() if with_cuda else None,
    )


def differences(now: DeviceFacts, then: DeviceFacts) -> str:
    """What makes this another device than that of a passport, in words; "" where nothing does.

    Args:
        now: This device.
        then: The passport's. Cores and power mode are not looked at: masks do not depend on them.
    """
    said = [
        (f"the processor is {now.processor!r}, it was {then.processor!r}", now.processor != then.processor),
        ("the processor has other instruction sets", now.instruction_sets != then.instruction_sets),
    ]
    a, b = now.cuda, then.cuda
    if b is not None:
        found = CudaFacts("none", "", "") if a is None else a
        said += [
            (f"the CUDA device is {found.name!r}, it was {b.name!r}", found.name != b.name),
            (
                f"the compute capability is {found.compute_capability}, it was {b.compute_capability}",
                found.compute_capability != b.compute_capability,
            ),
            (f"the driver is {found.driver!r}, it was {b.driver!r}", found.driver != b.driver),
        ]
    return next((words for words, differs in said if differs), "")


def _instruction_sets(cpuinfo: str) -> tuple[str, ...]:
    for line in cpuinfo.splitlines():
        name, separator, words = line.partition(":")
        if separator and name.strip() in _FLAGS:
            return tuple(sorted({word for word in words.split() if _ARITHMETIC.fullmatch(word)}))
    return (platform.machine(),)


def _power_mode() -> str:
    """The mode of a Jetson, or the governor of the first CPU."""
    if _NVPMODEL.is_file():
        import subprocess

        asked = [str(_NVPMODEL), "-q"]
        with suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(asked, capture_output=True, text=True, timeout=_NVPMODEL_S, check=True)
            if found := re.search(r"NV Power Mode:\s*(\S+)", done.stdout):
                return f"nvpmodel {found[1]}"
    governor = _read(_GOVERNOR).strip()
    return f"governor {governor}" if governor else ""


def _cuda() -> CudaFacts:
    from runtime.cuda.driver import identify

    name, capability = identify()
    driver = _driver_version(_read(_DRIVER), _read(_TEGRA))
    if not driver:
        raise DeviceError(f"neither {_DRIVER} nor {_TEGRA} tells the driver's version; use --device cpu")
    return CudaFacts(_one_line(name), capability, driver)


def _driver_version(version: str, tegra: str) -> str:
    """The driver's version, from what the kernel module says or from a Jetson's release."""
    found = re.search(r"\b(\d{3,}\.[\d.]+)\b", version.splitlines()[0] if version else "")
    parts = [found[1] if found else "", _one_line(tegra.splitlines()[0]) if tegra else ""]
    return " ".join(part for part in parts if part)


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text).strip()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
