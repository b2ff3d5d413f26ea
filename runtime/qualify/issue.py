"""Qualify a bundle on this device, engine by engine and precision by precision, and sign what was found."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from runtime.bundle import Bundle, file_sha256, open_bundle
from runtime.engines.kinds import KINDS, EngineKind
from runtime.errors import DestinationError, DeviceError
from runtime.kernels import open_kernels
from runtime.qualify.cases import GoldenCases, Measured, guarded, own_studies
from runtime.qualify.lowered import Lowered, NotTriedError, lowered
from runtime.qualify.search import few_that_pass
from runtime.report import library_versions, peak_bytes
from runtime.trust.device_facts import device_facts
from runtime.trust.document import BundleFacts, Entry, FileFacts, Passport, Precision, Try
from runtime.trust.limits import LEAST_DICE, MOST_ERROR
from runtime.trust.network_files import engine_facts, located, network_files
from runtime.trust.running import REFERENCE, on_kind, reference
from runtime.trust.signing import Signer
from runtime.trust.validity import Facts, passport_path
from runtime.user_data import write_own
from runtime.version import __version__

__all__ = ["Issued", "Wanted", "qualify"]


@dataclass(frozen=True)
class Wanted:
    """What is to be tried.

    Attributes:
        precisions: Of each engine.
        studies: Golden studies, each as `Session.segment` takes it, beside the bundle's own tile and study.
        engines: Names of kinds; all when empty.
        device: Only kinds of this device, "cpu" or "cuda"; all when absent.
        threads: CPU threads; 0 takes every usable CPU.
        most_tries: Of nodes to keep in FP32, for each engine and precision that fails.
        key: Private key to sign with; the device's own when absent.
        facts: Asked about the device.
    """

    precisions: tuple[Precision, ...] = ("fp32",)
    studies: tuple[tuple[str, ...], ...] = ()
    engines: tuple[str, ...] = ()
    device: str | None = None
    threads: int = 0
    most_tries: int = 16
    key: Path | None = None
    facts: Facts = device_facts


@dataclass(frozen=True)
class Issued:
    """A passport and where it was put."""

    passport: Passport
    path: Path


def qualify(
    bundle: Bundle | Path | str | None = None,
    wanted: Wanted | None = None,
    kinds: Sequence[EngineKind] | None = None,
    told: Callable[[str], None] = lambda text: None,
) -> Issued:
    """Make the passport of a bundle on this device, in the place of an older one.

    Args:
        bundle: A bundle or its folder; the shipped one when absent.
        wanted: What is to be tried; every usable engine in FP32 when absent.
        kinds: Engines there are; those of the product when absent.
        told: What is being done, in a few words.

    Raises:
        BundleError: The bundle, or the reference's answer to its golden tile, is not what it says.
        ImageError: A golden study cannot be read or segmented.
        DeviceError: The key cannot be used, or `cryptography` is not installed.
        DestinationError: The passport cannot be written.
    """
    asked = wanted or Wanted()
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    signer = Signer(asked.key)  # before minutes of work
    kernels = open_kernels("cpu", asked.threads)
    base = reference(opened, "the reference")
    _reset_peak()
    golden = GoldenCases(opened, base, (*own_studies(opened), *asked.studies), kernels, told)
    entries = [_reference_entry(opened, golden.measured)]
    chosen = [item for item in (KINDS if kinds is None else kinds) if _is_wanted(item, asked)]
    for kind in chosen:
        for precision in asked.precisions:
            own = precision == opened.manifest.encoder.precision
            if kind.name != REFERENCE or not own:
                told(f"{kind.name}, {precision}")
                entries.append(_Attempt(opened, kind, precision, golden, told).entry(asked.most_tries))
    ran = [entry for entry in entries if entry.verdict != "not tried"]
    try:
        device = asked.facts(any(entry.device == "cuda" for entry in ran))
    except DeviceError:  # what failed may have failed for want of that device
        device = asked.facts(False)
    passport = Passport(
        BundleFacts(opened.identity.name, opened.identity.version, opened.identity.bundle_sha256),
        device,
        {**library_versions(), "python": platform.python_version()},
        tuple(entries),
        datetime.now(timezone.utc).isoformat(timespec="seconds"),
        __version__,
        signer.public_key,
    )
    text = json.dumps(signer.sign(passport.document()), indent=1, allow_nan=False) + "\n"
    try:
        path = passport_path(opened)
        write_own(path, text.encode("ascii"))
    except OSError as error:
        raise DestinationError(
            f"the passport cannot be written to {error.filename or 'the user data'} ({error.strerror}); "
            "free space there, or set XDG_DATA_HOME"
        ) from None
    return Issued(passport, path)


def _is_wanted(kind: EngineKind, asked: Wanted) -> bool:
    named = not asked.engines or kind.name in asked.engines
    return named and (asked.device is None or kind.device == asked.device)


def _reference_entry(bundle: Bundle, measured: Measured) -> Entry:
    kind = next(item for item in KINDS if item.name == REFERENCE)
    entry = Entry(kind.name, kind.device, bundle.manifest.encoder.precision, kind.version(), "reference", "")
    return replace(
        entry,
        reason="what the others are compared with",
        files=_own_files(bundle),
        load_seconds=round(measured.load_seconds, 4),
        latency_seconds=round(measured.latency_seconds, 6),
        peak_bytes=_peak(),
        cases=measured.cases,
    )


def _own_files(bundle: Bundle) -> tuple[FileFacts, ...]:
    """The bundle's own networks; what lies beside them in files of weights is the bundle's hash's to keep."""
    manifest = bundle.manifest
    files = [
        FileFacts("encoder", "bundle", manifest.encoder.file, file_sha256(bundle.path(manifest.encoder.file)))
    ]
    if manifest.instructions is not None:
        name = manifest.instructions.decoder.file
        files.append(FileFacts("decoder", "bundle", name, file_sha256(bundle.path(name))))
    return tuple(files)


