"""Keep a worker running: start it with the very file that was checked, and after a crash again."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO, NoReturn

from runtime.engines.llama.gguf_header import FileIdentity, GgufHeader, open_gguf, read_header
from runtime.engines.llama.messages import CheckedFile, Failed, Load, Ready
from runtime.engines.llama.options import LlamaSettings
from runtime.engines.llama.process import WorkerDiedError, WorkerProcess, WorkerSlowError
from runtime.engines.llama.projector import ProjectorHeader, read_projector
from runtime.errors import BundleError, DeviceError, LanguageError, UsageError

__all__ = ["Supervisor"]

_OWN_BYTES = 64 << 20
"""Of the worker without a model: Python, NumPy, llama.cpp (48 MB of data were seen)."""

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0


class Supervisor:
    """A worker with a loaded model, and the next one after it died.

    Args:
        model: The file.
        settings: What the worker may use.
        load_deadline_s: Seconds to load.
        projector: What lets the model see; None without.

    Attributes:
        header: What the file says.
        projector: What that file says; None without.
        settings: As given.
        peak_bytes: Memory of the worker, as it last said.
        crashes: Workers that died since the last answer.

    Raises:
        BundleError: The file is missing, damaged, not supported, or kills the library.
        DeviceError: Memory does not suffice.
        UsageError: The context is longer than the model's.
    """

    def __init__(
        self, model: Path, settings: LlamaSettings, load_deadline_s: float, projector: Path | None = None
    ) -> None:
        self.settings = settings
        self.peak_bytes = 0
        self.crashes = 0
        self._load_deadline_s = load_deadline_s
        self._not_before = 0.0
        self._worker: WorkerProcess | None = None
        self._is_ready = False
        self._load_until = 0.0
        self._files = ExitStack()
        self.projector: ProjectorHeader | None = None
        try:
            self._file = self._files.enter_context(open_gguf(model))
            self.header = read_header(model, self._file)
            if projector is not None:
                self._seeing = self._files.enter_context(open_gguf(projector))
                self.projector = read_projector(projector, self._seeing)
                self.projector.check_width(self.header)
            self._check_settings()
            self._start()
            self._finish_loading(self._load_until)
        except WorkerDiedError as error:
            self.close()
            if "alloc" in str(error) or "mem_buffer" in str(error):
                raise DeviceError(f"{model} does not fit into memory ({error}); give it more") from error
            both = "" if projector is None else f" with {projector}"
            raise BundleError(
                f"{model}{both} ends the process that loads it ({error}); use another model"
            ) from error
        except WorkerSlowError as error:
            self.close()
            raise DeviceError(
                f"{model} is not loaded within {load_deadline_s:g} s; allow more time"
            ) from error
        except BaseException:
            self.close()
            raise

    def _check_settings(self) -> None:
        settings, header = self.settings, self.header
        if settings.context_tokens > header.context_tokens:
            raise UsageError(
                f"a context of {settings.context_tokens} tokens was asked for, but {header.path} was trained "
                f"for {header.context_tokens}; ask for less"
            )
        least = header.least_bytes(settings.context_tokens, settings.sequences, settings.cache_precision)
        least += 0 if self.projector is None else self.projector.tensor_bytes
        if least + _OWN_BYTES > settings.memory_bytes:
            raise DeviceError(
                f"{header.path} needs at least {(least + _OWN_BYTES) >> 20} MiB with this context, and has "
                f"{settings.memory_bytes >> 20} MiB; use a smaller model or context, or allow more"
            )

    @property
    def pid(self) -> int | None:
        """The worker's number, if there is one."""
        return None if self._worker is None else self._worker.pid

    @property
    def worker(self) -> WorkerProcess:
        """The worker that `wait_ready` waited for."""
        if self._worker is None:
            raise LanguageError("the language model's process is not there; ask again")
        return self._worker

    def wait_ready(self, deadline: float) -> None:
        """Return once the model is loaded; start a worker where there is none.

        Args:
            deadline: By `time.monotonic`.

        Raises:
            LanguageError: It is not ready in time, died again, or waits after several crashes.
            BundleError: The file changed since it was checked.
            DeviceError: No process can be started.
        """
        if self._worker is not None and self._is_ready and not self._worker.is_alive:
            self.end_worker()  # somebody else ended it between two requests: nothing is lost
        if self._worker is None:
            pause = self._not_before - time.monotonic()
            if pause > 0:
                raise LanguageError(
                    f"the language model's process died {self.crashes} times in a row; it is started again "
                    f"in {pause:.1f} s"
                )
            self._start()
        if self._is_ready:
            return
        try:
            self._finish_loading(min(deadline, self._load_until))
        except WorkerDiedError as error:
            self.fail(f"the language model's process died while it loaded: {error}", error)
        except WorkerSlowError as error:
            if time.monotonic() >= self._load_until:
                self.fail("the language model did not load in time", error)
            raise LanguageError("the language model is still loading; allow more time") from error
        except (BundleError, DeviceError):
            self.end_worker()
            raise

    def fail(self, fact: str, cause: BaseException | None = None) -> NoReturn:
        """End the worker after a crash, start the next one (at once after the first crash), and raise.

        Raises:
            LanguageError: `fact`, always.
        """
        self.end_worker()
        self.crashes += 1
        if self.crashes == 1:
            with suppress(BundleError, DeviceError):  # the next request finds out and says so
                self._start()
        else:
            self._not_before = time.monotonic() + min(
                _LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** (self.crashes - 2)
            )
        raise LanguageError(f"{fact}; ask again, it is started anew") from cause

    def end_worker(self) -> None:
        """End the worker; the next request starts another."""
        worker, self._worker, self._is_ready = self._worker, None, False
        if worker is not None:
            worker.close()

    def close(self) -> None:
        """End the worker and let go of the files."""
        self.end_worker()
        self._files.close()

    def _start(self) -> None:
        """Start a worker and tell it to load; does not wait."""
        model = _unchanged(self.header, self._file)
        seeing = None if self.projector is None else _unchanged(self.projector, self._seeing)
        self._is_ready = False
        self._load_until = time.monotonic() + self._load_deadline_s
        try:
            self._worker = WorkerProcess(self.settings.threads)
        except OSError as error:
            raise DeviceError(
                f"the language model's process cannot be started ({error.strerror}); close other programs"
            ) from error
        with suppress(WorkerDiedError, WorkerSlowError):  # seen by who waits for it
            self._worker.send(Load(model.path, model.identity, self.settings, seeing), self._load_until)

    def _finish_loading(self, until: float) -> None:
        event = self.worker.receive(until)
        if isinstance(event, Failed):
            kind = {"bundle": BundleError, "device": DeviceError}.get(event.kind, LanguageError)
            raise kind(f"{self.header.path}: {event.message}")
        if not isinstance(event, Ready):
            raise WorkerDiedError("it answered something else")
        self.peak_bytes = event.peak_bytes
        self._is_ready = True


def _unchanged(header: GgufHeader | ProjectorHeader, file: BinaryIO) -> CheckedFile:
    """The file of a header, for the worker.

    Raises:
        BundleError: It is another one by now.
    """
    path, identity = header.path, header.identity
    try:
        now = (FileIdentity.of(os.fstat(file.fileno())), FileIdentity.of(path.stat()))
    except OSError as error:
        raise BundleError(f"{path} is gone ({error.strerror}); copy the model again") from error
    if now != (identity, identity):
        raise BundleError(f"{path} was changed or replaced after it was checked; open it again")
    return CheckedFile(os.fsencode(path.absolute()), identity)
