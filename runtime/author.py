"""Who writes a study's instructions: a language model beside the mask's work, or the rule in its place.

What a language model needs is imported when one is chosen: starting without one should cost nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.bundle import Bundle, WriterModel, file_sha256
from runtime.engines.choose import Device, open_engine
from runtime.engines.shapes import input_ranges
from runtime.errors import DeviceError, UsageError, ZeusEdgeError
from runtime.language.draft import Draft
from runtime.language.rules import rule_instruction
from runtime.language.vocabulary import vocabulary_of
from runtime.study import Series

if TYPE_CHECKING:
    from runtime.engines.llama.client import LlamaProcess
    from runtime.engines.llama.options import LlamaSettings
    from runtime.engines.llama.projector import ProjectorHeader
    from runtime.language.writer import Vision, Writer

__all__ = ["Author", "Choice", "choose_writer"]

_CONTEXT_TOKENS = 2048
_MOST_TOKENS = 256
"""Of an instruction, where no bundle says."""
_LEAST_VIEW = 32
"""Pixels along a side of a view."""
_CLASS_DOUBT = "llama.cpp computes its class token last and not first, so it may see badly"


@dataclass(frozen=True)
class Choice:
    """Which language model writes.

    Attributes:
        model: Its file; None where the rule writes alone.
        reason: Why, for the report.
        parts: The bundle's vision network and prompt, if the model is the bundle's.
        projector: Of the file that lets a model of a path see; None where it does not.
    """

    model: Path | None
    reason: str
    parts: WriterModel | None = None
    projector: ProjectorHeader | None = None


def choose_writer(llm: Path | str, bundle: Bundle, mmproj: Path | str | None = None) -> Choice:
    """Find the language model that was asked for.

    Args:
        llm: "auto": the bundle's, if it has one and llama-cpp-python is installed. "none": no language
            model. Else a GGUF file.
        bundle: May bring a writer.
        mmproj: The GGUF file of that model's vision projector. Without one, the model sees no image and is
            told the rule's facts in words.

    Raises:
        UsageError: There is no such file, or a projector without a model of a path.
        DeviceError: A file was named, and llama-cpp-python or its vision code is not installed.
        BundleError: A file was named, and is no usable language model or projector, or they do not fit.
    """
    if mmproj is not None and llm in ("none", "auto"):
        raise UsageError(f"--mmproj belongs to a language model; name that, too: --llm PATH.gguf, not {llm}")
    if llm == "none":
        return Choice(None, "no language model was asked for")
    if llm == "auto":
        return _bundles_own(bundle)
    from runtime.engines.llama.gguf_header import read_header
    from runtime.engines.llama.native_library import find_library

    path = Path(llm)
    if not path.is_file():
        raise UsageError(f"{path} is not a file; use auto, none or the path of a GGUF file for --llm")
    find_library()
    header = read_header(path)
    if mmproj is None:
        return Choice(path, f"{path.name} was asked for; it sees no image and is told what the rule knows")
    from runtime.engines.llama.native_library import find_vision_library
    from runtime.engines.llama.projector import read_projector

    seeing = Path(mmproj)
    if not seeing.is_file():
        raise UsageError(f"{seeing} is not a file; give the path of a GGUF file for --mmproj")
    find_vision_library()
    projector = read_projector(seeing)
    projector.check_width(header)
    doubt = f"; {_CLASS_DOUBT}" if projector.has_class_token else ""
    return Choice(path, f"{path.name} was asked for and sees by {seeing.name}{doubt}", projector=projector)


def _bundles_own(bundle: Bundle) -> Choice:
    """The bundle's language model, or why not."""
    parts = bundle.manifest.writer
    if parts is None:
        return Choice(None, f"{bundle.identity.name} has no writer")
    from runtime.engines.llama.native_library import find_library

    try:
        find_library()
    except DeviceError as error:
        return Choice(None, str(error))
    return Choice(bundle.path(parts.model), f"{parts.model} of {bundle.identity.name}", parts)


