"""Answer prompts with a loaded model: several side by side, token by token, until something ends them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from runtime.engines.llama.binding import LlamaModel, StoppedError
from runtime.engines.llama.options import Generated, GenerationOptions, StopReason
from runtime.engines.llama.prompt_cache import ComputedPrompt, PromptCache
from runtime.engines.llama.prompts import Prompt
from runtime.engines.llama.sampling import GrammarMask, TokenChooser
from runtime.engines.llama.text_stream import TextStream
from runtime.errors import UsageError

__all__ = ["Answerer", "Halt", "OnToken"]

OnToken = Callable[[int, int, str], None]
"""Number of the prompt, token, and the text that is new; token -1 where only text held back comes."""

Halt = Callable[[], StopReason | None]
"""Why to stop now; None to go on. Asked many times a token."""


@dataclass
class _Answer:
    """An answer that is being made."""

    number: int
    prompt: ComputedPrompt
    chooser: TokenChooser
    stream: TextStream
    tokens: list[int] = field(default_factory=list)
    stop: StopReason | None = None
    first_token_s: float = 0.0
    seconds: float = 0.0

    @property
    def position(self) -> int:
        """Of the last token, which is not computed yet."""
        return self.prompt.positions + len(self.tokens) - 1


@dataclass(frozen=True)
class _Round:
    """What the answers of one request share."""

    model: LlamaModel
    options: GenerationOptions
    on_token: OnToken
    started: float

    def take(self, answer: _Answer, logits: NDArray[np.float32]) -> None:
        """Choose the next token of an answer."""
        token = answer.chooser.choose(logits)
        answer.seconds = time.monotonic() - self.started
        if not answer.tokens:
            answer.first_token_s = answer.seconds
        if token is None:
            self.end(answer, "end")
            return
        answer.tokens.append(token)
        self.on_token(answer.number, token, answer.stream.feed(self.model.piece(token)))
        is_full = answer.prompt.tokens + len(answer.tokens) > self.model.settings.context_tokens
        if answer.stream.is_stopped:
            self.end(answer, "stop_text")
        elif answer.chooser.is_finished:
            self.end(answer, "end")
        elif len(answer.tokens) >= self.options.max_tokens or is_full:
            self.end(answer, "length")

    def end(self, answer: _Answer, stop: StopReason) -> None:
        """Close an answer, if it is open."""
        if answer.stop is None:
            answer.stop = stop
            if rest := answer.stream.finish():
                self.on_token(answer.number, -1, rest)

    def result(self, answer: _Answer) -> Generated:
        """A closed answer."""
        return Generated(
            text=answer.stream.text,
            tokens=tuple(answer.tokens),
            stop=answer.stop or "cancelled",
            prompt_tokens=answer.prompt.tokens,
            prefix_reused_tokens=answer.prompt.reused_tokens,
            first_token_s=answer.first_token_s,
            seconds=answer.seconds,
        )


class Answerer:
    """Answers prompts with one model.

    Args:
        model: The loaded model.
    """

    def __init__(self, model: LlamaModel) -> None:
        self._model = model
        self._cache = PromptCache(model)

    def logits(self, prompt: Prompt, halt: Halt) -> NDArray[np.float32]:
        """The logits (vocabulary,) after a prompt.

        Raises:
            UsageError: The prompt does not fit.
            LanguageError: Nothing was computed.
            StoppedError: `halt` stopped it.
        """
        with self._halting(halt):
            self._cache.compute(self._cache.chunks(prompt), set())
            return self._model.logits()

    def answer(
        self, prompts: tuple[Prompt, ...], options: GenerationOptions, on_token: OnToken, halt: Halt
    ) -> tuple[Generated, ...]:
        """Answer prompts side by side.

        Each prompt is computed alone, so its bits do not depend on the others; then every step computes the
        next token of all answers at once. An error is an error of all; where `halt` stops them, each has what
        it has.

        Raises:
            UsageError: A prompt does not fit, there are too many, or the grammar is wrong.
            LanguageError: Nothing was computed, or no token goes on within the grammar.
        """
        if len(prompts) > self._model.settings.sequences:
            raise UsageError(
                f"{len(prompts)} prompts for {self._model.settings.sequences} sequences; open more"
            )
        this = _Round(self._model, options, on_token, time.monotonic())
        chunks = [self._cache.chunks(prompt) for prompt in prompts]
        answers: list[_Answer] = []
        with ExitStack() as stack:
            stack.enter_context(self._halting(halt))
            choosers = [self._chooser(number, options, stack) for number in range(len(prompts))]
            try:
                for number, prompt in enumerate(chunks):
                    computed = self._cache.compute(prompt, {answer.prompt.sequence for answer in answers})
                    answers.append(
                        _Answer(number, computed, choosers[number], TextStream(options.stop_texts))
                    )
                    this.take(answers[-1], self._model.logits())
                self._go_on(this, answers, halt)
            except StoppedError:
                stop = halt() or "cancelled"
                for number in range(len(answers), len(prompts)):
                    nothing = ComputedPrompt(-1, sum(map(len, chunks[number])), 0, 0)
                    answers.append(_Answer(number, nothing, choosers[number], TextStream(())))
                for answer in answers:
                    this.end(answer, stop)
        return tuple(this.result(answer) for answer in answers)

    def _go_on(self, this: _Round, answers: list[_Answer], halt: Halt) -> None:
        """Step after step until all answers are closed."""
        while still_open := [answer for answer in answers if answer.stop is None]:
            if halt() is not None:
                raise StoppedError
            steps = [(answer.prompt.sequence, answer.tokens[-1], answer.position) for answer in still_open]
            self._model.compute_step(steps)
            for place, answer in enumerate(still_open):
                this.take(answer, self._model.logits(place))

    def _chooser(self, number: int, options: GenerationOptions, stack: ExitStack) -> TokenChooser:
        mask = None
        if options.grammar is not None:
            mask = GrammarMask(self._model, options.grammar)
            stack.callback(mask.close)
        return TokenChooser(self._model, mask, options, number)

    @contextmanager
    def _halting(self, halt: Halt) -> Iterator[None]:
        self._model.should_stop = lambda: halt() is not None
        try:
            yield
        finally:
            self._model.should_stop = lambda: False
