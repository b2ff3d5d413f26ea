"""Which label values make up a structure; shared by every writer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from runtime.errors import BundleError
from runtime.structure import Structure
from runtime.volume import Labels

__all__ = ["membership", "structure_values"]


def structure_values(
    structure: Structure, labels: Labels, structures: Sequence[Structure]
) -> tuple[int, ...]:
    """Label values whose voxels belong to a structure.

    Args:
        structure: A structure with its own value, or a union.
        labels: Its names are looked up first.
        structures: Looked up for parts that the label map does not name; unions of unions resolve.

    Raises:
        BundleError: The label map gives the value another name, or a part of a union is unknown.
    """
    values: set[int] = set()
    pending, seen = [structure], {structure.name}
    named = {name: value for value, name in labels.names.items()}
    known = {other.name: other for other in structures}
    while pending:
        current = pending.pop()
        if not current.union_of:
            name = labels.names.get(current.value, current.name)
            if name != current.name:
                raise BundleError(
                    f"label value {current.value} is {name!r} in the label map but {current.name!r} in the "
                    "bundle's structure list; the bundle is inconsistent"
                )
            values.add(current.value)
        for part in current.union_of:
            if part in seen:
                continue
            seen.add(part)
            if part in known:
                pending.append(known[part])
            elif part in named:
                values.add(named[part])
            else:
                raise BundleError(
                    f"structure {current.name!r} is a union of {part!r}, which the bundle lacks"
                )
    return tuple(sorted(values))


def membership(values: Sequence[int]) -> NDArray[np.bool_]:
    """Look-up table, (256,): whether a label value is one of `values`."""
    table = np.zeros(256, np.bool_)
    table[list(values)] = True
    return table
