"""The Python face: a model stays loaded, studies go in, results come out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from runtime.answer import Answer, Kept, answer, keep
from runtime.author import Author
from runtime.bundle import Bundle, Instructions, Network, open_bundle
from runtime.engines.choose import Device as DeviceName
from runtime.engines.choose import open_engine
from runtime.engines.engine import Engine
from runtime.errors import ImageError, InstructionError, UsageError
from runtime.kernels import Kernels, open_kernels
from runtime.language.draft import Draft
from runtime.language.text import TextReader, check_texts
from runtime.pipeline import Device, Progress, align_study, encode_study, run
from runtime.prompt import Plan, make_plan, plan_written, read_prompts
from runtime.report import Clock
from runtime.result import Result, asked_labels
from runtime.stages.channels import choose_channels
from runtime.structure import Structure
from runtime.study import Modality, Study
from runtime.summary import Ran, language_report, summarise
from runtime.trust.network_files import network_file
from runtime.trust.running import Running, choose_running

__all__ = ["Session"]


def _quiet(stage: str, share: float) -> None:
    """Show nothing."""


class Session:
    """A loaded model.

        with Session() as session:
            result = session.segment("study/")
            result.save("out/")

    A bundle with instructions keeps its last study encoded, so that what is asked next costs a fraction:

            lesion = session.segment(instruction="outline the tumour")

    It is freed when the next study comes or the session closes. Not for several threads at once.

    Args:
        bundle: Folder of a model bundle; the shipped `zeus-nano-head` when absent.
        device: "auto" (the fastest that the bundle's passport allows here, else the reference: ONNX Runtime
            on the CPU), "cpu" (the reference) or "cuda".
        threads: CPU threads; 0 takes every usable CPU.
        llm: What writes instructions: "auto" (the bundle's writer, if there is one that can run), "none" (the
            rule alone) or a GGUF file.
        llm_deadline_s: Seconds from the beginning of a study to when the rule answers. The mask waits for
            nothing; the report waits until then.
        mmproj: The GGUF file that lets the language model of a path see; without it, that model is told in
            words what the rule knows.
        unqualified: Run another device without a passport; every output says so.
        running: What runs the networks, chosen before: to qualify it.

    Raises:
        BundleError: The bundle, or the language model that was named, is damaged.
        DeviceError: A language model was named, and llama-cpp-python (or, for `mmproj`, its vision code) is
            not installed.
        UsageError: `device`, `threads`, `llm` or `mmproj` is not one of the above.
    """

    def __init__(
        self,
        bundle: Path | str | None = None,
        device: DeviceName = "auto",
        threads: int = 0,
        llm: Path | str = "auto",
        llm_deadline_s: float = 10.0,
        mmproj: Path | str | None = None,
        unqualified: bool = False,
        running: Running | None = None,
    ) -> None:
        if device not in ("auto", "cpu", "cuda"):
            raise UsageError(f"device is {device!r}; use auto, cpu or cuda")
        self._bundle = open_bundle(bundle)
        self._kernels: Kernels = open_kernels("cpu", threads)
        self._author = Author(llm, self._bundle, device, self._kernels.threads, llm_deadline_s, mmproj)
        self._draft: Draft | None = None
        self._pool = ThreadPoolExecutor(1, "zeus-edge-load")
        # Networks load while the first study is read; a failure shows at first use.
        self._closed = False
        self._running = self._pool.submit(
            lambda: running or choose_running(self._bundle, device, unqualified)
        )
        self._engine = self._load("encoder")
        self._decoder: Future[Engine] | None = None
        self._text: Future[Engine] | None = None
        self._reader: TextReader | None = None
        self._kept: Kept | None = None
        if given := self._bundle.manifest.instructions:
            self._decoder, self._text = self._load("decoder"), self._load_text(given.text.network)

    def _load(self, role: str) -> Future[Engine]:
        return self._pool.submit(lambda: self._running.result().open(role, self._kernels.threads))

    def _load_text(self, network: Network) -> Future[Engine]:
        """On the CPU: what is asked for depends on no device."""
        file = network_file(self._bundle, network)
        threads = self._kernels.threads
        return self._pool.submit(open_engine, file.path, "cpu", threads, file.weights, file.precision)

    @property
    def bundle(self) -> Bundle:
        """The loaded bundle."""
        return self._bundle

    def segment(
        self,
        study: str | Path | Sequence[str | Path] | None = None,
        targets: Sequence[str] | None = None,
        modalities: Mapping[str, Modality] | None = None,
        progress: Progress = _quiet,
        instruction: str | Sequence[str] | None = None,
    ) -> Result:
        """Segment one study.

        Args:
            study: A folder, archive, DICOM files, or NIfTI files as "T1=a.nii.gz". Absent: the study of
                the call before, which a bundle with instructions keeps encoded.
            targets: Names of structures (a name alone is one of them); all the bundle knows when neither
                these nor an instruction are given.
            modalities: SeriesInstanceUID to modality, where the tags mislead.
            progress: Told the stage and its finished share.
            instruction: What to segment, in words, or several of that. The result holds what they ask for;
                with `targets` it holds those, and instructions must agree with them. See `InstructionReport`.

        Raises:
            UsageError: A path does not exist, no study is given and none is kept, or the session is closed.
            ImageError: The study cannot be read or segmented.
            BundleError: A network cannot be loaded.
            InstructionError: The bundle does not know a target or takes no instructions, none is asked for,
                or an instruction is empty, unclear, or contradicts the targets.
            DeviceError: The device is not there or failed.
        """
        if self._closed:
            raise UsageError("this session is closed; make a new one")
        structures = None if targets is None else self._structures(targets)
        texts = () if instruction is None else self._texts(instruction)
        asked = None if structures is None else self._bundle.covered(structures)
        clock = Clock()
        if study is None:
            if self._kept is None or self._draft is None or modalities:
                why = "modalities are for one" if self._kept else "no study is kept from before"
                raise UsageError(f"give a study: {why}")
            progress("answer", 0.0)
            plan = self._plan(texts, structures, self._kept.present, clock)
            return self._answer(self._kept, self._draft, plan, asked, clock)
        self._kept = self._draft = (
            None  # before the next one takes memory; after a failure nothing of it is left
        )
        found = _read(study, modalities, clock, progress)
        draft = self._author.begin(choose_channels(found, self._bundle.manifest).channels, asked)
        with clock.stage("load"):
            device = self._loaded()
        if self._bundle.manifest.instructions is None:
            made = run(found, self._bundle, device, clock, progress)
            plan = Plan(structures or self._bundle.manifest.structures)
            return self._result(Answer(made), draft, plan, asked, clock)
        aligned = align_study(found, self._bundle, clock, progress)
        plan = self._plan(texts, structures, aligned.present(self._bundle.manifest), clock)
        encoded = encode_study(aligned, self._bundle, device, clock, progress)
        self._kept, self._draft = keep(encoded, self._bundle, device, clock), draft
        return self._answer(self._kept, draft, plan, asked, clock)

    def close(self) -> None:
        """Free the networks and the study that was kept; a second call does nothing."""
        if self._closed:
            return
        self._closed, self._kept, self._draft = True, None, None
        self._author.close()
        self._pool.shutdown(wait=True, cancel_futures=True)
        for engine in (self._engine, self._decoder, self._text):
            if engine and engine.done() and not engine.cancelled() and engine.exception() is None:
                engine.result().__exit__(None, None, None)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _structures(self, targets: Sequence[str]) -> tuple[Structure, ...]:
        known = self._bundle.manifest.structures
        targets = (targets,) if isinstance(targets, str) else targets
        names = [structure.name for structure in known]
        if not targets:
            raise InstructionError(f"no target is asked for; name some of {', '.join(names)}")
        for target in targets:
            if target not in names:
                raise InstructionError(
                    f"{self._bundle.identity.name} has no target {target!r}; it has {', '.join(names)}"
                )
        return tuple(structure for structure in known if structure.name in targets)

    def _texts(self, instruction: str | Sequence[str]) -> tuple[str, ...]:
        if self._bundle.manifest.instructions is None:
            raise InstructionError(
                f"{self._bundle.identity.name} takes no instructions; name structures with --targets "
                f"(targets=…), some of {', '.join(item.name for item in self._bundle.manifest.structures)}"
            )
        return check_texts(instruction)

    def _plan(
        self,
        texts: tuple[str, ...],
        targets: tuple[Structure, ...] | None,
        present: NDArray[np.bool_],
        clock: Clock,
    ) -> Plan:
        """What is asked for; before the study is encoded, since a text may be refused."""
        given = self._bundle.manifest.instructions
        if not texts or given is None or self._text is None:
            return Plan(self._bundle.manifest.structures if targets is None else targets)
        with clock.stage("instruct"):
            prompts = read_prompts(
                texts, present, self._bundle, self._text_reader(given), self._text.result()
            )
            return make_plan(prompts, targets, self._bundle)

    def _plan_written(
        self, plan: Plan, draft: Draft, asked: frozenset[str] | None, present: NDArray[np.bool_]
    ) -> Plan:
        """Let a language model ask, where it has written by now and the rule agrees; a person goes first."""
        given = self._bundle.manifest.instructions
        names = draft.written_targets(asked)
        if plan.prompts or given is None or self._text is None or not names:
            return plan
        engine = self._text.result()
        return plan_written(plan, names, present, self._bundle, self._text_reader(given), engine)

    def _text_reader(self, given: Instructions) -> TextReader:
        if self._reader is None:
            self._reader = TextReader(self._bundle.path(given.text.tokenizer), given.text.most_tokens)
        return self._reader

    def _loaded(self) -> Device:
        decoder = None if self._decoder is None else self._decoder.result()
        return Device(self._engine.result(), self._kernels, decoder)

    def _answer(
        self, kept: Kept, draft: Draft, plan: Plan, asked: frozenset[str] | None, clock: Clock
    ) -> Result:
        with clock.stage("instruct"):
            plan = self._plan_written(plan, draft, asked, kept.present)
        answered = answer(kept, plan, self._bundle, self._loaded(), clock)
        return self._result(answered, draft, plan, asked, clock)

    def _result(
        self, answered: Answer, draft: Draft, plan: Plan, asked: frozenset[str] | None, clock: Clock
    ) -> Result:
        made, structures = answered.segmented, plan.structures
        chosen = tuple(item for item in made.measurements if item.structure in structures)
        labels = asked_labels(made, structures)
        with clock.stage("write"):
            settled = draft.settle(made.labels, asked)
        running = self._running.result()
        warnings = (*running.warnings, *made.warnings, *settled.warnings)
        made = dataclasses.replace(made, warnings=warnings)
        written = language_report(self._author.choice, settled, plan.written)
        clock.seconds["total"] = clock.total()
        described = self._engine.result().description
        ran = Ran(self._bundle.identity, described, self._kernels, running.standing, running.passport_sha256)
        report = summarise(made, ran, chosen, clock, answered.instructions, answered.presence, written)
        return Result(labels, structures, chosen, report, made, self._bundle, self._kernels)


def _read(
    study: str | Path | Sequence[str | Path],
    modalities: Mapping[str, Modality] | None,
    clock: Clock,
    progress: Progress,
) -> Study:
    from runtime.formats.study_input import read_study

    paths = [study] if isinstance(study, (str, Path)) else list(study)
    progress("read", 0.0)
    with clock.stage("read"):
        try:
            return read_study([str(path) for path in paths], modalities)
        except PermissionError as error:
            raise ImageError(f"{error.filename} cannot be read ({error.strerror})") from error
