"""Texts of instructions: every target has its own, and evaluation shows sentences training never did."""

from __future__ import annotations

import numpy as np
import pytest

from training.instructions import NO_TARGET, VOCABULARIES, Vocabulary, Writer
from training.instructions.evaluation import EVALUATION
from training.instructions.noise import with_noise
from training.instructions.templates import denied, request, request_beside
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
    for templates in EVALUATION.values():
        for template in templates:
            assert "{target}" in template
            assert not any(template.lower().rstrip(".?") in other.lower() for other in composed)
    assert all("{target}" in template for template in composed)


def test_a_text_asks_for_its_target_only() -> None:
    random = np.random.default_rng(0)
    for part in ("training", "evaluation"):
        writer = Writer(part)  # type: ignore[arg-type]
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
