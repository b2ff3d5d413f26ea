"""What an engine is built for; part of its key in the cache, so all of it is data."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Literal

from runtime.engines.engine import InputRange

__all__ = ["BuildLimits", "BuildOptions"]


def _half_of_the_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


@dataclass(frozen=True)
class BuildOptions:
    """How to build.

    Attributes:
        inputs: Shapes of the inputs that have free axes; one optimisation profile is made of them.
        workspace_bytes: Device memory that an engine's layers may use beside its tensors; 0 leaves it to
            TensorRT, which takes what the device has.
        optimization_level: 0 (fast to build) to 5 (fast to run).
        hardware: What else the engine shall run on: nothing, every device of Ampere or later, or every
            device of the same compute capability (not before TensorRT 10.16).
        refit: Whether its weights may be exchanged later.
        strip: Whether its weights are left out, to be filled in by a refit.
        use_timing_cache: Whether measurements of earlier builds are used and kept.
        dla_core: Core of an Orin's deep-learning accelerator, where the GPU runs what it cannot; None for
            the GPU alone.
        targets: Compute capabilities such as "SM86" for builders that need no device (TensorRT for RTX);
            empty for the device that is there.
    """

    inputs: tuple[InputRange, ...] = ()
    workspace_bytes: int = 0
    optimization_level: int = 3
    hardware: Literal["this", "ampere-plus", "same-compute-capability"] = "this"
    refit: bool = False
    strip: bool = False
    use_timing_cache: bool = True
    dla_core: int | None = None
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class BuildLimits:
    """What a build may take; a build beyond it is ended.

    Attributes:
        time_s: Seconds.
        memory_bytes: Of the host, without files that are mapped.
    """

    time_s: float = 1800.0
    memory_bytes: int = field(default_factory=_half_of_the_memory)
