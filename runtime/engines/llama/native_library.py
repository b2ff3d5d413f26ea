"""The only file that knows llama-cpp-python: where it is, and its C functions."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from runtime.errors import DeviceError

__all__ = [
    "find_library",
    "find_vision_library",
    "library_version",
    "load_library",
    "load_vision_library",
]

_NO_VISION = (
    "this llama.cpp was built without libmtmd, which a vision projector needs; "
    "build llama-cpp-python again with CMAKE_ARGS=-DLLAVA_BUILD=ON, or leave --mmproj out"
)


def find_library() -> ModuleSpec:
    """Where llama-cpp-python is; it is not loaded for that.

    Raises:
        DeviceError: It is not installed.
    """
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None:
        raise DeviceError('llama-cpp-python is not installed; pip install "zeus-edge[llm]"')
    return spec


def find_vision_library() -> Path:
    """The file of llama.cpp's vision code; it is not loaded for that.

    Raises:
        DeviceError: llama-cpp-python is not installed, or was built without.
    """
    for folder in find_library().submodule_search_locations or []:
        for file in sorted((Path(folder) / "lib").glob("*mtmd.*")):
            return file
    raise DeviceError(_NO_VISION)


def library_version() -> str:
    """The version of llama-cpp-python."""
    from importlib import metadata

    return metadata.version("llama-cpp-python")


def load_library() -> Any:
    """The C functions of llama.cpp, with their types.

    Only that one module is loaded: the package's own `__init__` loads its servers, templates and a disk cache
    that unpickles.

    Raises:
        DeviceError: It is not installed, or its library cannot be loaded.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # else an idle thread burns what another one needs
    spec = find_library()
    if "llama_cpp" not in sys.modules:
        sys.modules["llama_cpp"] = importlib.util.module_from_spec(spec)  # made, not run
    return _loaded("llama_cpp.llama_cpp")


def load_vision_library() -> Any:
    """The C functions of libmtmd, with their types.

    Raises:
        DeviceError: It was not built, or cannot be loaded.
    """
    find_vision_library()
    load_library()
    return _loaded("llama_cpp.mtmd_cpp")


def _loaded(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except (OSError, RuntimeError, ImportError, AttributeError) as error:  # a function may be missing
        raise DeviceError(f"llama.cpp cannot be loaded ({error}); install zeus-edge[llm] again") from error
