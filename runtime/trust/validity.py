"""Whether a passport holds: for this bundle, this device, these libraries and these files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.bundle import Bundle
from runtime.engines.kinds import EngineKind
from runtime.errors import DeviceError
from runtime.trust.device_facts import device_facts, differences
from runtime.trust.document import DeviceFacts, Entry, Passport, decode_document, passport_of
from runtime.trust.network_files import file_fault
from runtime.trust.signing import check_signature, trusted_keys
from runtime.user_data import data_folder, read_own
from runtime.version import __version__

__all__ = ["COMMAND", "EntryStatus", "Facts", "Status", "passport_path", "status"]

COMMAND = "python -m runtime.passport"
_MOST_BYTES = 4 << 20

Facts = Callable[[bool], DeviceFacts]
"""Asked for this device's facts, and whether a CUDA device is a part of them."""


@dataclass(frozen=True)
class EntryStatus:
    """One engine at one precision, and why it may not run; "" where it may."""

    entry: Entry
    problem: str


@dataclass(frozen=True)
class Status:
    """What a passport is worth here.

    Attributes:
        path: Where it lies.
        problem: Why nothing of it counts, in one line; "" where it does.
        passport: None where none was found or it cannot be believed.
        sha256: Of its file.
        entries: Everything that ran when it was made, without the reference.
    """

    path: Path
    problem: str
    passport: Passport | None = None
    sha256: str = ""
    entries: tuple[EntryStatus, ...] = ()

    @property
    def is_there(self) -> bool:
        """Whether there is a file at all."""
        return bool(self.sha256) or self.passport is not None

    @property
    def qualified(self) -> tuple[Entry, ...]:
        """What may run here, the fastest first."""
        able = [item.entry for item in self.entries if not item.problem and not self.problem]
        return tuple(sorted(able, key=lambda entry: entry.latency_seconds))

    def line(self) -> str:
        """All of it in one line."""
        if self.problem:
            return f"{self.path}: {self.problem}"
        able = ", ".join(f"{entry.engine} {entry.precision}" for entry in self.qualified)
        wrong = [f"{item.entry.engine} {item.entry.precision}: {item.problem}" for item in self.entries]
        wrong = [text for text, item in zip(wrong, self.entries, strict=True) if item.problem]
        return f"{self.path}: valid; qualified: {'; '.join([able or 'nothing but the reference', *wrong])}"


def passport_path(bundle: Bundle) -> Path:
    """Where the passport of a bundle is kept: in the user's data, since bundles may be read-only.

    Raises:
        OSError: The user has no home.
    """
    return data_folder("passports") / f"{bundle.identity.bundle_sha256}.json"


def status(
    bundle: Bundle,
    kinds: Sequence[EngineKind],
    path: Path | None = None,
    facts: Facts = device_facts,
) -> Status:
    """Check the passport of a bundle.

    Args:
        bundle: The bundle; its own files were checked when it was opened.
        kinds: Engines there are.
        path: The passport; the user's own for this bundle when absent.
        facts: Asked about the device.
    """
    try:
        place = passport_path(bundle) if path is None else path
        text = read_own(place, _MOST_BYTES)
    except FileNotFoundError as error:
        return Status(Path(error.filename), "there is no passport")
    except OSError as error:
        where = Path(error.filename or "passport")
        return Status(where, f"it cannot be read ({error.strerror or error})", sha256="0" * 64)
    digest = hashlib.sha256(text).hexdigest()
    try:
        document = check_signature(decode_document(text), trusted_keys())
        passport = passport_of(document)
        if problem := _passport_fault(passport, bundle, facts):
            return Status(place, problem, passport, digest)
    except (DeviceError, ValueError) as error:
        return Status(place, f"it is refused: {error}", None, digest)
    entries = tuple(
        EntryStatus(entry, _entry_fault(entry, bundle, kinds))
        for entry in passport.entries
        if entry.verdict in ("passed", "failed")
    )
    return Status(place, "", passport, digest, entries)


def _passport_fault(passport: Passport, bundle: Bundle, facts: Facts) -> str:
    if passport.bundle.sha256 != bundle.identity.bundle_sha256:
        return f"it is for another bundle ({passport.bundle.name} {passport.bundle.version})"
    if passport.product_version != __version__:
        return f"it is expired: it was issued by version {passport.product_version}, this is {__version__}"
    try:
        differs = differences(facts(passport.device.cuda is not None), passport.device)
    except DeviceError as error:
        return f"it is expired: {error}"
    return f"it is expired: {differs}" if differs else ""


def _entry_fault(entry: Entry, bundle: Bundle, kinds: Sequence[EngineKind]) -> str:
    if not entry.is_qualified:
        return f"it failed: {entry.reason}"
    kind = next((item for item in kinds if item.name == entry.engine), None)
    if kind is None:
        return "there is no such engine"
    try:
        if why_not := kind.why_not():
            return why_not
        if (version := kind.version()) != entry.library_version:
            return f"its library is of version {version}, it was {entry.library_version}"
    except DeviceError as error:
        return str(error)
    return file_fault(entry, bundle)
