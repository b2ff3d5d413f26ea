"""Ask a language model for an instruction about each series; what it writes is read before it counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.bundle import Vocabulary
from runtime.engines.engine import Engine
from runtime.engines.llama.options import Generated, GenerationOptions
from runtime.engines.llama.prompts import Prompt
from runtime.errors import BundleError, ImageError, InstructionError, ZeusEdgeError
from runtime.language.cache import InstructionKey, content_hash, keep, kept
from runtime.language.grammar import sentence_grammar
from runtime.language.instruction import Instruction
from runtime.language.sentence import parse
from runtime.language.template import Template
from runtime.language.views import sheet, views
from runtime.study import Series

__all__ = ["LanguageModel", "OnTrouble", "OnWritten", "Sight", "Subject", "Vision", "Writer", "WriterOptions"]

OnWritten = Callable[[str, Instruction], None]
"""Modality, and what was written about it."""

OnTrouble = Callable[[str], None]
"""Why an instruction is missing, or what else went wrong; no patient data."""


class LanguageModel(Protocol):
    """What is needed of `LlamaProcess`."""

    def generate_batch(
        self, prompts: Sequence[Prompt], options: GenerationOptions | None = None
    ) -> tuple[Generated, ...]:
        """Answer prompts side by side.

        Raises:
            ZeusEdgeError: There is no answer.
        """
        ...


@dataclass(frozen=True)
class Vision:
    """A loaded vision network, the side of its views in pixels, and the SHA-256 of its file."""

    engine: Engine
    size: int
    sha256: str


@dataclass(frozen=True)
class Sight:
    """A language model's own vision network: the side of a view in pixels, and the SHA-256 of its file."""

    size: int
    sha256: str


@dataclass(frozen=True)
class WriterOptions:
    """How a writer writes.

    Attributes:
        vocabulary: Its words.
        template: Its prompt.
        model_sha256: Of the language model's file.
        most_tokens: Of an instruction.
        side_by_side: Prompts that the language model answers at once.
        seed: Of the sampling.
    """

    vocabulary: Vocabulary
    template: Template
    model_sha256: str
    most_tokens: int
    side_by_side: int
    seed: int = 0


@dataclass(frozen=True)
class Subject:
    """A series, and what the rule says about it."""

    series: Series
    rule: Instruction


class Writer:
    """A language model with its eyes, if it has any.

    Without a vision network it is told the rule's facts in words.

    Args:
        model: Loaded.
        vision: Makes visual tokens of views, or says that the model looks at pictures itself; None without.
        options: How it writes.
    """

    def __init__(self, model: LanguageModel, vision: Vision | Sight | None, options: WriterOptions) -> None:
        self._model, self._vision, self._options = model, vision, options
        self._grammar = sentence_grammar(options.vocabulary)

    def write(
        self, subjects: Mapping[str, Subject], until: float, on_written: OnWritten, on_trouble: OnTrouble
    ) -> None:
        """Write about series. Whatever goes wrong is told, not raised.

        Args:
            subjects: By modality.
            until: When nobody wants an answer any more, by `time.monotonic`.
            on_written: Told of each instruction as it comes.
            on_trouble: Told of what went wrong.
        """
        entries = {
            modality: (self._key(subject), content_hash(subject.series.volume))
            for modality, subject in subjects.items()
        }
        missing: list[str] = []
        for modality, entry in entries.items():
            found = kept(*entry, self._options.vocabulary)
            if found is None:
                missing.append(modality)
            else:
                on_written(modality, found)
        step = self._options.side_by_side
        for start in range(0, len(missing), step):
            try:
                asked = missing[start : start + step]
                for modality, instruction in self._asked(asked, subjects, until, on_trouble):
                    on_written(modality, instruction)
                    self._keep(*entries[modality], instruction, on_trouble)
            except ZeusEdgeError as error:
                on_trouble(str(error))
                return

    def _asked(
        self, modalities: Sequence[str], subjects: Mapping[str, Subject], until: float, on_trouble: OnTrouble
    ) -> list[tuple[str, Instruction]]:
        """Ask about some series at once.

        Raises:
            ZeusEdgeError: There is no answer at all.
        """
        options, images = self._options, self._images(modalities, subjects, on_trouble)
        prompts = [
            options.template.filled(self._words(subjects[modality]), image)
            for modality, image in images.items()
        ]
        if not prompts:
            return []
        answers = self._model.generate_batch(
            prompts,
            GenerationOptions(
                grammar=self._grammar,
                seed=options.seed,
                max_tokens=options.most_tokens,
                deadline_s=max(1e-3, until - time.monotonic()),
            ),
        )
        written = []
        for modality, answer in zip(images, answers, strict=True):
            try:
                written.append((modality, self._read(answer)))
            except InstructionError as error:
                on_trouble(f"{modality}: {error}")
        return written

    def _read(self, answer: Generated) -> Instruction:
        """The instruction that an answer is.

        Raises:
            InstructionError: It was cut off, or is none.
        """
        if not answer.is_whole:
            raise InstructionError(f"the language model's sentence was cut off ({answer.stop})")
        statement = parse(answer.text, self._options.vocabulary)
        origin = self._options.model_sha256, self._options.seed
        return Instruction(
            statement, answer.text, "llm", *origin, len(answer.tokens), round(answer.seconds, 4)
        )

    def _images(
        self, modalities: Sequence[str], subjects: Mapping[str, Subject], on_trouble: OnTrouble
    ) -> dict[str, NDArray[np.float32] | NDArray[np.uint8] | None]:
        """Visual tokens of some series, (N, width) each, or sheets of pictures; without what shows nothing.

        Raises:
            BundleError: The network is not what the bundle says.
            DeviceError: The device failed.
        """
        if self._vision is None:
            return dict.fromkeys(modalities)
        pictures = {}
        for modality in modalities:
            try:
                pictures[modality] = views(subjects[modality].series.volume, self._vision.size)
            except ImageError as error:
                on_trouble(f"{modality}: {error}")
        if not pictures:
            return {}
        if isinstance(self._vision, Sight):
            return {modality: sheet(shown) for modality, shown in pictures.items()}
        tokens = self._vision.engine.run({"views": np.stack([*pictures.values()])}).get("tokens")
        if tokens is None or tokens.ndim != 3 or len(tokens) != len(pictures):
            raise BundleError("the vision network gave no tokens (S, N, E); export the bundle again")
        rows = (np.ascontiguousarray(one, np.float32) for one in tokens)
        return dict(zip(pictures, rows, strict=True))

    def _words(self, subject: Subject) -> dict[str, str]:
        """What takes the marks' places: words of the vocabulary alone."""
        vocabulary, said = self._options.vocabulary, subject.rule.statement
        return {
            "modality": vocabulary.modalities[said.modality],
            "instance": " and ".join(f"the {vocabulary.spoken[name]}" for name in said.targets),
            "facts": subject.rule.text,
        }

    def _key(self, subject: Subject) -> InstructionKey:
        """What decides the answer besides the series itself."""
        options = self._options
        prompt = options.template.said(self._words(subject))
        eyes = "" if self._vision is None else self._vision.sha256
        return InstructionKey(
            options.model_sha256, eyes, "\0".join(prompt), self._grammar, options.seed, options.most_tokens
        )

    def _keep(
        self, key: InstructionKey, content: bytes, instruction: Instruction, on_trouble: OnTrouble
    ) -> None:
        try:
            keep(key, content, instruction)
        except OSError as error:
            on_trouble(f"instructions cannot be kept ({error.strerror}); the next time takes as long")
