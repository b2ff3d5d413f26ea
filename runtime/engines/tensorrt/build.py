"""Build an engine of an ONNX network; one text that is right on TensorRT 10.3, 10.16 and 11.4.

Precision is in the network (float16 tensors, Q/DQ pairs) and nowhere else: TensorRT 11 knows only strongly
typed networks, and 10 makes one when asked. Flags are asked for by name: their numbers moved between the two.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtime.engines.tensorrt.options import BuildOptions
from runtime.errors import DeviceError

if TYPE_CHECKING:
    import tensorrt

    from runtime.engines.engine import InputRange

__all__ = ["BuildProgress", "BuiltEngine", "build_engine", "message_log"]

BuildProgress = Callable[[str, float], None]
"""Told the name of a phase and its finished share."""

_HARDWARE = {"ampere-plus": "AMPERE_PLUS", "same-compute-capability": "SAME_COMPUTE_CAPABILITY"}
_SHOWN = 3
_LONGEST = 300


@dataclass(frozen=True)
class BuiltEngine:
    """What a build gives.

    Attributes:
        engine: For `Runtime.deserialize_cuda_engine`.
        timing_cache: Measurements for the next build; empty where none are kept.
    """

    engine: bytes
    timing_cache: bytes


def message_log(module: Any) -> tuple[Any, deque[str]]:
    """A logger of TensorRT's that keeps complaints instead of printing them, and what it kept.

    Args:
        module: `tensorrt`, or a module with its names.
    """
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = module
    kept: deque[str] = deque(maxlen=32)

    class Log(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: tensorrt.ILogger.Severity, msg: str) -> None:
            if int(severity) <= int(trt.ILogger.Severity.ERROR):
                kept.append(msg.strip())

    return Log(), kept


def build_engine(
    module: Any,
    onnx: bytes,
    options: BuildOptions,
    timing_cache: bytes = b"",
    beside: str = "",
    progress: BuildProgress | None = None,
) -> BuiltEngine:
    """Build.

    Args:
        module: `tensorrt`, or a module with its names.
        onnx: The network.
        options: How to build.
        timing_cache: Of an earlier build.
        beside: Path that the network would have if it lay beside its file of weights; "" where it has none.
        progress: Told how far it is, where the version can tell.

    Raises:
        DeviceError: TensorRT does not take the network or the options, or fails; says what it complained of.

    Source:
        NVIDIA TensorRT documentation, "Python API" and "Strongly Typed Networks".
    """
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = module
    log, kept = message_log(module)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not (parser.parse(onnx, beside) if beside else parser.parse(onnx)):
        errors = [_parser_error(parser.get_error(index)) for index in range(parser.num_errors)]
        raise DeviceError(f"TensorRT {trt.__version__} cannot read the network ({_said(errors or kept)})")
    config = builder.create_builder_config()
    _configure(module, builder, config, options)
    if options.inputs:
        _add_profile(builder, config, options.inputs)
    timings = config.create_timing_cache(timing_cache) if options.use_timing_cache else None
    if timings is not None:
        config.set_timing_cache(timings, False)
    monitor = None if progress is None else _monitor(module, progress)
    if monitor is not None:
        config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise DeviceError(f"TensorRT {trt.__version__} cannot build the network ({_said(kept)})")
    return BuiltEngine(_copied(plan), b"" if timings is None else _copied(timings.serialize()))


def _configure(
    module: Any, builder: tensorrt.Builder, config: tensorrt.IBuilderConfig, options: BuildOptions
) -> None:
    """Set what is not of the network."""
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = module
    config.builder_optimization_level = options.optimization_level
    if options.workspace_bytes:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    if options.refit:
        config.set_flag(trt.BuilderFlag.REFIT)
    if options.strip:
        config.set_flag(trt.BuilderFlag.STRIP_PLAN)
    if options.hardware != "this":
        level = getattr(trt.HardwareCompatibilityLevel, _HARDWARE[options.hardware], None)
        if level is None:
            raise DeviceError(
                f"TensorRT {trt.__version__} cannot build for {options.hardware}; use ampere-plus or this"
            )
        config.hardware_compatibility_level = level
    if options.dla_core is not None:
        if not 0 <= options.dla_core < builder.num_DLA_cores:
            raise DeviceError(
                f"there is no DLA core {options.dla_core} ({builder.num_DLA_cores} here); build for the GPU"
            )
        config.default_device_type = trt.DeviceType.DLA
        config.DLA_core = options.dla_core
        config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    if options.targets:
        _set_targets(module, config, options.targets)


def _set_targets(module: Any, config: Any, targets: tuple[str, ...]) -> None:
    """Build for devices that need not be there; only TensorRT for RTX can."""
    known = getattr(module, "ComputeCapability", None)
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        capability = getattr(known, target, None)
        if capability is None or not config.set_compute_capability(capability, index):
            raise DeviceError(f"TensorRT {module.__version__} cannot build for {target}; build on the device")


def _add_profile(
    builder: tensorrt.Builder, config: tensorrt.IBuilderConfig, inputs: tuple[InputRange, ...]
) -> None:
    """Declare the shapes that free axes may have."""
    profile = builder.create_optimization_profile()
    for item in inputs:
        shapes: list[Any] = [item.smallest, item.usual, item.largest]
        try:
            profile.set_shape(item.name, *shapes)
        except (RuntimeError, ValueError) as error:
            raise DeviceError(f"TensorRT refuses the shapes {shapes} of {item.name!r} ({error})") from error
    if config.add_optimization_profile(profile) < 0:
        raise DeviceError(f"TensorRT refuses the shapes of {', '.join(item.name for item in inputs)}")


def _monitor(module: Any, progress: BuildProgress) -> tensorrt.IProgressMonitor | None:
    """Tells `progress` about phases; None where the module has no such thing."""
    if getattr(module, "IProgressMonitor", None) is None:
        return None
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = module
    steps: dict[str, int] = {}

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str, num_steps: Any) -> None:
            steps[phase_name] = max(int(num_steps), 1)
            progress(phase_name, 0.0)

        def step_complete(self, phase_name: str, step: Any) -> bool:
            progress(phase_name, min(1.0, (int(step) + 1) / steps.get(phase_name, 1)))
            return True

        def phase_finish(self, phase_name: str) -> None:
            progress(phase_name, 1.0)

    return Monitor()


def _copied(memory: Any) -> bytes:
    """What lies in memory of TensorRT's, which has Python's buffer protocol."""
    return bytes(memory)


def _parser_error(error: Any) -> str:
    """What the parser says about one node."""
    return f"node {error.node()}: {error.desc()}"


def _said(messages: Any) -> str:
    """The last of what was complained of, on one line and cut short."""
    last = [" ".join(str(message).split())[:_LONGEST] for message in list(messages)[-_SHOWN:]]
    return "; ".join(last) or "it does not say why"
