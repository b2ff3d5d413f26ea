"""Choose what runs a bundle's networks: the reference, or an engine that a passport allows on this device."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from runtime.bundle import Bundle
from runtime.engines.choose import Device, open_engine
from runtime.engines.engine import Engine, NetworkFile
from runtime.engines.kinds import KINDS, EngineKind
from runtime.errors import DeviceError
from runtime.trust.device_facts import device_facts
from runtime.trust.document import Entry
from runtime.trust.network_files import located, network_files
from runtime.trust.validity import COMMAND, Facts, Status, status

__all__ = ["REFERENCE", "Running", "choose_running", "on_kind", "reference"]

REFERENCE = "onnxruntime-cpu"
"""The kind that, with a bundle's own networks, all others are compared with."""

_UNQUALIFIED = "the engine {name} ({precision}) is UNQUALIFIED here: its masks were not compared ({why})"


@dataclass(frozen=True)
class Running:
    """What runs the encoder and the decoder.

    Attributes:
        kind: The engine; None leaves the choice to `open_engine`, by `device`.
        networks: Files by role.
        reason: Why this, for the report.
        standing: Whether it is the reference, has a passport, or runs without one because a person said so.
        device: For `open_engine`.
        warnings: What a reader of the result must know.
        passport_sha256: Of the passport's file; "" without one.
    """

    kind: EngineKind | None
    networks: Mapping[str, NetworkFile]
    reason: str
    standing: Literal["reference", "qualified", "unqualified"]
    device: Device = "cpu"
    warnings: tuple[str, ...] = ()
    passport_sha256: str = ""

    def open(self, role: str, threads: int) -> Engine:
        """Load one of the networks.

        Raises:
            DeviceError: The engine is not there or failed.
            BundleError: The file cannot be loaded.
        """
        file = self.networks[role]
        if self.kind is not None:
            return self.kind.open(file, threads, self.reason)
        given = file.path, self.device, threads, file.weights, file.precision
        return open_engine(*given, inputs=file.inputs)


def reference(bundle: Bundle, reason: str, warnings: tuple[str, ...] = ()) -> Running:
    """The bundle's own networks on ONNX Runtime's CPU: what needs no passport."""
    kind = next(item for item in KINDS if item.name == REFERENCE)
    return Running(kind, network_files(bundle), reason, "reference", "cpu", warnings)


def on_kind(kind: EngineKind, bundle: Bundle, encoder: NetworkFile | None = None) -> Running:
    """Any kind with a bundle's networks, the encoder perhaps another: to be compared, not to be used."""
    files = network_files(bundle)
    return Running(
        kind, files | ({} if encoder is None else {"encoder": encoder}), "under test", "unqualified"
    )


def choose_running(
    bundle: Bundle,
    device: Device,
    unqualified: bool = False,
    kinds: Sequence[EngineKind] | None = None,
    facts: Facts = device_facts,
) -> Running:
    """Choose.

    Args:
        bundle: The bundle.
        device: `cpu` is the reference. `auto` is the fastest that the passport allows, else the reference,
            with a warning where another device could be used. A named device is never replaced.
        unqualified: Run what has no passport, and say so in every output.
        kinds: Engines there are; those of the product when absent.
        facts: Asked about the device.

    Raises:
        DeviceError: The named device has no qualified engine, and `unqualified` is not set.
    """
    known = KINDS if kinds is None else kinds
    if device == "cpu":
        return reference(bundle, "--device cpu was asked for")
    found = _standing(bundle, known, facts)
    for entry in found.qualified:
        if device == "auto" or entry.device.partition(":")[0] == device:
            if device == "auto" and not _is_faster(entry, found):
                return _fallback(bundle, known, found)
            return _qualified(entry, bundle, known, found)
    if device != "auto" and not any(item.device == device and item.why_not() is None for item in known):
        return Running(
            None, network_files(bundle), "", "unqualified", device
        )  # its error says what is missing
    if unqualified:
        return _without_passport(bundle, device, known, _why(found))
    if device != "auto":
        raise DeviceError(
            f"no engine on {device} is qualified for {bundle.identity.name} here ({_why(found)}); "
            f"run {COMMAND} {bundle.folder}, or run it unqualified (--unqualified), or use --device cpu"
        )
    return _fallback(bundle, known, found)


def _standing(bundle: Bundle, kinds: Sequence[EngineKind], facts: Facts) -> Status:
    """The passport's status; without a file nothing is loaded to find that out."""
    try:
        return status(bundle, kinds, facts=facts)
    except OSError as error:  # no home: no passport
        return Status(bundle.folder, f"there is no passport ({error})")


def _is_faster(entry: Entry, found: Status) -> bool:
    """Whether an engine was faster than the reference when they were compared."""
    entries = () if found.passport is None else found.passport.entries
    seconds = [item.latency_seconds for item in entries if item.verdict == "reference"]
    return not seconds or entry.latency_seconds < seconds[0]


def _why(found: Status) -> str:
    problems = [found.problem, *(item.problem for item in found.entries)]
    return next((text for text in problems if text), "nothing on it is in the passport")


def _qualified(entry: Entry, bundle: Bundle, kinds: Sequence[EngineKind], found: Status) -> Running:
    kind = next(item for item in kinds if item.name == entry.engine)
    files = network_files(bundle)
    for facts in entry.files:
        path = located(facts, bundle)
        if facts.role in files and path is not None and facts.name.endswith(".onnx"):
            own = files[facts.role]
            if path != own.path:
                files[facts.role] = dataclasses.replace(
                    own, path=path, weights=None, precision=entry.precision
                )
    reason = f"qualified by the passport {found.sha256[:12]}: {entry.engine}, {entry.precision}"
    return Running(kind, files, reason, "qualified", passport_sha256=found.sha256)


def _without_passport(bundle: Bundle, device: Device, kinds: Sequence[EngineKind], why: str) -> Running:
    for kind in kinds:
        wanted = kind.device != "cpu" if device == "auto" else kind.device == device
        if wanted and kind.why_not() is None:
            files = network_files(bundle)
            precision = files["encoder"].precision
            warning = _UNQUALIFIED.format(name=kind.name, precision=precision, why=why)
            return Running(kind, files, "unqualified: asked for so", "unqualified", device, (warning,))
    return reference(bundle, "auto: no other engine can be used here; this is the reference")


def _fallback(bundle: Bundle, kinds: Sequence[EngineKind], found: Status) -> Running:
    """The reference; a warning where that is a loss: another device is there, or a passport does not hold."""
    lacking = [kind.why_not() for kind in kinds if kind.device != "cpu"]
    says = "auto: the reference; " + (next((text for text in lacking if text), "") or _why(found))
    if found.passport is not None and not found.problem and found.qualified:
        return reference(bundle, "auto: the reference was the fastest when the passport was issued")
    wrong = [item for item in found.entries if item.entry.is_qualified and item.problem]
    usable = [kind.name for kind in kinds if kind.device != "cpu" and kind.why_not() is None]
    tried = {item.entry.engine for item in found.entries if not item.entry.is_qualified}
    usable = [name for name in usable if name not in tried]  # nothing to be done about those
    if not (usable or wrong or (found.is_there and found.problem)):
        return reference(bundle, says)
    why = wrong[0].problem if wrong else found.problem or _why(found)
    warning = (
        f"the reference on the CPU ran, for no other engine is qualified here ({why}); "
        f"run {COMMAND} {bundle.folder}"
    )
    return reference(bundle, says, (warning,))
