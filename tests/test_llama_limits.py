"""Files, memory, context and families: what was asked for is what there is, whatever becomes of the file."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from runtime.engines.llama.client import LlamaProcess
from runtime.engines.llama.gguf_header import FileIdentity
from runtime.engines.llama.messages import Event, Failed, Load, Ready
from runtime.engines.llama.options import GenerationOptions, LlamaSettings
from runtime.engines.llama.process import WorkerProcess
from runtime.engines.llama.prompts import TokenPart
from runtime.errors import BundleError, DeviceError, LanguageError, UsageError
from tests.processes import PROMPT, SETTINGS, SHORT, pid_of, wait_until_gone
from tests.tiny_gguf import TinyModel, write_gguf


@pytest.mark.parametrize("name", ["qwen2", "qwen3", "gemma3"])
def test_other_families_are_loaded_and_answer(name: str, tmp_path: Path) -> None:
    llama_file = write_gguf(tmp_path / "model.gguf", TinyModel(architecture=name))
    with LlamaProcess(llama_file, LlamaSettings(context_tokens=64, memory_bytes=1 << 28)) as model:
        assert len(model.generate(PROMPT, SHORT).tokens) <= 4


def test_sentencepiece_text_survives(tmp_path: Path) -> None:
    llama_file = write_gguf(tmp_path / "model.gguf", TinyModel(tokenizer="llama"))
    with LlamaProcess(llama_file, LlamaSettings(context_tokens=64, memory_bytes=1 << 28)) as model:
        answer = model.generate(PROMPT, GenerationOptions(grammar='root ::= "Läsion: µ"', max_tokens=32))
    assert (answer.text, answer.stop) == ("Läsion: µ", "end")


def test_file_replaced_after_the_check_is_not_loaded(tmp_path: Path) -> None:
    llama_file = write_gguf(tmp_path / "model.gguf")
    settings = LlamaSettings(context_tokens=64, memory_bytes=1 << 28)
    with LlamaProcess(llama_file, settings) as model:
        other = write_gguf(tmp_path / "other.gguf", TinyModel(seed=1))
        other.replace(llama_file)
        model.generate(PROMPT, SHORT)  # the one that was checked is loaded
        os.kill(pid_of(model), signal.SIGKILL)
        assert wait_until_gone(pid_of(model))
        with pytest.raises(BundleError, match="changed or replaced after it was checked"):
            model.generate(PROMPT, SHORT)


def test_file_cut_short_in_use_kills_nobody(tmp_path: Path) -> None:
    llama_file = write_gguf(tmp_path / "model.gguf")
    with LlamaProcess(llama_file, LlamaSettings(context_tokens=64, memory_bytes=1 << 28)) as model:
        worker, before = pid_of(model), model.generate(PROMPT, SHORT).text
        os.truncate(llama_file, 10_000)
        assert model.generate(PROMPT, SHORT).text == before
        assert pid_of(model) == worker


def loaded(path: Path, settings: LlamaSettings, identity: FileIdentity | None = None) -> tuple[Event, int]:
    """What a worker says that is given a file as it is, and the most memory it had."""
    with WorkerProcess(1) as worker:
        until = time.monotonic() + 30
        named = identity or FileIdentity.of(path.stat())
        worker.send(Load(os.fsencode(path), named, settings), until)
        event = worker.receive(until)
        assert event is not None
        return event, int(Path(f"/proc/{worker.pid}/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


def test_worker_compares_the_file_with_the_one_checked(llama_file: Path) -> None:
    size = llama_file.stat().st_size
    event, _ = loaded(llama_file, SETTINGS, FileIdentity(1, 2, size, 3))
    assert isinstance(event, Failed)
    assert (event.kind, "changed or replaced" in event.message) == ("bundle", True)


def test_memory_limit_is_kept(tmp_path: Path) -> None:
    model = TinyModel(width=512, blocks=5)
    zeros = {name: np.zeros_like(tensor) for name, tensor in model.tensors().items()}
    llama_file = write_gguf(tmp_path / "model.gguf", model, zeros)
    small = LlamaSettings(context_tokens=512, memory_bytes=96 << 20)
    with pytest.raises(DeviceError, match="needs at least 112 MiB with this context, and has 96 MiB"):
        LlamaProcess(llama_file, small)
    event, most = loaded(llama_file, small)  # without that check in front
    assert isinstance(event, Failed)
    assert event.kind == "device"
    assert "memory" in event.message
    assert most < small.memory_bytes
    event, most = loaded(llama_file, LlamaSettings(context_tokens=512, memory_bytes=256 << 20))
    assert isinstance(event, Ready)
    assert event.peak_bytes <= most < 256 << 20


@pytest.mark.parametrize("memory", [110, 118, 125])
def test_memory_that_almost_suffices_kills_the_worker_only(memory: int, tmp_path: Path) -> None:
    model = TinyModel(width=512, blocks=5)
    zeros = {name: np.zeros_like(tensor) for name, tensor in model.tensors().items()}
    llama_file = write_gguf(tmp_path / "model.gguf", model, zeros)
    with pytest.raises(DeviceError, match="memory"):
        LlamaProcess(llama_file, LlamaSettings(context_tokens=64, memory_bytes=memory << 20))


def test_weights_that_are_not_numbers_are_noticed(tmp_path: Path) -> None:
    tensors = TinyModel().tensors()
    tensors["blk.1.ffn_up.weight"][3, 5] = np.nan
    llama_file = write_gguf(tmp_path / "model.gguf", tensors=tensors)
    settings = LlamaSettings(context_tokens=64, memory_bytes=1 << 28)
    with LlamaProcess(llama_file, settings) as model, pytest.raises(LanguageError, match="computes NaN"):
        model.generate(PROMPT, SHORT)


def test_context_is_what_was_asked_for(llama_file: Path) -> None:
    # llama.cpp rounds up to 256; a prompt or an answer does not get more than was asked for.
    with LlamaProcess(llama_file, LlamaSettings(context_tokens=40, memory_bytes=1 << 28)) as model:
        with pytest.raises(UsageError, match="a prompt of 40 tokens leaves no room in a context of 40"):
            model.generate((TokenPart((5,) * 40),), SHORT)
        answer = model.generate((TokenPart((5,) * 30),), GenerationOptions(grammar="root ::= [a-z]+"))
        assert (len(answer.tokens), answer.stop) == (11, "length")


def test_requests_that_do_not_fit_are_refused_and_harm_nothing(
    llama: LlamaProcess, llama_answer: str
) -> None:
    worker = pid_of(llama)
    for prompt, words in (
        ((TokenPart((273,)),), "outside the vocabulary"),
        ((TokenPart((5,) * 3000),), "leaves no room"),
        ((), "has no parts"),
    ):
        with pytest.raises(UsageError, match=words):
            llama.generate(prompt, SHORT)
    with pytest.raises(UsageError, match="3 prompts for 2 sequences"):
        llama.generate_batch([PROMPT] * 3, SHORT)
    assert llama.generate(PROMPT, SHORT).text == llama_answer
    assert pid_of(llama) == worker


def test_settings_that_cannot_be_kept_are_refused(llama_file: Path) -> None:
    with pytest.raises(UsageError, match="trained for 4096"):
        LlamaProcess(llama_file, LlamaSettings(context_tokens=4097))
    with pytest.raises(DeviceError, match="has no GPU"):
        LlamaProcess(llama_file, LlamaSettings(context_tokens=64, gpu_layers=1, memory_bytes=1 << 28))
