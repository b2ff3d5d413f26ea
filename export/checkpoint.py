"""Read a pickle of weights without running anything in it."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from runtime.errors import BundleError

__all__ = ["read_checkpoint"]


def read_checkpoint(path: Path) -> dict[str, object]:
    """Read what `torch.save` wrote: tensors, plain containers, and NumPy's numbers.

    NumPy's scalars are bytes and the name of a plain type; training logs are full of them, and they run
    nothing. Whatever else a pickle asks for is refused.

    Raises:
        BundleError: The file is missing, damaged, wants to run something, or holds no dictionary.
    """
    if not path.is_file():
        raise BundleError(f"{path} is missing; copy the whole folder again")
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_numbers()):
            warnings.simplefilter("ignore")
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        what = next((line.strip() for line in str(error).splitlines() if "GLOBAL" in line), "")
        wanted = f": {what[:160]}" if what else ""
        raise BundleError(
            f"{path} holds more than weights and numbers{wanted}; save its weights alone (a state_dict)"
        ) from None
    except Exception as error:  # a cut archive may raise nearly anything
        raise BundleError(f"{path} is damaged or cut short ({type(error).__name__}); copy it again") from None
    if not isinstance(found, dict):
        raise BundleError(f"{path} holds a {type(found).__name__} and not named weights; save a state_dict")
    return found


def _numbers() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """What pickles of NumPy's scalars name: their maker, under old and new names, and types of numbers."""
    import numpy as np

    maker = np._core.multiarray.scalar  # type: ignore[attr-defined]
    kinds = [type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "bool")]
    return [(maker, "numpy.core.multiarray.scalar"), maker, np.dtype, *kinds]
