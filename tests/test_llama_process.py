"""The worker may crash, hang or take too long: it costs one answer, in time, and the next one is right."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from runtime.engines.llama.client import LlamaProcess
from runtime.engines.llama.gguf_header import read_header
from runtime.engines.llama.options import GenerationOptions
from runtime.engines.llama.prompts import EmbeddingPart, TextPart
from runtime.errors import DeviceError, LanguageError, UsageError
from tests.processes import PROMPT, SETTINGS, SHORT, pid_of, wait_until_gone
from tests.source_tree import ROOT

LONG = GenerationOptions(
    grammar="root ::= [a-z]{950} [a-z]{950}", temperature=1.0, max_tokens=1900, deadline_s=60
)
"""An answer of seconds."""

SLACK_S = 3.0
"""Beyond a deadline, on a machine that does other things too."""


def test_text_streams_out_as_it_is_made(llama: LlamaProcess) -> None:
    pieces: list[str] = []
    answer = llama.generate(PROMPT, SHORT, lambda number, text: pieces.append(text))
    assert "".join(pieces) == answer.text
    assert len(pieces) >= len(answer.tokens) == 4
    assert answer.stop == "length"
    assert not answer.is_whole
    assert 0 < answer.first_token_s <= answer.seconds


def test_seed_decides_what_chance_does(llama: LlamaProcess) -> None:
    def tokens(seed: int) -> tuple[int, ...]:
        return llama.generate(PROMPT, GenerationOptions(max_tokens=8, temperature=1.0, seed=seed)).tokens

    assert tokens(1) == tokens(1)
    assert tokens(1) != tokens(2)


def test_answer_ends_before_a_text_to_stop_at(llama: LlamaProcess) -> None:
    options = GenerationOptions(grammar='root ::= "yes, no###maybe"', stop_texts=("###", "maybe"))
    pieces: list[str] = []
    answer = llama.generate(PROMPT, options, lambda number, text: pieces.append(text))
    assert (answer.text, answer.stop, answer.is_whole) == ("yes, no", "stop_text", True)
    assert "".join(pieces) == "yes, no"


def test_killed_worker_costs_one_answer(llama: LlamaProcess, llama_answer: str) -> None:
    victim = pid_of(llama)
    started = time.monotonic()
    with pytest.raises(LanguageError, match="died of SIGKILL; ask again"):
        llama.generate(PROMPT, LONG, lambda number, text: os.kill(victim, signal.SIGKILL))
    assert time.monotonic() - started < LONG.deadline_s / 4
    assert llama.generate(PROMPT, SHORT).text == llama_answer
    assert pid_of(llama) != victim


def test_hanging_worker_is_ended_at_the_deadline(llama: LlamaProcess, llama_answer: str) -> None:
    victim = pid_of(llama)
    started = time.monotonic()
    options = GenerationOptions(grammar=LONG.grammar, max_tokens=1900, deadline_s=0.7)
    with pytest.raises(LanguageError, match="no answer in time"):
        llama.generate(PROMPT, options, lambda number, text: os.kill(victim, signal.SIGSTOP))
    assert 0.7 <= time.monotonic() - started < 0.7 + SLACK_S
    assert wait_until_gone(victim)
    assert llama.generate(PROMPT, SHORT).text == llama_answer


def test_worker_that_reads_nothing_is_ended_at_the_deadline(llama: LlamaProcess, llama_answer: str) -> None:
    rows = EmbeddingPart(np.zeros((2000, 64), np.float32))  # more than a pipe holds
    os.kill(pid_of(llama), signal.SIGSTOP)
    with pytest.raises(LanguageError, match="no answer in time"):
        llama.generate((rows,), GenerationOptions(deadline_s=0.3))
    assert llama.generate(PROMPT, SHORT).text == llama_answer


def test_deadline_gives_what_there_is(llama: LlamaProcess, llama_answer: str) -> None:
    worker, started = pid_of(llama), time.monotonic()
    options = GenerationOptions(grammar=LONG.grammar, max_tokens=1900, deadline_s=0.2, temperature=1.0)
    answer = llama.generate(PROMPT, options)
    assert time.monotonic() - started < 0.2 + SLACK_S
    assert (answer.stop, answer.is_whole) == ("deadline", False)
    assert 0 < len(answer.tokens) < 1900
    assert llama.generate(PROMPT, SHORT).text == llama_answer
    assert pid_of(llama) == worker


def test_deadline_before_the_first_token_gives_an_empty_answer(
    llama: LlamaProcess, llama_answer: str
) -> None:
    worker = pid_of(llama)
    question = (TextPart("what is in the picture " * 60),)
    answer = llama.generate(question, GenerationOptions(deadline_s=1e-6))
    assert (answer.text, answer.tokens, answer.stop) == ("", (), "deadline")
    assert answer.prompt_tokens > 1000
    with pytest.raises(LanguageError, match="stopped before there were logits"):
        llama.logits(question, deadline_s=1e-6)
    assert llama.generate(PROMPT, SHORT).text == llama_answer
    assert pid_of(llama) == worker


@pytest.mark.parametrize("thread", ["same", "other"])
def test_cancelled_answer_is_cut_off(thread: str, llama: LlamaProcess, llama_answer: str) -> None:
    worker, seen = pid_of(llama), []

    def on_token(number: int, text: str) -> None:
        seen.append(text)
        if len(seen) == 3:
            if thread == "same":
                llama.cancel()
            else:
                canceller = threading.Thread(target=llama.cancel)
                canceller.start()
                canceller.join()

    answer = llama.generate(PROMPT, LONG, on_token)
    assert (answer.stop, answer.is_whole) == ("cancelled", False)
    assert 3 <= len(answer.tokens) < 1900
    assert llama.generate(PROMPT, SHORT).text == llama_answer
    assert pid_of(llama) == worker


def test_cancellation_when_nothing_runs_is_forgotten(llama: LlamaProcess, llama_answer: str) -> None:
    for _ in range(3):
        llama.cancel()
    assert llama.generate(PROMPT, SHORT).text == llama_answer


def test_error_of_a_listener_comes_through(llama: LlamaProcess, llama_answer: str) -> None:
    worker = pid_of(llama)

    def on_token(number: int, text: str) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        llama.generate(PROMPT, LONG, on_token)
    assert llama.generate(PROMPT, SHORT).text == llama_answer
    assert pid_of(llama) == worker


def test_interrupted_caller_leaves_no_answer_for_the_next(llama: LlamaProcess, llama_answer: str) -> None:
    def on_token(number: int, text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        llama.generate(PROMPT, LONG, on_token)
    assert llama.generate(PROMPT, SHORT).text == llama_answer


def test_second_thread_waits_and_says_so_when_it_is_too_long(llama: LlamaProcess, llama_answer: str) -> None:
    answers: list[str] = []

    def on_token(number: int, text: str) -> None:
        if not answers:
            second = threading.Thread(target=ask)
            second.start()
            second.join()
            llama.cancel()

    def ask() -> None:
        try:
            llama.generate(PROMPT, GenerationOptions(deadline_s=0.1))
        except LanguageError as error:
            answers.append(str(error))

    llama.generate(PROMPT, LONG, on_token)
    assert ["busy" in answer for answer in answers] == [True]
    assert llama.generate(PROMPT, SHORT).text == llama_answer


def test_restarts_pause_after_crashes_in_a_row(llama_file: Path) -> None:
    with LlamaProcess(llama_file, SETTINGS) as model:

        def kill(number: int, text: str) -> None:
            os.kill(pid_of(model), signal.SIGKILL)

        for _ in range(2):
            with pytest.raises(LanguageError, match="SIGKILL"):
                model.generate(PROMPT, LONG, kill)
        with pytest.raises(LanguageError, match=r"died 2 times in a row; it is started again in 0\.\d s"):
            model.generate(PROMPT, SHORT)
        time.sleep(0.6)
        assert len(model.generate(PROMPT, SHORT).tokens) == 4


def test_worker_ended_between_requests_is_replaced(llama: LlamaProcess, llama_answer: str) -> None:
    os.kill(pid_of(llama), signal.SIGKILL)
    assert wait_until_gone(pid_of(llama))
    assert llama.generate(PROMPT, SHORT).text == llama_answer


@pytest.mark.parametrize("holder", [False, True], ids=["alone", "while a fork holds the pipes"])
def test_worker_ends_with_its_parent(holder: bool, llama_file: Path) -> None:
    program = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from runtime.engines.llama.client import LlamaProcess\n"
        "from runtime.engines.llama.options import LlamaSettings\n"
        "model = LlamaProcess(Path(sys.argv[1]), LlamaSettings(context_tokens=64, memory_bytes=1 << 28))\n"
        "child = os.fork() if sys.argv[2] == 'True' else 0\n"
        "if sys.argv[2] == 'True' and child == 0:\n"
        "    os.close(1); time.sleep(30); os._exit(0)\n"
        "print(model.pid, child, flush=True)\n"
        "time.sleep(30)\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", program, str(llama_file), str(holder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        worker, child = map(int, parent.stdout.readline().split())
        assert not Path(f"/proc/{worker}/stat").read_text(encoding="ascii").endswith("Z")
        parent.kill()
    try:
        assert wait_until_gone(worker)
    finally:
        if child:
            os.kill(child, signal.SIGKILL)


def test_closed_model_says_so(llama_file: Path) -> None:
    model = LlamaProcess(llama_file, SETTINGS)
    worker = pid_of(model)
    model.close()
    model.close()
    assert wait_until_gone(worker)
    with pytest.raises(UsageError, match="is closed"):
        model.generate(PROMPT, SHORT)


def test_without_the_library_only_this_is_missing(llama_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    with pytest.raises(DeviceError, match=r'not installed; pip install "zeus-edge\[llm\]"'):
        LlamaProcess(llama_file, SETTINGS)
    assert read_header(llama_file).architecture == "llama"


def test_description_says_what_runs(llama: LlamaProcess) -> None:
    description = llama.description
    assert (description.name, description.device, description.precision) == ("llama.cpp", "cpu", "F32")
    assert description.version == "0.3.36"
    assert 0 < llama.peak_bytes < SETTINGS.memory_bytes
