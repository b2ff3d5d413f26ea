"""What a DICOM SEG says about its segments and about the model that made them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime.formats.seg_source import derived_uid
from runtime.structure import Code, ModelIdentity, Structure

__all__ = ["MAKER", "describe_segment", "identify_algorithm", "long_string"]

MAKER = "Zeus Edge"
_LONG_STRING, _LONG_TEXT = 64, 10240
_FAMILY = Code("123110", "DCM", "Artificial Intelligence")


def identify_algorithm(identity: ModelIdentity, parameters: Mapping[str, str]) -> Any:
    """Name, version, hash and parameters of the model, as highdicom's identification sequence.

    Source:
        DICOM PS3.3 10.16 (Algorithm Identification), PS3.16 CID 7162 (algorithm family).
    """
    from highdicom import AlgorithmIdentificationSequence

    algorithm = AlgorithmIdentificationSequence(
        name=long_string(identity.name),
        family=_concept(_FAMILY),
        version=long_string(identity.version),
        source=MAKER,
    )
    known = {"bundle_sha256": identity.bundle_sha256, "product_version": identity.product_version}
    text = "\n".join(f"{name}={value}" for name, value in (known | dict(parameters)).items())
    algorithm[0].AlgorithmParameters = text[:_LONG_TEXT]
    return algorithm


def describe_segment(number: int, structure: Structure, study_uid: str, algorithm: Any) -> Any:
    """One item of the segment sequence.

    Its tracking UID follows from the study and the structure, so that segmenting a study again
    tracks the same thing.

    Source:
        DICOM PS3.3 C.8.20.4 (segment description), C.10.7.1.1 (CIELab encoding); the colour is
        converted from sRGB with white point D65.
    """
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription

    return SegmentDescription(
        segment_number=number,
        segment_label=long_string(structure.name),
        segmented_property_category=_concept(structure.category),
        segmented_property_type=_concept(structure.kind),
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
        tracking_uid=derived_uid("tracking", study_uid, structure.name),
        tracking_id=long_string(f"{MAKER} {structure.name}"),
        display_color=CIELabColor.from_rgb(*structure.colour),
    )


def long_string(text: str) -> str:
    """As much as a DICOM long string holds; a backslash would make two values of one."""
    return text.replace("\\", "/")[:_LONG_STRING]


def _concept(code: Code) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme, code.meaning)
