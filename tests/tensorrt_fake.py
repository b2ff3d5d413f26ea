"""The names of the module `tensorrt` for machines without it, strict where the real one is silent.

Its "ONNX files" are JSON, see `network`; an engine doubles its first input. Builds run anywhere, also in a
process of their own; engines run on the emulated CUDA driver.
"""

from __future__ import annotations

import ctypes
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.tensorrt_names import (
    BuilderFlag,
    DataType,
    DeviceType,
    HardwareCompatibilityLevel,
    ILogger,
    MemoryPoolType,
    NetworkDefinitionCreationFlag,
    TensorIOMode,
)

__version__ = "11.4.0"

DRIVER: Any = None
"""The emulated driver that engines run on; a test sets it."""

IN_CAPTURE = "record"
"""What an engine does while its stream is recorded: record, refuse, skip or copy nothing."""

ENQUEUED: list[bool] = []
"""One entry for each time work was put on a stream: whether that was recorded."""

_TYPES = {"FLOAT": "float32", "HALF": "float16", "BOOL": "bool", "INT64": "int64", "BF16": "uint16"}


def network(
    inputs: dict[str, tuple[int, ...]], do: str = "build", dtype: str = "FLOAT", **more: Any
) -> bytes:
    """A network: shapes of its inputs with -1 for free axes, and what happens in its build."""
    outputs = more.pop("outputs", ["doubled"])
    return json.dumps({"inputs": inputs, "do": do, "dtype": dtype, "outputs": outputs, **more}).encode()


class IProgressMonitor:
    def __init__(self) -> None:
        self.is_made = True


class _Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, name: str, low: Any, usual: Any, high: Any) -> None:
        if not all(a <= b <= c for a, b, c in zip(low, usual, high, strict=True)):
            raise ValueError("min <= opt <= max")
        self.shapes[name] = [list(low), list(usual), list(high)]


class _TimingCache:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def serialize(self) -> bytes:
        return self.data + b"+"