class _Attempt:
    """One engine at one precision."""

    def __init__(
        self,
        bundle: Bundle,
        kind: EngineKind,
        precision: Precision,
        golden: GoldenCases,
        told: Callable[[str], None],
    ) -> None:
        self._bundle, self._kind, self._precision = bundle, kind, precision
        self._golden, self._told = golden, told
        self._tries: list[Try] = []
        self._seconds = 0.0

    def entry(self, most_tries: int) -> Entry:
        """Try it; of a network in lower precision that fails, find the nodes to keep in FP32."""
        kind, least = self._kind, LEAST_DICE[self._precision]
        entry = Entry(kind.name, kind.device, self._precision, "", "not tried", "", least_dice=least)
        if self._precision == "fp32":
            entry = replace(entry, most_relative_error=MOST_ERROR)
        _reset_peak()
        try:
            if why_not := kind.why_not():
                return replace(entry, reason=why_not)
            entry = replace(entry, library_version=kind.version())
            if self._precision == self._bundle.manifest.encoder.precision:
                return self._judged(entry, None)
            if self._precision == "fp32":
                raise NotTriedError("the bundle has no network in fp32; export it so")
            made = self._lowered(())
            first = self._judged(entry, made)
            if not first.is_qualified and most_tries:
                return self._searched(entry, first, made, most_tries)
        except NotTriedError as error:
            return replace(entry, reason=str(error), tries=tuple(self._tries))
        except DeviceError as error:
            return replace(entry, verdict="failed", reason=str(error), tries=tuple(self._tries))
        return first

    def _lowered(self, kept: Sequence[str]) -> Lowered:
        if self._precision == "fp32":
            raise NotTriedError("fp32 is what the bundle has")
        made = lowered(self._bundle, self._precision, kept, self._golden.tiles)
        self._seconds += made.seconds
        return made

    def _judged(self, entry: Entry, made: Lowered | None, kept: Sequence[str] = ()) -> Entry:
        """Measure on all golden cases."""
        files = _own_files(self._bundle)
        encoder = None
        if made is not None:
            files = (made.facts, *files[1:])
            own = network_files(self._bundle)["encoder"]
            encoder = replace(own, path=made.path, precision=self._precision)
        running = on_kind(self._kind, self._bundle, encoder)
        measured, outcome = guarded(lambda: self._golden.measure(running, self._precision), self._precision)
        self._tries.append(Try(len(kept), outcome.passed, outcome.reason))
        entry = replace(
            entry,
            verdict="passed" if outcome.passed else "failed",
            reason=outcome.reason,
            files=files,
            kept_nodes=tuple(kept),
            tries=tuple(self._tries),
            build_seconds=round(self._seconds, 3),
            peak_bytes=_peak(),
        )
        if measured is None:
            return entry
        return replace(
            entry,
            files=(*files, *engine_facts(measured.engines)),
            load_seconds=round(measured.load_seconds, 4),
            latency_seconds=round(measured.latency_seconds, 6),
            cases=measured.cases,
        )

    def _searched(self, entry: Entry, first: Entry, made: Lowered, most_tries: int) -> Entry:
        best: list[Entry] = []
        tried_files: list[Path] = []

        def passes(kept: tuple[str, ...]) -> bool:
            self._told(
                f"{self._kind.name}, {self._precision}: {len(kept)} of {len(made.nodes)} nodes in fp32"
            )
            attempt = self._lowered(kept)
            tried_files.append(attempt.path)
            tried = self._judged(entry, attempt, kept)
            if tried.is_qualified:
                best[:] = [tried]
            return tried.is_qualified

        few_that_pass(made.nodes, passes, most_tries)
        found = best[0] if best else first
        used = {located(item, self._bundle) for item in found.files}
        for path in tried_files:
            if path not in used:
                path.unlink(missing_ok=True)  # what did not pass, or passed with more nodes
        reason = found.reason if best else f"{first.reason}; no part of its nodes in fp32 mended that"
        return replace(found, reason=reason, tries=tuple(self._tries), build_seconds=round(self._seconds, 3))


def _reset_peak() -> None:
    """Begin counting the largest resident memory anew.

    Source:
        Linux Documentation/filesystems/proc.rst: writing 5 to clear_refs resets the peak.
    """
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak() -> int:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration, ValueError):
        return peak_bytes()
