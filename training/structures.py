"""What the default bundle can segment: one row a structure, with codes and colours.

Class 0 is everything else. The order is the order of the network's condition vectors and the
label values of its label maps; unions come last and have no class of their own.

Source of the codes: SNOMED CT concepts as used in DICOM PS3.16 context groups (CID 7140, 7166).
"""

from __future__ import annotations

from runtime.structure import Code, Structure

__all__ = ["BRAIN_PARTS", "CLASS_NAMES", "STRUCTURES"]

_ANATOMY = Code("123037004", "SCT", "Anatomical Structure")
_TISSUE = Code("85756007", "SCT", "Tissue")
_MORPHOLOGY = Code("49755003", "SCT", "Morphologically Altered Structure")
_SUBSTANCE = Code("91720002", "SCT", "Body Substance")

BRAIN_PARTS = (
    "cerebral_white_matter",
    "cerebral_cortex",
    "lateral_ventricles",
    "third_fourth_ventricles",
    "thalamus",
    "caudate",
    "putamen_pallidum",
    "hippocampus_amygdala",
    "ventral_diencephalon",
    "cerebellum",
    "brain_stem",
    "sulcal_csf",
    "lesion",
    "necrosis",
    "oedema",
)

_ROWS: tuple[tuple[str, Code, str, str, tuple[int, int, int]], ...] = (
    ("cerebral_white_matter", _TISSUE, "68523003", "Cerebral White Matter", (230, 230, 220)),
    ("cerebral_cortex", _ANATOMY, "40146001", "Cerebral cortex", (205, 92, 120)),
    ("lateral_ventricles", _ANATOMY, "66720007", "Lateral Ventricle", (80, 60, 200)),
    ("third_fourth_ventricles", _ANATOMY, "35764002", "Brain ventricle", (60, 120, 220)),
    ("thalamus", _ANATOMY, "42695009", "Thalamus", (0, 160, 70)),
    ("caudate", _ANATOMY, "11000004", "Caudate nucleus", (110, 200, 240)),
    ("putamen_pallidum", _ANATOMY, "51114001", "Lentiform nucleus", (236, 13, 176)),
    ("hippocampus_amygdala", _ANATOMY, "3719003", "Hippocampus and amygdala", (240, 210, 40)),
    ("ventral_diencephalon", _ANATOMY, "87563008", "Diencephalon", (165, 110, 60)),
    ("cerebellum", _ANATOMY, "113305005", "Cerebellum", (230, 148, 34)),
    ("brain_stem", _ANATOMY, "15926001", "Brainstem", (130, 160, 190)),
    ("sulcal_csf", _SUBSTANCE, "65216001", "Cerebrospinal fluid", (70, 190, 200)),
    ("outer_csf", _SUBSTANCE, "65216001", "Cerebrospinal fluid", (40, 130, 150)),
    ("head", _ANATOMY, "69536005", "Head", (150, 120, 105)),
    ("lesion", _MORPHOLOGY, "52988006", "Lesion", (255, 40, 40)),
    ("necrosis", _MORPHOLOGY, "6574001", "Necrosis", (255, 150, 0)),
    ("oedema", _MORPHOLOGY, "79654002", "Edema", (250, 250, 110)),
)

STRUCTURES: tuple[Structure, ...] = (
    *(
        Structure(value, name, category, Code(code, "SCT", meaning), colour)
        for value, (name, category, code, meaning, colour) in enumerate(_ROWS, start=1)
    ),
    Structure(
        201,
        "csf",
        _SUBSTANCE,
        Code("65216001", "SCT", "Cerebrospinal fluid"),
        (70, 190, 200),
        ("sulcal_csf", "outer_csf"),
    ),
    Structure(
        202,
        "whole_lesion",
        _MORPHOLOGY,
        Code("52988006", "SCT", "Lesion"),
        (255, 70, 70),
        ("lesion", "necrosis", "oedema"),
    ),
    Structure(203, "brain", _ANATOMY, Code("12738006", "SCT", "Brain"), (240, 200, 170), BRAIN_PARTS),
)

CLASS_NAMES: tuple[str, ...] = ("background", *(row[0] for row in _ROWS))
