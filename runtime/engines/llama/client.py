"""A language model in a process of its own: what happens there costs one answer, in time, and is reported."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from runtime.engines.engine import EngineDescription
from runtime.engines.llama.gguf_header import GgufHeader
from runtime.engines.llama.grammar import parse_grammar
from runtime.engines.llama.grammar_match import GrammarState, begin
from runtime.engines.llama.messages import (
    Cancel,
    Done,
    Event,
    Failed,
    Generate,
    Logits,
    LogitsReady,
    TokenReady,
)
from runtime.engines.llama.native_library import find_library, find_vision_library, library_version
from runtime.engines.llama.options import Generated, GenerationOptions, LlamaSettings
from runtime.engines.llama.process import WorkerDiedError, WorkerSlowError
from runtime.engines.llama.prompts import EmbeddingPart, Prompt
from runtime.engines.llama.supervision import Supervisor
from runtime.errors import BundleError, DeviceError, LanguageError, UsageError

__all__ = ["LlamaProcess", "OnToken"]

OnToken = Callable[[int, str], None]
"""Number of the prompt, and text that is new. Called in the thread that waits for the answer."""

_GRACE_S = 0.5
"""What a worker has, after a deadline or a cancellation, to say what it has; then it is ended."""

_ERRORS = {"bundle": BundleError, "device": DeviceError, "language": LanguageError, "usage": UsageError}


class LlamaProcess:
    """A language model, loaded in a worker process. A context manager that ends the process.

    One request at a time; a second thread waits. `cancel` may be called from any thread.

    Args:
        model: A `.gguf` file; its header is checked before llama.cpp sees it.
        settings: What the worker may use.
        load_deadline_s: Seconds to load the model, at the start and after a crash.
        projector: A `.gguf` file that lets the model see ("mmproj"), checked alike; None without.

    Raises:
        BundleError: A file is missing, damaged or not supported, or both do not fit each other.
        DeviceError: llama.cpp or its vision code is not installed, or memory does not suffice.
        UsageError: The context is longer than the model's.
    """

    def __init__(
        self,
        model: Path,
        settings: LlamaSettings | None = None,
        load_deadline_s: float = 120.0,
        projector: Path | None = None,
    ) -> None:
        find_library() if projector is None else find_vision_library()
        self._lock = threading.Lock()
        self._number = 0
        self._is_closed = False
        self._wake_source, self._wake_sink = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self._supervisor = Supervisor(model, settings or LlamaSettings(), load_deadline_s, projector)
        except BaseException:
            self._close_pipe()
            raise

    @property
    def header(self) -> GgufHeader:
        """What the model's file says."""
        return self._supervisor.header

    @property
    def description(self) -> EngineDescription:
        """What runs, for the report."""
        layers = self._supervisor.settings.gpu_layers
        reason = f"{layers} layers on a GPU were asked for" if layers else "no layers on a GPU were asked for"
        where = "gpu" if layers else "cpu"
        return EngineDescription("llama.cpp", where, self.header.precision, library_version(), reason)

    @property
    def pid(self) -> int | None:
        """The worker's number; None while there is none."""
        return self._supervisor.pid

    @property
    def peak_bytes(self) -> int:
        """The most memory that the worker had, as it last said."""
        return self._supervisor.peak_bytes

    def generate(
        self, prompt: Prompt, options: GenerationOptions | None = None, on_token: OnToken | None = None
    ) -> Generated:
        """Answer a prompt.

        Args:
            prompt: Words, tokens and visual tokens in a row.
            options: How.
            on_token: Told of every piece of text as it comes. What it raises cancels the answer.

        Returns:
            The answer; `is_whole` is false where a limit, the deadline or `cancel` cut it off.

        Raises:
            UsageError: The prompt does not fit, or the grammar is wrong; nothing is generated.
            LanguageError: The worker died, hung or could not go on. It is started again.
            BundleError: The model's file changed since it was checked.
        """
        return self.generate_batch((prompt,), options, on_token)[0]

    def generate_batch(
        self,
        prompts: Sequence[Prompt],
        options: GenerationOptions | None = None,
        on_token: OnToken | None = None,
    ) -> tuple[Generated, ...]:
        """Answer prompts side by side, at most as many as there are sequences; otherwise as `generate`.

        An error is one of all of them.
        """
        options = options or GenerationOptions()
        start = None if options.grammar is None else begin(parse_grammar(options.grammar))
        for prompt in prompts:
            self._check(prompt)
        deadline = time.monotonic() + options.deadline_s
        with self._held(deadline):
            left = replace(options, deadline_s=max(1e-3, deadline - time.monotonic()))
            event = self._ask(Generate(self._number, tuple(prompts), left), deadline, on_token)
            if not isinstance(event, Done) or len(event.answers) != len(prompts):
                self._supervisor.fail("the language model's process answered something else")
            if start is not None and not all(_is_within(start, answer) for answer in event.answers):
                self._supervisor.fail("the language model's process left the grammar")
            self._supervisor.peak_bytes = event.peak_bytes
            return event.answers

    def logits(self, prompt: Prompt, deadline_s: float = 30.0) -> NDArray[np.float32]:
        """The logits (vocabulary,) after a prompt.

        Raises:
            UsageError, LanguageError, BundleError: As for `generate`.
        """
        self._check(prompt)
        deadline = time.monotonic() + deadline_s
        with self._held(deadline):
            left = max(1e-3, deadline - time.monotonic())
            event = self._ask(Logits(self._number, prompt, left), deadline, None)
            if not isinstance(event, LogitsReady) or event.logits.shape != (self.header.shapes.vocabulary,):
                self._supervisor.fail("the language model's process answered something else")
            return event.logits

    def cancel(self) -> None:
        """Cut off the answer that is being made, if one is; its thread gets what there is."""
        with suppress(BlockingIOError):  # the pipe is full of earlier calls, which do as well
            os.write(self._wake_sink, b"!")

    def close(self) -> None:
        """End the worker; wait for the answer that is being made, if one is."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        self._supervisor.close()
        self._close_pipe()

    def __enter__(self) -> LlamaProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _close_pipe(self) -> None:
        for end in (self._wake_source, self._wake_sink):
            with suppress(OSError):
                os.close(end)

    def _check(self, prompt: Prompt) -> None:
        width = self.header.shapes.width
        for part in prompt:
            if isinstance(part, EmbeddingPart) and part.rows.shape[1] != width:
                raise UsageError(
                    f"embeddings are {part.rows.shape[1]} wide, but the language model is {width}; "
                    "use the projection that was trained for it"
                )

    @contextmanager
    def _held(self, deadline: float) -> Iterator[None]:
        """Alone with the worker, which is ready; cancellations from before are forgotten."""
        if not self._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise LanguageError("the language model is busy with another request; allow more time")
        try:
            if self._is_closed:
                raise UsageError("the language model is closed; open it again")
            self._supervisor.wait_ready(deadline)
            self._number += 1
            self._drain()
            yield
        finally:
            self._lock.release()

    def _drain(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self._wake_source, 4096):
                pass

    def _ask(self, request: Generate | Logits, deadline: float, on_token: OnToken | None) -> Event:
        """Send a request and wait for the event that ends it."""
        try:
            self._supervisor.worker.send(request, deadline + _GRACE_S)
            event, trouble = self._await(request, deadline + _GRACE_S, on_token)
        except WorkerDiedError as error:
            self._supervisor.fail(f"the language model's process gave no answer: {error}", error)
        except WorkerSlowError as error:
            self._supervisor.fail("the language model gave no answer in time and was ended", error)
        except BaseException:  # the worker is in the middle of something that nobody waits for any more
            self._supervisor.end_worker()
            raise
        self._supervisor.crashes = 0
        if trouble is not None:
            raise trouble
        if isinstance(event, Failed):
            raise _ERRORS[event.kind](event.message)
        return event

    def _await(
        self, request: Generate | Logits, until: float, on_token: OnToken | None
    ) -> tuple[Event, Exception | None]:
        """The event that ends a request, and what the listener raised; that cancels what is left of it."""
        number, sequences = request.number, len(request.prompts) if isinstance(request, Generate) else 0
        wake: int | None = self._wake_source
        trouble: Exception | None = None
        while True:
            event = self._supervisor.worker.receive(until, wake)
            if isinstance(event, TokenReady) and event.number == number and 0 <= event.sequence < sequences:
                if on_token is None:
                    continue
                try:
                    on_token(event.sequence, event.text)
                    continue
                except Exception as error:
                    trouble, on_token = error, None
            elif event is not None:
                if isinstance(event, TokenReady) or getattr(event, "number", None) != number:
                    raise WorkerDiedError("it answered another question")
                return event, trouble
            wake, until = None, min(until, time.monotonic() + _GRACE_S)
            self._supervisor.worker.send(Cancel(number), until)


def _is_within(start: GrammarState, answer: Generated) -> bool:
    """Whether an answer is a sentence of the grammar or, where it was cut off, the beginning of one."""
    state = start.after(answer.text.removesuffix("\ufffd").encode())
    return state is not None and (state.may_end or answer.stop != "end")
