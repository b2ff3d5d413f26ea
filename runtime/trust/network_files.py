"""Where the files lie that a passport speaks of: in the bundle, or in the user's cache."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from runtime.bundle import Bundle, Network, file_sha256
from runtime.engines.engine import NetworkFile
from runtime.engines.shapes import input_ranges
from runtime.trust.document import Entry, FileFacts
from runtime.user_cache import UserCache

__all__ = ["engine_facts", "file_fault", "located", "made_networks", "network_file", "network_files"]

_MOST_BYTES = 8 << 30


def made_networks() -> Path:
    """Folder of the networks that were made on this device in other precisions.

    Raises:
        OSError: The user has no home.
    """
    return UserCache("networks", ".onnx", _MOST_BYTES).folder


def network_file(bundle: Bundle, network: Network) -> NetworkFile:
    """A network of a bundle as an engine takes it."""
    weights = bundle.path(network.weights) if network.weights else None
    shapes = input_ranges(bundle.manifest, network)
    return NetworkFile(bundle.path(network.file), weights, network.precision, shapes)


def network_files(bundle: Bundle) -> dict[str, NetworkFile]:
    """The bundle's own networks that see a scan, by role: encoder, and decoder where it has one."""
    manifest = bundle.manifest
    made = {"encoder": network_file(bundle, manifest.encoder)}
    if manifest.instructions is not None:
        made["decoder"] = network_file(bundle, manifest.instructions.decoder)
    return made


def located(facts: FileFacts, bundle: Bundle) -> Path | None:
    """The path of a file; None where its name leads elsewhere.

    Raises:
        OSError: It is in the cache, and the user has no home.
    """
    root = bundle.folder if facts.place == "bundle" else made_networks().parent
    pure = PurePosixPath(facts.name)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts:
        return None
    return root / pure


def engine_facts(engines: Mapping[str, str]) -> tuple[FileFacts, ...]:
    """Facts of built engines, by the role of their network: files below the user's cache, "" for none.

    Raises:
        OSError: One cannot be read.
    """
    root = made_networks().parent
    return tuple(
        FileFacts("decoder" if role == "decoder" else "encoder", "cache", name, file_sha256(root / name))
        for role, name in engines.items()
        if name
    )


def file_fault(entry: Entry, bundle: Bundle) -> str:
    """What became of the files of an entry, in words; "" where they are what they were."""
    for facts in entry.files:
        try:
            path = located(facts, bundle)
            found = None if path is None else file_sha256(path)
        except OSError as error:
            return f"the {facts.role}'s file {facts.name} cannot be read ({error.strerror or error})"
        if found != facts.sha256:
            return f"the {facts.role}'s file {facts.name} is not the one that was qualified"
    return ""