class _Config:
    def __init__(self) -> None:
        self.flags: set[int] = set()
        self.pools: dict[int, int] = {}
        self.profiles: list[_Profile] = []
        self.timing_cache: _TimingCache | None = None
        self.builder_optimization_level = 3
        self.hardware_compatibility_level: Any = HardwareCompatibilityLevel.NONE
        self.default_device_type, self.DLA_core = DeviceType.GPU, -1
        self.progress_monitor: Any = None

    def set_flag(self, flag: BuilderFlag) -> None:
        self.flags.add(int(flag))

    def set_memory_pool_limit(self, pool: MemoryPoolType, size: int) -> None:
        self.pools[int(pool)] = size

    def add_optimization_profile(self, profile: _Profile) -> int:
        self.profiles.append(profile)
        return -1 if not profile.shapes else len(self.profiles) - 1

    def create_timing_cache(self, data: bytes) -> _TimingCache:
        return _TimingCache(bytes(data))

    def set_timing_cache(self, cache: _TimingCache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self.timing_cache = cache
        return True


class _Network:
    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.content: dict[str, Any] | None = None


class Builder:
    num_DLA_cores = 0  # noqa: N815

    def __init__(self, logger: ILogger) -> None:
        assert logger.is_made, "ILogger.__init__ was not called"
        self.logger = logger

    def create_network(self, flags: int = 0) -> _Network:
        assert flags == 1 << int(NetworkDefinitionCreationFlag.STRONGLY_TYPED), "weakly typed"
        return _Network(flags)

    def create_builder_config(self) -> _Config:
        return _Config()

    def create_optimization_profile(self) -> _Profile:
        return _Profile()

    def build_serialized_network(self, network: _Network, config: _Config) -> bytes | None:
        content, monitor = network.content, config.progress_monitor
        assert content is not None, "nothing was parsed"
        if monitor is not None:
            assert monitor.is_made
            monitor.phase_start("Building", None, 2)
            assert monitor.step_complete("Building", 0)
            monitor.phase_finish("Building")
        _misbehave(content["do"])
        shapes = config.profiles[0].shapes if config.profiles else {}
        free = {name for name, shape in content["inputs"].items() if -1 in shape}
        if content["do"] == "none" or free - set(shapes):
            self.logger.log(ILogger.Severity.INFO, "chatter")  # type: ignore[attr-defined]
            self.logger.log(ILogger.Severity.ERROR, f"no shapes of {sorted(free)}\n")  # type: ignore[attr-defined]
            return None
        fixed = {name: [shape] * 3 for name, shape in content["inputs"].items()}
        facts = {"flags": sorted(config.flags), "pools": config.pools, "DLA": config.DLA_core}
        facts |= {"hardware": int(config.hardware_compatibility_level), "version": __version__}
        return b"ENGINE" + json.dumps({**content, "profile": fixed | shapes, **facts}).encode()


def _misbehave(do: str) -> None:
    if do == "crash":
        os.abort()
    if do == "hang":
        time.sleep(600)
    if do == "grow":
        kept = []
        while True:
            kept.append(np.ones(1 << 21))
            time.sleep(0.01)
    if do == "chatter":
        os.write(1, b"a library prints to the standard output\n")


class _ParserError:
    def node(self) -> int:
        return 7

    def desc(self) -> str:
        return "no such operator"


class OnnxParser:
    num_errors = 0

    def __init__(self, network: _Network, logger: ILogger) -> None:
        self._network = network

    def parse(self, model: bytes, path: str | None = None) -> bool:
        try:
            content = json.loads(model)
        except ValueError:
            self.num_errors = 1
            return False
        if content.get("weights"):
            assert path is not None
            folder = Path(path).parent
            content["weights"] = len((folder / content["weights"]).read_bytes())
            content["beside"] = [item.name for item in folder.iterdir()]
        self._network.content = content
        return True

    def get_error(self, index: int) -> _ParserError:
        assert index < self.num_errors
        return _ParserError()


class _Context:
    """Refuses what the real one takes as undefined behaviour."""

    def __init__(self, engine: _Engine) -> None:
        self._engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert type(shape) is tuple
        self._addresses.clear()
        self._shapes[name] = shape
        return "refused" not in self._engine.content

    def infer_shapes(self) -> list[str]:
        return [name for name in self._engine.content["inputs"] if name not in self._shapes]

    def get_tensor_shape(self, name: str) -> list[int]:
        first = next(iter(self._engine.content["inputs"]))
        if name in self._engine.content.get("unknown", []):
            return [-1]
        return list(self._shapes.get(name, self._shapes[first]))

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert address in DRIVER.memory, "memory that is not the device's"
        size = np.dtype(self._engine.numpy).itemsize * int(np.prod(self.get_tensor_shape(name)))
        assert DRIVER.memory[address][1] >= size, "less memory than the tensor needs"
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        content, addresses = self._engine.content, dict(self._addresses)
        assert DRIVER.depth > 0, "no current device"
        assert set(addresses) == {*content["inputs"], *content["outputs"]}, "a tensor has no address"
        assert stream in DRIVER.handles, "a stream that does not exist"
        recording = stream in DRIVER._recordings
        if "fails" in content or (recording and IN_CAPTURE == "refuse"):
            self._engine.logger.log(ILogger.Severity.ERROR, "CUDA failure 900")  # type: ignore[attr-defined]
            return False
        ENQUEUED.append(recording)
        if recording and IN_CAPTURE == "skip":
            return True
        first, dtype = next(iter(content["inputs"])), self._engine.numpy
        count = int(np.prod(self._shapes[first]))

        def work() -> None:
            given = _memory(addresses[first], count, dtype)
            for name in content["outputs"]:
                if not (recording and IN_CAPTURE == "copy nothing"):
                    _memory(addresses[name], count, dtype)[:] = given + given

        DRIVER._put(stream, work)
        return True


def _memory(address: int, count: int, dtype: str) -> Any:
    size = count * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_uint8 * size).from_address(address), dtype)


class _Engine:
    def __init__(self, content: dict[str, Any], logger: ILogger) -> None:
        self.content, self.logger = content, logger
        self.numpy = _TYPES[content["dtype"]]
        self._names = [*content["inputs"], *content["outputs"]]
        self.num_io_tensors = len(self._names)

    def create_execution_context(self) -> _Context | None:
        return None if "no context" in self.content else _Context(self)

    def get_tensor_name(self, index: int) -> str:
        return str(self._names[index])

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.content["inputs"] else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType[self.content["dtype"]]

    def get_tensor_profile_shape(self, name: str, profile: int) -> Any:
        assert profile == 0
        return self.content["profile"][name]


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        assert logger.is_made
        self._logger = logger

    def deserialize_cuda_engine(self, plan: bytes) -> _Engine | None:
        assert DRIVER.depth > 0, "no current device"
        content = json.loads(plan[6:]) if plan[:6] == b"ENGINE" else {}
        if content.get("version") != __version__:
            self._logger.log(ILogger.Severity.ERROR, "version tag does not match")  # type: ignore[attr-defined]
            return None
        return _Engine(content, self._logger)
