"""Texts of instructions: every target has its own, and evaluation shows sentences training never did."""

from __future__ import annotations

from string import Formatter

import numpy as np
import pytest

from training.instructions import NO_TARGET, VOCABULARIES, Vocabulary, Writer
from training.instructions.noise import with_noise
from training.instructions.templates import denied, refused, request, request_beside
from training.instructions.wordings import Kind, Part, wordings
from training.instructions.words import FOREIGN, MODALITIES, TARGETS, for_evaluation, for_training
from training.structures import STRUCTURES


def test_every_structure_has_names_in_both_parts() -> None:
    assert list(TARGETS) == [structure.name for structure in STRUCTURES]
    for names in (*TARGETS.values(), *MODALITIES.values(), FOREIGN):
        assert len(for_training(names)) >= 4
        assert len(for_evaluation(names)) >= 1


@pytest.mark.parametrize("vocabulary", VOCABULARIES.values(), ids=VOCABULARIES)
def test_no_name_means_two_things(vocabulary: Vocabulary) -> None:
    every = [*vocabulary.targets.values(), vocabulary.foreign]
    spoken = [name.lower() for names in every for name in (*for_training(names), *for_evaluation(names))]
    assert len(set(spoken)) == len(spoken)


def test_what_is_foreign_to_a_hippocampus_is_the_rest_of_the_head() -> None:
    names = for_training(VOCABULARIES["hippocampus"].foreign)
    assert {"thalamus", "kidney"} <= set(names)
    assert not {"hippocampus", "amygdala"} & set(names)


def test_evaluation_has_sentences_of_its_own() -> None:
    random = np.random.default_rng(2)
    composed = {make(random) for make in (request, request_beside, denied) for _ in range(20_000)}
    assert len(composed) > 20_000
    spoken = "\n".join(composed).lower()
    kinds: tuple[Kind, ...] = ("asked", "mentioned", "absent")
    for kind in kinds:
        for template in wordings("evaluation", kind):
            assert "{target}" in template
            assert template.lower().rstrip(".?") not in spoken
    assert all("{target}" in template for template in composed)


@pytest.mark.parametrize("part", ["training", "evaluation"])
@pytest.mark.parametrize("kind", ["asked", "mentioned", "absent"])
def test_every_sentence_has_its_names_and_no_others(part: Part, kind: Kind) -> None:
    sentences = wordings(part, kind)
    assert len({sentence.lower() for sentence in sentences}) == len(sentences) >= 9
    for sentence in sentences:
        named = {name for _, name, _, _ in Formatter().parse(sentence) if name is not None}
        needed = {"target", "other"} if kind == "mentioned" else {"target"}
        assert needed <= named <= {*needed, "modality", "side"}
        assert sentence.isascii()
        assert sentence.strip() == sentence


def test_an_unclear_text_names_both_things_or_only_refuses() -> None:
    random = np.random.default_rng(4)
    for _ in range(300):
        text = Writer().write_unclear(random)
        assert text.also is not None
        assert text.also != text.target
    assert all("{other}" not in refused(random) for _ in range(100))


def test_a_text_asks_for_its_target_only() -> None:
    random = np.random.default_rng(0)
    for part in ("training", "evaluation"):
        writer = Writer(part)
        for target in (*TARGETS, NO_TARGET):
            names = FOREIGN if target == NO_TARGET else TARGETS[target]
            named = [name.removeprefix("the ").lower() for name in names]
            texts = [writer.write(random, target, "T1") for _ in range(40)]
            assert {text.target for text in texts} == {target}
            spoken = [any(name in text.text.lower() for name in named) for text in texts]
            # The others have a slip of the keyboard in the name, or ask for a word that means nothing.
            assert np.mean(spoken) > (0.4 if target == NO_TARGET else 0.8)


def test_only_findings_are_denied() -> None:
    random = np.random.default_rng(1)
    texts = [Writer().write(random) for _ in range(3000)]
    denied = {text.target for text in texts if text.denied}
    assert denied == {"lesion", "necrosis", "oedema", "whole_lesion"}
    assert {text.target for text in texts} == {*TARGETS, NO_TARGET}


def test_the_same_seed_writes_the_same_texts() -> None:
    first, again = (Writer().write(np.random.default_rng(5)) for _ in range(2))
    assert first == again
    many = {Writer().write(np.random.default_rng(seed), "thalamus", "FLAIR").text for seed in range(200)}
    assert len(many) > 120


def test_a_target_nobody_knows_is_refused() -> None:
    with pytest.raises(KeyError):
        Writer().write(np.random.default_rng(0), "kidney")


def test_noise_leaves_names_whole_and_adds_words() -> None:
    random = np.random.default_rng(3)
    template = "segment the {side}{target} on the {modality}."
    for _ in range(300):
        noisy = with_noise(template, random)
        assert 1 <= len(noisy.split()) - len(template.split()) <= 5
        for name in ("{side}{target}", "{modality}"):
            assert noisy.count(name) == 1
