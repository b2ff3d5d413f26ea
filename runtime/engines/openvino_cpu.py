"""Run a network with OpenVINO on the CPU, where it is installed."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from runtime.engines.engine import EngineDescription, NetworkFile
from runtime.engines.isolated import place
from runtime.errors import BundleError, DeviceError

__all__ = ["OpenVinoCpu", "OpenVinoEngine"]

_MODULE = "openvino"
_TELEMETRY = "openvino_telemetry"
_INSTALL = 'install it with pip install "zeus-edge[openvino]", or use another engine'


class OpenVinoCpu:
    """OpenVINO as a kind of engine."""

    name = "openvino-cpu"
    device: Literal["cpu", "cuda"] = "cpu"

    def why_not(self) -> str | None:
        """Whether it is installed."""
        there = _MODULE in sys.modules or find_spec(_MODULE) is not None
        return None if there else f"{_MODULE} is not installed"

    def version(self) -> str:
        """Of OpenVINO.

        Raises:
            DeviceError: It is not installed.
        """
        return str(_imported().__version__)

    def open(self, network: NetworkFile, threads: int, reason: str) -> OpenVinoEngine:
        """See `EngineKind.open`."""
        return OpenVinoEngine(network, threads, reason)


class OpenVinoEngine:
    """One compiled network.

    Args:
        network: The network.
        threads: CPU threads.
        reason: Why this engine was chosen, for the report.

    Raises:
        BundleError: The file is not a network this library can read.
        DeviceError: OpenVINO is not installed, or cannot compile the network.
    """

    def __init__(self, network: NetworkFile, threads: int, reason: str) -> None:
        openvino = _imported()
        core = openvino.Core()
        properties = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",  # else it takes bfloat16 where the processor has it
        }
        with _only_its_files(network) as source:
            try:
                model = core.read_model(source)
            except Exception as error:
                raise BundleError(
                    f"{network.path} cannot be loaded ({_first_line(error)}); copy or export the bundle again"
                ) from error
            try:
                self._compiled = core.compile_model(model, "CPU", properties)
            except Exception as error:
                raise DeviceError(
                    f"OpenVINO cannot compile {network.path} ({_first_line(error)}); use another engine"
                ) from error
        self._request = self._compiled.create_infer_request()
        # By the file's own names: a compiled network's tensors also bear those of casts that were folded.
        pairs = zip(model.inputs, self._compiled.inputs, strict=True)
        self._inputs = {given.get_any_name(): item for given, item in pairs}
        self._outputs = [item.get_any_name() for item in model.outputs]
        version = str(openvino.__version__)
        self._description = EngineDescription("openvino-cpu", "cpu", network.precision, version, reason)

    @property
    def description(self) -> EngineDescription:
        """What runs."""
        return self._description

    def run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the network once.

        Args:
            inputs: Array of every input by name, of the declared shape and type.

        Raises:
            DeviceError: It failed or is out of memory.
            BundleError: The network has other inputs.
        """
        self._check(inputs)
        try:
            results = self._request.infer({name: np.ascontiguousarray(inputs[name]) for name in self._inputs})
        except Exception as error:
            raise DeviceError(
                f"the network failed on cpu ({_first_line(error)}); close other programs, or use another one"
            ) from error
        made = zip(self._outputs, self._compiled.outputs, strict=True)
        return {name: np.array(results[item]) for name, item in made}

    def _check(self, inputs: dict[str, NDArray[Any]]) -> None:
        """Refuse what it would convert or reshape without a word."""
        if set(inputs) != set(self._inputs):
            raise BundleError(
                f"the network does not fit its manifest (it takes {sorted(self._inputs)}, "
                f"not {sorted(inputs)}); export the bundle again"
            )
        for name, item in self._inputs.items():
            array, sides = inputs[name], list(item.partial_shape)
            fits = len(sides) == array.ndim and all(
                side.is_dynamic or side.get_length() == length
                for side, length in zip(sides, array.shape, strict=True)
            )
            if not fits or array.dtype != item.element_type.to_dtype():
                raise BundleError(
                    f"the network does not fit its manifest ({name!r} is {item.element_type.to_dtype()} "
                    f"{item.partial_shape}, not {array.dtype} {array.shape}); export the bundle again"
                )

    def __enter__(self) -> OpenVinoEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._request, self._compiled


def _imported() -> Any:
    """The module, without the companion that reports each import to its maker: a scanner talks to nobody."""
    known = sys.modules.get(_TELEMETRY)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # Python's own way to say: not to be imported
    try:
        import openvino
    except ImportError as error:
        raise DeviceError(f"OpenVINO cannot be imported ({_first_line(error)}); {_INSTALL}") from error
    finally:
        if known is None:
            del sys.modules[_TELEMETRY]
        else:
            sys.modules[_TELEMETRY] = known
    return openvino


@contextlib.contextmanager
def _only_its_files(network: NetworkFile) -> Iterator[Any]:
    """What `read_model` takes, so placed that no file can be read that is not the network's."""
    if network.weights is None:
        try:
            yield network.path.read_bytes()  # in memory, a network has no files beside it
        except OSError as error:
            raise BundleError(
                f"{network.path} cannot be read ({error.strerror}); copy or export the bundle again"
            ) from error
        return
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        place(network.weights, Path(name))
        yield place(network.path, Path(name))


def _first_line(error: Exception) -> str:
    """The first telling line of an error's text, cut short; OpenVINO's begin with where in its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return (telling or lines or [type(error).__name__])[0][:300]
