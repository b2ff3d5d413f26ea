"""What the writer of instructions learns from: pictures as the runtime makes them, and true sentences."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="training needs torch")

from runtime.language import views as runtime_views
from runtime.language.instruction import Finding, Statement
from runtime.language.sentence import parse
from runtime.volume import Volume
from tests.constructed_head import constructed_head, subject_with
from training.tissues import CHANNELS, TISSUES, index_of
from training.writer.bodies import draw_body
from training.writer.cases import CaseConfig, draw_cases
from training.writer.facts import FACTS, NOT_ASKED, facts_of
from training.writer.heads import OUTSIDE, Subject
from training.writer.looks import Look, draw_look
from training.writer.paint import paint
from training.writer.scan import Scan, ScanConfig, draw_scan
from training.writer.sentences import VOCABULARY, longest_sentences, sentence_of
from training.writer.slices import look_up
from training.writer.stream import CaseStream, WriterStreamConfig
from training.writer.words import END, answers, make_tokenizer

pytestmark = pytest.mark.torch

PLAIN = ScanConfig(near=0, partial=0, slab=0, crop=0, stripped=0, bend_mm=0, rotation_deg=2)


@cache
def patient() -> Subject:
    return subject_with({(-28, 10, 12): 15.0})


def whole_volume(subject: Subject, scan: Scan, look: Look) -> NDArray[np.float32]:
    """Every voxel of a scan, painted as training paints the few that its pictures show."""
    index = np.stack(np.indices(scan.shape), -1)
    middle = scan.low_mm + (index + 0.5) * scan.spacing_mm
    reach = scan.spacing_mm.copy()
    reach[scan.across] = scan.thickness_mm
    table = look.means.copy()
    if scan.stripped:
        table[OUTSIDE] = -1000 if look.modality == "CT" else 0
    values = np.zeros(scan.shape)
    for sign in (-1, 1):
        place = (middle + sign * reach / 4) @ scan.matrix.T
        place = place + scan.bend(middle @ scan.matrix.T) + subject.centre + 0.5
        at = [np.clip(place[..., n], 0, size - 1).astype(int) for n, size in enumerate(subject.tissues.shape)]
        values += table[subject.tissues[tuple(at)]] / 2
    return values.astype(np.float32)


def quiet(modality: str, seed: int) -> Look:
    look = draw_look(modality, np.random.default_rng(seed))
    return replace(look, noise=0.0, floor=0.0, bias=0.0, texture=0.0, power=1.0, gain=1.0, blur=0.0)


@pytest.mark.parametrize(
    ("modality", "config"),
    [
        ("T1", ScanConfig(planes=(0, 0, 1), thick=1, partial=0, slab=0, crop=0, stripped=0)),
        ("T2", ScanConfig(planes=(1, 0, 0), thick=1, partial=0, slab=0, crop=0, stripped=1)),
        ("CT", ScanConfig(planes=(0, 1, 0), thick=1, partial=1, slab=0, crop=0, stripped=0)),
        ("FLAIR", ScanConfig(planes=(0, 0, 1), thick=0, partial=0, slab=0, crop=1, stripped=0)),
    ],
    ids=["axial", "stripped", "part", "box"],
)
def test_pictures_are_those_of_the_runtime(modality: str, config: ScanConfig) -> None:
    random = np.random.default_rng(4)  # whose voxels are large, so that the whole volume is soon painted
    scan = draw_scan(patient(), random, config)
    look = quiet(modality, 6)
    volume = Volume(whole_volume(patient(), scan, look), np.diag([*scan.spacing_mm, 1.0]))
    steps = runtime_views._steps(scan.shape, scan.spacing_mm)
    samples = volume.voxels[tuple(slice(step // 2, None, step) for step in steps)]
    first, ends, _ = runtime_views._head(volume, samples, steps)
    ends = np.minimum(ends, scan.shape)
    for found, wanted in (
        (scan.first, first),
        (scan.ends, ends),
    ):  # the field: from points, or from brightness
        assert (np.abs(found - wanted) * scan.spacing_mm).max() < 3 * max(4.0, *scan.spacing_mm)
    scan = replace(scan, first=first, ends=ends)
    fast = paint(look_up(patient(), scan, 96), scan, look, random).shown
    # However the voxels are stored: axes in any order, turned or not.
    order, turned = [2, 0, 1], (slice(None), slice(None, None, -1), slice(None))
    affine = volume.affine.copy()
    affine[:3, 3], affine[:3, 1] = affine[:3, 3] + affine[:3, 1] * (scan.shape[1] - 1), -affine[:3, 1]
    if modality == "T2":
        voxels = np.ascontiguousarray(volume.voxels[turned].transpose(order))
        volume = Volume(voxels, affine[:, [*order, 3]])
    slow = runtime_views.views(volume, 96)
    scale = float((fast * slow).sum() / (fast * fast).sum())
    assert 0.8 < scale < 1.25  # white is found in a sample of the voxels, and each scan has its gain anyway
    assert np.abs(scale * fast - slow).mean() < 0.02
    assert np.corrcoef(fast.ravel(), slow.ravel())[0, 1] > 0.985


@pytest.mark.parametrize(("plane", "thick"), [*itertools.product(range(3), (0, 1))])
def test_plane_and_thickness_are_told(plane: int, thick: int) -> None:
    planes = tuple(float(n == plane) for n in range(3))
    config = CaseConfig(scan=replace(PLAIN, planes=planes, thick=thick))
    statement = statement_about(subject_with({}), config, "T1")
    assert statement.plane == runtime_views.PLANES[plane]
    assert statement.thickness == ("thick" if thick else "thin")
    assert statement.findings == ()
    assert statement.targets == ("brain",)
    assert {"cerebral_cortex", "lateral_ventricles", "thalamus"} <= set(statement.visible)


def statement_about(subject: Subject, config: CaseConfig, modality: str, seed: int = 1) -> Statement:
    case = draw_cases(subject, np.random.default_rng(seed), config, [modality])[0]
    text = sentence_of(case.truth)
    assert case.pictures.shape == (6, 96, 96)
    assert 0 <= case.pictures.min() < case.pictures.max() <= 1
    return parse(text, VOCABULARY)


@pytest.mark.parametrize(
    ("balls", "size", "side"),
    [
        ({(-28.0, 10.0, 12.0): 15.0}, "large", "left"),
        ({(28.0, 10.0, 12.0): 15.0}, "large", "right"),
        ({(28.0, 10.0, 12.0): 14.0, (-28.0, 10.0, 12.0): 14.0}, "large", "both"),
        ({(0.0, 30.0, 14.0): 8.0}, "medium-sized", "midline"),
    ],
    ids=["left", "right", "both", "midline"],
)
@pytest.mark.parametrize("plane", range(3))
def test_a_lesion_is_on_the_patients_side(
    balls: dict[tuple[float, float, float], float], size: str, side: str, plane: int
) -> None:
    planes = tuple(float(n == plane) for n in range(3))
    config = CaseConfig(scan=replace(PLAIN, planes=planes))
    subject = subject_with(balls)
    for modality, brightness in (("FLAIR", "bright"), ("T1", "dark")):
        statement = statement_about(subject, config, modality)
        assert statement.targets == ("whole_lesion", "brain")
        assert statement.findings is not None
        finding = statement.findings[0]
        assert (finding.side, finding.brightness, finding.size) == (side, brightness, size)


def test_what_no_picture_shows_is_not_told() -> None:
    subject = subject_with({(-40.0, 10.0, 45.0): 1.2})
    assert statement_about(subject, CaseConfig(scan=PLAIN), "FLAIR").findings == ()


def test_looks_keep_the_order_that_tells_sequences_apart() -> None:
    names = ("lateral ventricle", "cerebral cortex", "cerebral white matter", "dura and sinus")
    for seed in range(200):
        random = np.random.default_rng(seed)
        looks = {modality: draw_look(modality, random).means for modality in CHANNELS}
        fluid, grey, white, sinus = ({m: looks[m][index_of(name)] for m in looks} for name in names)
        assert fluid["T1"] < grey["T1"] < white["T1"]
        assert fluid["T2"] > grey["T2"] > white["T2"]
        assert fluid["FLAIR"] < white["FLAIR"] < grey["FLAIR"]
        assert sinus["T1c"] > white["T1c"]
        assert looks["CT"][index_of("cortical bone")] > 300
        assert all(len(look) == len(TISSUES) for look in looks.values())


def test_a_trunk_is_told_from_a_head() -> None:
    body = draw_body(np.random.default_rng(3))
    assert body.is_body
    assert not patient().is_body
    statement = statement_about(body, CaseConfig(), "CT")
    assert (statement.modality, statement.visible, statement.findings) == ("CT", (), ())


def stream(start: int) -> CaseStream:
    config = WriterStreamConfig(
        subjects=2, life=2, phantom_share=0, body_share=0.3, cases=CaseConfig(size=32)
    )
    return CaseStream(([constructed_head], []), config, batch=3, start=start)


def test_batches_are_the_same_wherever_the_stream_begins() -> None:
    pictures, texts = next(itertools.islice(stream(0), 2, None))
    again, same = next(iter(stream(2)))
    assert pictures.shape == (3, 6, 32, 32)
    assert np.array_equal(pictures, again)
    assert texts == same
    other, _ = next(iter(stream(3)))
    assert not np.array_equal(pictures, other)
    for text in texts:
        parse(text, VOCABULARY)


def test_facts_are_those_of_the_statement() -> None:
    lesion = Finding("small", "dark", "midline")
    seen = Statement("T2", "coronal", "thick", (), ("brain",), (lesion,))
    choices = dict(zip(FACTS, facts_of(seen), strict=True))
    said = {name: FACTS[name][number] for name, number in choices.items()}
    assert said == {
        **{"modality": "T2", "plane": "coronal", "thickness": "thick", "lesion": "present"},
        **{"size": "small", "brightness": "dark", "side": "midline"},
    }
    assert facts_of(replace(seen, findings=()))[3:] == [0, NOT_ASKED, NOT_ASKED, NOT_ASKED]


def test_every_word_is_one_token() -> None:
    tokenizer = make_tokenizer(VOCABULARY)
    ids = answers(tokenizer, longest_sentences()[:2])
    assert (ids[:, -1] == END).any()
    assert ids.shape[1] <= 60
    text = "A medium-sized bright lesion is on both sides."
    words = ["A", " medium", "-", "sized", " bright", " lesion", " is", " on", " both", " sides", "."]
    encoded = tokenizer.encode(text)
    assert [text[start:end] for start, end in encoded.offsets] == words
    assert tokenizer.decode(encoded.ids) == text
    assert tokenizer.decode(tokenizer.encode("Ärztin 7 <s>x").ids) != ""  # every byte has a token
