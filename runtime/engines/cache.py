"""Built engines, kept on disk under all that they depend on; no other one is ever loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from runtime.user_cache import UserCache

__all__ = ["ENGINES", "TIMINGS", "EngineFacts", "KeptEngine", "kept_or_built"]

ENGINES = UserCache("engines", ".engine", largest_bytes=(1 << 32) - 1)
"""Engines. All are kept: a passport may be about any of them, and only the user knows that it is not."""

TIMINGS = UserCache("timings", ".timing", largest_bytes=1 << 28)
"""TensorRT's measurements of layers, which make the next build faster."""


@dataclass(frozen=True)
class EngineFacts:
    """What an engine depends on: all of it is the key, and is written into the entry.

    Attributes:
        network: SHA-256 of the ONNX file.
        weights: SHA-256 of its file of weights; "" where it has none.
        library: With version, e.g. "tensorrt 11.4.0".
        device: What its maker calls it.
        architecture: Compute capability, e.g. "sm_87".
        driver: Version of the driver, as a text.
        options: How it was built, as a text.
    """

    network: str
    weights: str
    library: str
    device: str
    architecture: str
    driver: str
    options: str

    @property
    def key(self) -> str:
        """Name of the entry."""
        return hashlib.sha256(self._text()).hexdigest()

    def wrap(self, engine: bytes) -> bytes:
        """An entry: one line of these facts, then the engine."""
        return self._text() + b"\n" + engine

    def unwrap(self, entry: bytes) -> bytes | None:
        """The engine of an entry; None where it was made for other facts."""
        head, found, engine = entry.partition(b"\n")
        return engine if found and head == self._text() else None

    def _text(self) -> bytes:
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=True).encode("ascii")


@dataclass(frozen=True)
class KeptEngine:
    """An engine and where it came from.

    Attributes:
        engine: For its library.
        origin: In words, for the report.
        was_kept: Whether it was read from the cache.
        path: Where it is kept; None where it could not be.
    """

    engine: bytes
    origin: str
    was_kept: bool
    path: Path | None

    @property
    def sha256(self) -> str:
        """Hash of the engine."""
        return hashlib.sha256(self.engine).hexdigest()


def kept_or_built(
    facts: EngineFacts, build: Callable[[], bytes], wait_s: float, renew: bool = False
) -> KeptEngine:
    """The engine of some facts, from the cache or built now and put there.

    What counts as absent is told by content: see `UserCache.load`, and the facts have to be the same. It
    stays where it is until another was built. While another process builds the same, this one waits for that.

    Args:
        facts: What it depends on.
        build: Makes it; what that raises is raised.
        wait_s: Longest wait for another process; then this one builds, too.
        renew: Whether to build it although one is there, which its library refused.
    """
    refused = _load(facts) if renew else None
    if not renew and (engine := _load(facts)) is not None:
        return KeptEngine(engine, "read from the cache", True, _path(facts))
    with ENGINES.locked(facts.key, wait_s):
        # Another process may have built it while this one waited.
        engine = _load(facts)
        if engine is not None and engine != refused:
            return KeptEngine(engine, "built by another process", True, _path(facts))
        was_there = (path := _path(facts)) is not None and path.exists()
        engine = build()
        origin = "built, in place of one that could not be used" if was_there else "built"
        try:
            ENGINES.save(facts.key, facts.wrap(engine))
        except (OSError, ValueError) as error:
            origin = f"{origin}, and not kept because the cache cannot be written ({error})"
            return KeptEngine(engine, origin, False, None)
    return KeptEngine(engine, origin, False, _path(facts))


def _load(facts: EngineFacts) -> bytes | None:
    entry = ENGINES.load(facts.key)
    return None if entry is None else facts.unwrap(entry)


def _path(facts: EngineFacts) -> Path | None:
    try:
        return ENGINES.folder / f"{facts.key}{ENGINES.suffix}"
    except OSError:
        return None
