"""What a series shows is decided by physics first and by words last."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom.dataset import Dataset

from runtime.formats.dicom_modality import decide_modality

MPRAGE = {"ScanningSequence": ["GR", "IR"], "EchoTime": 2.5, "RepetitionTime": 2000, "InversionTime": 900}
BRAVO = {
    "ScanningSequence": "GR",
    "SequenceVariant": ["SS", "SP", "SK"],
    "EchoTime": 3.2,
    "RepetitionTime": 8.2,
}
SPIN_T1 = {"ScanningSequence": "SE", "EchoTime": 12, "RepetitionTime": 600}
SPIN_T2 = {"ScanningSequence": "SE", "EchoTime": 95, "RepetitionTime": 4500}
FLAIR = {"ScanningSequence": ["SE", "IR"], "EchoTime": 127.8, "RepetitionTime": 9000, "InversionTime": 2250}
T2_STAR = {"ScanningSequence": "GR", "EchoTime": 20, "RepetitionTime": 600, "FlipAngle": 20}
AGENT = {"ContrastBolusAgent": "Gadovist for Mr Secret"}


def header(**tags: Any) -> Dataset:
    made = Dataset()
    made.Modality = "MR"
    for keyword, value in tags.items():
        setattr(made, keyword, value)
    return made


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"Modality": "CT"}, "CT"),
        ({"Modality": "CT", "ContrastBolusAgent": "APPLIED"}, "CT"),
        (MPRAGE, "T1"),
        ({**MPRAGE, **AGENT}, "T1c"),
        ({**BRAVO, "InversionTime": 450, "FlipAngle": 12}, "T1"),
        ({**BRAVO, "FlipAngle": 12}, "T1"),
        (SPIN_T1, "T1"),
        ({**SPIN_T1, **AGENT}, "T1c"),
        ({**SPIN_T1, "ContrastBolusRoute": "IV"}, "T1c"),
        ({**SPIN_T1, "ContrastBolusVolume": 7.5}, "T1c"),
        ({**SPIN_T1, "ContrastBolusAgent": "NONE", "ContrastBolusVolume": 0}, "T1"),
        ({**SPIN_T1, "ContrastBolusAgent": ""}, "T1"),
        (
            {"ScanningSequence": ["SE", "IR"], "EchoTime": 9, "RepetitionTime": 2000, "InversionTime": 860},
            "T1",
        ),
        (FLAIR, "FLAIR"),
        ({**FLAIR, "EchoTime": 394, "RepetitionTime": 5000, "InversionTime": 1800}, "FLAIR"),
        ({**FLAIR, **AGENT}, "FLAIR"),
        (SPIN_T2, "T2"),
        ({**SPIN_T2, "InversionTime": 0}, "T2"),
        ({**SPIN_T2, "EchoTime": 410, "RepetitionTime": 3200}, "T2"),
        ({"ScanningSequence": "SE", "EchoTime": 14, "RepetitionTime": 3000}, "other"),
        ({**FLAIR, "EchoTime": 60, "RepetitionTime": 5000, "InversionTime": 160}, "other"),
        (T2_STAR, "other"),
        ({"ScanningSequence": "EP", "EchoTime": 30, "RepetitionTime": 2000}, "other"),
        ({**SPIN_T2, "DiffusionBValue": 1000.0}, "other"),
        ({**SPIN_T2, "ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]}, "other"),
        ({**BRAVO, "AngioFlag": "Y"}, "other"),
        ({**BRAVO, "ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}, "other"),
        ({**BRAVO, "SequenceVariant": "SS"}, "other"),
    ],
)
def test_modality_follows_the_acquisition(tags: dict[str, Any], expected: str) -> None:
    decision = decide_modality(header(**tags))
    assert decision.modality == expected, decision.reason


@pytest.mark.parametrize("tags", [MPRAGE, SPIN_T1, SPIN_T2, FLAIR])
def test_modality_is_certain_for_textbook_timing(tags: dict[str, Any]) -> None:
    assert decide_modality(header(**tags)).certain


def test_modality_reason_reads_like_a_sentence() -> None:
    reason = decide_modality(header(**FLAIR)).reason
    assert reason == "ScanningSequence SE\\IR, TE 127.8 ms, TR 9000 ms, TI 2250 ms: FLAIR"


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("AX T1", "T1"),
        ("ax_T1_POST", "T1c"),
        ("T1 +C", "T1c"),
        ("t1pre_reg", "T1"),
        ("t1w without contrast", "T1"),
        ("AX T1 W/O GAD", "T1"),
        ("Ax T2 FLAIR", "FLAIR"),
        ("t2_tse_tra", "T2"),
        ("T2* GRE", "other"),
        ("3D TOF", "other"),
        ("PD_TSE", "other"),
        ("nothing known", "other"),
        ("", "other"),
    ],
)
def test_modality_from_words_alone_is_uncertain(description: str, expected: str) -> None:
    decision = decide_modality(header(SeriesDescription=description))
    assert decision.modality == expected, decision.reason
    assert not decision.certain


def test_modality_timing_beats_a_contradicting_description_and_says_so() -> None:
    decision = decide_modality(header(**SPIN_T2, SeriesDescription="AX T1 SE"))
    assert (decision.modality, decision.certain) == ("T2", False)
    assert 'the description says "T1" instead' in decision.reason


def test_modality_special_technique_in_the_description_is_not_taken_for_t1() -> None:
    decision = decide_modality(header(**BRAVO, FlipAngle=18, SeriesDescription="COW 3D_TOF"))
    assert (decision.modality, decision.certain) == ("other", False)


def test_modality_agreeing_description_makes_research_mode_certain() -> None:
    tags = {"ScanningSequence": "RM", "EchoTime": 10, "RepetitionTime": 650}
    assert not decide_modality(header(**tags)).certain
    assert decide_modality(header(**tags, SeriesDescription="T1")).certain


def test_modality_agent_against_description_before_contrast_is_uncertain() -> None:
    decision = decide_modality(header(**SPIN_T1, **AGENT, SeriesDescription="T1 PRE"))
    assert (decision.modality, decision.certain) == ("T1c", False)


@pytest.mark.parametrize("timing", [{}, FLAIR, SPIN_T1])
def test_modality_reason_never_quotes_free_text(timing: dict[str, Any]) -> None:
    free = {"SeriesDescription": "T1 Mr Secret 1970", "ProtocolName": "Secret", **AGENT}
    assert "secret" not in decide_modality(header(**timing, **free)).reason.lower()


def test_modality_survives_damaged_values() -> None:
    made = header(ScanningSequence="SE", RepetitionTime=500)
    made.add_new("EchoTime", "DS", None)
    decision = decide_modality(made)
    assert decision.modality == "other"
    assert not decision.certain
