"""Pictures: a language model with a projector sees what llama.cpp's own helper shows it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.engines.llama.client import LlamaProcess
from runtime.engines.llama.options import GenerationOptions, LlamaSettings
from runtime.engines.llama.projector import read_projector
from runtime.engines.llama.prompts import ChatPart, EmbeddingPart, ImagePart, Prompt, TextPart
from runtime.errors import BundleError, DeviceError, LanguageError, UsageError
from tests.processes import pid_of, wait_until_gone
from tests.tiny_gguf import TinyModel, write_gguf
from tests.tiny_projector import KINDS, TinyProjector, needs_vision, write_projector
from tests.vision_reference import DirectVision

pytestmark = needs_vision

SETTINGS = LlamaSettings(
    context_tokens=400, batch_tokens=160, sequences=2, memory_bytes=1 << 30, cache_precision="float32"
)
BEFORE, AFTER = "what is on ", " this? it is "
GRAMMAR = 'root ::= "a " ("lesion" | "brain" | "head") (" of " [a-z] [a-z]?)? "."'


def picture(seed: int, side: int = 96) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)


def about(pixels: NDArray[np.uint8]) -> Prompt:
    return (TextPart(BEFORE), ImagePart(pixels), TextPart(AFTER))


def pair(folder: Path, kind: str, **projector: Any) -> tuple[Path, Path]:
    """Files of a language model and its projector; the embeddings are large enough to be heard."""
    model = write_gguf(folder / f"{kind}.gguf", TinyModel(KINDS[kind], scale=4.0))
    made = TinyProjector(kind, patch=4 if kind.startswith("qwen") else 8, scale=3.0, **projector)
    return model, write_projector(folder / f"{kind}-mmproj.gguf", made)


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, kind: str) -> tuple[Path, Path]:
    return pair(tmp_path_factory.mktemp("vision"), kind)


@pytest.fixture(scope="module")
def model(files: tuple[Path, Path]) -> Iterator[LlamaProcess]:
    with LlamaProcess(files[0], SETTINGS, projector=files[1]) as opened:
        yield opened


@pytest.fixture(scope="module")
def direct(files: tuple[Path, Path]) -> Iterator[DirectVision]:
    opened = DirectVision(*files, SETTINGS)
    yield opened
    opened.close()


def test_worker_computes_what_the_library_does_of_its_own(model: LlamaProcess, direct: DirectVision) -> None:
    for seed in (1, 2):
        expected = direct.logits(f"{BEFORE}<__media__>{AFTER}", picture(seed))
        got = model.logits(about(picture(seed)))
        # parts are computed one by one here, and joined there: another order of sums
        np.testing.assert_allclose(got, expected, atol=2e-3)
        assert np.ptp(expected) > 1


def test_picture_changes_what_follows_and_the_same_changes_nothing(model: LlamaProcess) -> None:
    first, second = model.logits(about(picture(1))), model.logits(about(picture(2)))
    assert np.abs(first - second).max() > 0.1
    assert np.array_equal(model.logits(about(picture(1))), first)


def test_embeddings_are_those_of_a_direct_encoding(
    model: LlamaProcess, direct: DirectVision, kind: str
) -> None:
    rows = direct.rows(picture(3))
    seen = model.logits(about(picture(3)))
    prompt = (TextPart(BEFORE), EmbeddingPart(rows), TextPart(AFTER))
    if kind == "mlp":  # nothing stands around the picture, and it is looked at from left to right
        assert np.array_equal(model.logits(prompt), seen)
    elif kind == "gemma3":
        around = ("<start_of_image>", "<end_of_image>")
        first, last = (TextPart(words, reads_special_tokens=True) for words in around)
        one_way = model.logits((TextPart(BEFORE), first, EmbeddingPart(rows), last, TextPart(AFTER)))
        assert np.abs(one_way - seen).max() > 1e-2  # the helper let it be looked at as a whole
    else:
        with pytest.raises(UsageError, match="wants rows and columns of embeddings"):
            model.logits(prompt)


def test_answers_keep_the_grammar_and_what_was_computed_is_taken_up(model: LlamaProcess) -> None:
    options = GenerationOptions(grammar=GRAMMAR, max_tokens=60)
    answers = [model.generate(about(picture(seed)), options) for seed in (5, 6, 7, 5)]
    assert all(answer.is_whole and answer.text.startswith("a ") for answer in answers)
    again = model.generate(about(picture(5)), options)
    assert (again.text, again.tokens) == (answers[0].text, answers[0].tokens)
    assert again.prefix_reused_tokens >= 16
    assert answers[0].prompt_tokens == again.prompt_tokens > len(BEFORE.split()) + 4


def test_pictures_are_answered_side_by_side_as_alone(model: LlamaProcess) -> None:
    options = GenerationOptions(max_tokens=8)
    alone = [model.generate(about(picture(seed)), options).tokens for seed in (8, 9)]
    both = model.generate_batch([about(picture(8)), about(picture(9))], options)
    assert [answer.tokens for answer in both] == alone


def test_worker_that_dies_costs_nothing_but_time(model: LlamaProcess) -> None:
    before, pid = model.logits(about(picture(4))), pid_of(model)
    os.kill(pid, signal.SIGKILL)
    assert wait_until_gone(pid)
    assert np.array_equal(model.logits(about(picture(4))), before)
    assert model.pid != pid


def test_prompt_that_ends_with_a_picture_is_refused(model: LlamaProcess, kind: str) -> None:
    if kind in ("mlp",):  # the others write words of their own behind it
        with pytest.raises(UsageError, match="ends with a picture"):
            model.logits((TextPart(BEFORE), ImagePart(picture(1))))
    with pytest.raises(UsageError, match="leaves no room"):
        model.logits((TextPart("a" * 380), *about(picture(1))))


def test_model_without_a_projector_sees_nothing(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf")
    with LlamaProcess(path, SETTINGS) as model, pytest.raises(UsageError, match="sees nothing; open it with"):
        model.logits(about(picture(1)))


def test_picture_beyond_a_batch_is_refused_where_it_must_stay_whole(tmp_path: Path) -> None:
    files = pair(tmp_path, "gemma3")
    small = LlamaSettings(context_tokens=400, batch_tokens=3, memory_bytes=1 << 29)
    with LlamaProcess(files[0], small, projector=files[1]) as model:
        with pytest.raises(UsageError, match="4 tokens does not fit into a batch of 3"):
            model.logits(about(picture(1)))
        assert model.logits((TextPart("a"),)).shape == (model.header.shapes.vocabulary,)


def test_chat_template_of_the_file_stands_around_the_question(tmp_path: Path) -> None:
    template = gguf.GGUFValue("{{ '<|im_start|>' }}", gguf.GGUFValueType.STRING)
    talking = TinyModel(keys={"tokenizer.chat_template": template})
    prompt = (ChatPart("question"), TextPart("what? "), ChatPart("answer"))
    with LlamaProcess(write_gguf(tmp_path / "t.gguf", talking), SETTINGS) as model:
        framed = (
            TextPart("<|im_start|>user\n", reads_special_tokens=True),
            TextPart("what? "),
            TextPart("<|im_end|>\n<|im_start|>assistant\n", reads_special_tokens=True),
        )
        assert np.array_equal(model.logits(prompt), model.logits(framed))
    with LlamaProcess(write_gguf(tmp_path / "p.gguf"), SETTINGS) as plain:
        alone = plain.logits((TextPart("what? "),))  # its begin token is computed with it, and not before
        np.testing.assert_allclose(plain.logits(prompt), alone, atol=1e-4)


def test_buffers_that_do_not_fit_are_an_error_and_not_a_crash(tmp_path: Path) -> None:
    files = pair(tmp_path, "qwen2.5vl_merger")  # whose window mask is the square of its patches
    settings = LlamaSettings(context_tokens=400, memory_bytes=1 << 28)
    with pytest.raises(DeviceError, match="vision projector does not fit into memory"):
        LlamaProcess(files[0], settings, projector=files[1])


def test_projectors_weights_count_as_memory(tmp_path: Path) -> None:
    model, _ = pair(tmp_path, "mlp")
    large = write_projector(tmp_path / "large.gguf", TinyProjector(width=512, blocks=12, patch=16))
    settings = LlamaSettings(context_tokens=64, memory_bytes=1 << 27)
    with LlamaProcess(model, settings):
        pass
    with pytest.raises(DeviceError, match="needs at least"):
        LlamaProcess(model, settings, projector=large)


def test_hostile_projectors_leave_the_service_alive(tmp_path: Path) -> None:
    model, good = pair(tmp_path, "mlp")
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(good.read_bytes()[:-500])
    wide = write_projector(tmp_path / "wide.gguf", TinyProjector(out=96))
    for path, message in (
        (cut, "cut short"),
        (model, "is it the language model"),
        (wide, "makes embeddings of 96.*reads 64"),
    ):
        with pytest.raises(BundleError, match=message):
            LlamaProcess(model, SETTINGS, projector=path)
    with LlamaProcess(model, SETTINGS, projector=good) as opened:
        before, pid = opened.logits(about(picture(1))), pid_of(opened)
        good.write_bytes(good.read_bytes()[:-500])
        assert np.array_equal(opened.logits(about(picture(1))), before)  # it was read, and not mapped
        os.kill(pid, signal.SIGKILL)
        assert wait_until_gone(pid)
        with pytest.raises(BundleError, match=r"mmproj\.gguf was changed or replaced"):
            opened.logits(about(picture(1)))


def test_weights_that_are_not_finite_cost_an_answer(tmp_path: Path) -> None:
    model, _ = pair(tmp_path, "mlp")
    tensors = TinyProjector().tensors()
    tensors["mm.2.bias"][3] = np.nan
    broken = write_projector(tmp_path / "nan.gguf", None, tensors)
    with LlamaProcess(model, SETTINGS, projector=broken) as opened:
        with pytest.raises(Exception, match="vision projector computes NaN"):
            opened.logits(about(picture(1)))
        assert opened.logits((TextPart("a"),)).size


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_no_picture_is_refused(wrong: NDArray[Any]) -> None:
    with pytest.raises(UsageError, match="a picture"):
        ImagePart(wrong)


@pytest.mark.slow
def test_damaged_projectors_are_refused_or_cost_an_answer(tmp_path: Path) -> None:
    model, good = pair(tmp_path, "mlp")
    whole = np.frombuffer(good.read_bytes(), np.uint8)
    random, damaged, loaded = np.random.default_rng(11), tmp_path / "damaged.gguf", 0
    for _ in range(600):
        bytes_ = whole.copy()
        place = random.integers(0, 3600)
        bytes_[place] ^= np.uint8(1 << random.integers(0, 8))
        damaged.write_bytes(bytes_.tobytes())
        try:
            read_projector(damaged)
        except BundleError:
            continue
        loaded += 1
        try:
            with LlamaProcess(model, SETTINGS, projector=damaged) as opened:
                assert opened.logits(about(picture(1))).size
        except (BundleError, DeviceError, LanguageError):
            pass
        if loaded == 12:
            break
    assert loaded == 12