class Author:
    """Writes instructions of studies, one after the other.

    A language model is loaded and asked in a thread of its own, and its worker is a process of its own:
    nothing that happens there stops or fails a study.

    Args:
        llm: See `choose_writer`.
        bundle: Has the vocabulary, and perhaps a writer.
        device: Of the vision network.
        threads: CPU threads of a language model that was named; the bundle's has one.
        deadline_s: Seconds from the beginning of a study to when the rule answers.
        mmproj: See `choose_writer`.

    Raises:
        ZeusEdgeError: See `choose_writer`.
        UsageError: The deadline is not within a day.
    """

    def __init__(
        self,
        llm: Path | str,
        bundle: Bundle,
        device: Device,
        threads: int,
        deadline_s: float,
        mmproj: Path | str | None = None,
    ) -> None:
        if not 0 < deadline_s <= 86400:
            raise UsageError(f"the language model's deadline is {deadline_s} s, not within a day")
        self.choice = choose_writer(llm, bundle, mmproj)
        self._bundle, self._device, self._threads = bundle, device, threads
        self._deadline_s = deadline_s
        self._model: LlamaProcess | None = None
        self._vision: Vision | None = None
        self._pool = ThreadPoolExecutor(1, "zeus-edge-write")
        # Loads while the first study is read.
        self._writer = None if self.choice.model is None else self._pool.submit(self._open, self.choice.model)

    def begin(self, channels: Mapping[str, Series], asked: Collection[str] | None) -> Draft:
        """Begin to write about a study.

        Args:
            channels: Series by modality.
            asked: Structures that may be asked for; None where all may.
        """
        draft = Draft(channels, self._bundle, time.monotonic() + self._deadline_s)
        if self._writer is not None:
            draft.start(self._pool.submit(self._write, draft, asked))
        return draft

    def close(self) -> None:
        """End the language model, whatever it is doing."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._model is not None:
            self._model.cancel()
        self._pool.shutdown(wait=True)
        if self._model is not None:
            self._model.close()
        if self._vision is not None:
            self._vision.engine.__exit__(None, None, None)

    def _write(self, draft: Draft, asked: Collection[str] | None) -> None:
        """Write about every series of a draft; in the thread."""
        from runtime.language.writer import Subject

        if self._writer is None:
            return
        try:
            vocabulary = vocabulary_of(self._bundle.manifest)
            subjects = {
                modality: Subject(series, rule_instruction(series, vocabulary, asked))
                for modality, series in draft.channels.items()
            }
            self._writer.result().write(subjects, draft.until, draft.on_written, draft.on_trouble)
        except ZeusEdgeError as error:
            draft.on_trouble(f"no language model: {error}")
        except Exception as error:  # a study never fails for its words; the text may hold anything
            draft.on_trouble(f"the language model's branch failed ({type(error).__name__}); please report it")

    def _open(self, path: Path) -> Writer:
        """Load the language model and the vision network; in the thread."""
        from runtime.engines.llama.client import LlamaProcess
        from runtime.language.template import (
            IMAGE,
            INSTRUCT,
            INSTRUCT_MARKS,
            LOOK,
            LOOK_MARKS,
            read_template,
        )
        from runtime.language.writer import Sight, Vision, Writer, WriterOptions

        parts, bundle, projector = self.choice.parts, self._bundle, self.choice.projector
        most_tokens, threads, sight = _MOST_TOKENS, self._threads, None
        if parts is not None:
            template = read_template(bundle.path(parts.prompt), (IMAGE,))
            most_tokens, threads = parts.most_tokens, 1
            hashes = {entry.path: entry.sha256 for entry in bundle.manifest.files}
            sha256 = hashes[parts.model]
            vision = parts.vision
            engine = open_engine(
                bundle.path(vision.file),
                self._device,
                1,
                precision=vision.precision,
                inputs=input_ranges(bundle.manifest, vision),
            )
            self._vision = Vision(engine, vision.inputs[0].shape[2], hashes[vision.file])
        elif projector is not None:
            template, sha256 = read_template(LOOK, LOOK_MARKS), file_sha256(path)
            sight = Sight(_view_side(projector), file_sha256(projector.path))
        else:
            template, sha256 = read_template(INSTRUCT, INSTRUCT_MARKS), file_sha256(path)
        settings = _settings(path, threads, len(bundle.manifest.channels), projector)
        self._model = LlamaProcess(path, settings, projector=None if projector is None else projector.path)
        vocabulary = vocabulary_of(bundle.manifest)
        options = WriterOptions(vocabulary, template, sha256, most_tokens, settings.sequences)
        return Writer(self._model, sight or self._vision, options)


def _view_side(projector: ProjectorHeader) -> int:
    """Pixels along a side of a view: a sheet of them is about as large as what the projector takes."""
    from runtime.language.views import SHEET

    return max(_LEAST_VIEW, projector.image_side // SHEET)


def _settings(path: Path, threads: int, wanted: int, projector: ProjectorHeader | None) -> LlamaSettings:
    """As many prompts side by side as fit into half of the machine's memory."""
    from runtime.engines.llama.gguf_header import read_header
    from runtime.engines.llama.options import LlamaSettings

    header = read_header(path)
    tokens = 0 if projector is None else 2 * projector.image_tokens  # of other sizes there may be more
    context = min(header.context_tokens, _CONTEXT_TOKENS + tokens)
    memory = max(1 << 28, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    weights = 0 if projector is None else projector.tensor_bytes
    sequences = wanted
    while sequences > 1 and 2 * (header.least_bytes(context, sequences, "float16") + weights) > memory:
        sequences -= 1
    return LlamaSettings(context_tokens=context, sequences=sequences, threads=threads, memory_bytes=memory)
