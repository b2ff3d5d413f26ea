"""What a label value means: name, standard codes, colour."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Code", "ModelIdentity", "Structure"]


@dataclass(frozen=True)
class Code:
    """A coded concept.

    Attributes:
        value: Code value, e.g. "12738006".
        scheme: Coding scheme designator, "SCT" for SNOMED CT.
        meaning: Human-readable meaning.
    """

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class Structure:
    """One anatomical structure or finding that a bundle can segment.

    Attributes:
        value: Label value 1…255 in label maps, unique in its bundle.
        name: Short name, unique in its bundle, e.g. "thalamus".
        category: Segmented property category, e.g. (123037004, SCT, "Anatomical structure").
        kind: Segmented property type, e.g. (42695009, SCT, "Thalamus").
        colour: Recommended display colour, sRGB 0…255.
        union_of: Names of the structures it is made of; empty for a structure that has its own
            label value in the label map. A union never appears as a value in a label map.
    """

    value: int
    name: str
    category: Code
    kind: Code
    colour: tuple[int, int, int]
    union_of: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelIdentity:
    """Which model made a result; goes into every result object.

    Attributes:
        name: Bundle name, e.g. "zeus-nano-head".
        version: Bundle version.
        bundle_sha256: Hash over the whole bundle, 64 hexadecimal digits.
        product_version: Version of zeus-edge.
    """

    name: str
    version: str
    bundle_sha256: str
    product_version: str
