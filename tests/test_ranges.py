"""A profiler sees the stages by name where nvtx is installed; nothing happens where it is not."""

from __future__ import annotations

import contextlib
import sys
import types
from collections.abc import Iterator

import pytest

from runtime import ranges
from runtime.ranges import profiler_range
from runtime.report import Clock


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What a profiler saw."""
    told: list[str] = []

    @contextlib.contextmanager
    def annotate(message: str, domain: str) -> Iterator[None]:
        told.append(f"{domain}: begin {message}")
        yield
        told.append(f"{domain}: end {message}")

    monkeypatch.setitem(sys.modules, "nvtx", types.SimpleNamespace(annotate=annotate))
    ranges._annotate.cache_clear()
    yield told
    ranges._annotate.cache_clear()


def test_ranges_are_the_stages_of_the_clock(seen: list[str]) -> None:
    clock = Clock()
    with clock.stage("prepare"):
        assert seen == ["zeus-edge: begin prepare"]
    with clock.stage("label"):
        pass
    assert seen[1:] == ["zeus-edge: end prepare", "zeus-edge: begin label", "zeus-edge: end label"]
    assert list(clock.seconds) == ["prepare", "label"]


def test_ranges_without_the_package_are_one_thing_that_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nvtx", None)
    ranges._annotate.cache_clear()
    try:
        assert profiler_range("prepare") is profiler_range("label")
        clock = Clock()
        with pytest.raises(KeyError), clock.stage("prepare"):
            raise KeyError("a stage that fails is timed as well")
        assert clock.seconds["prepare"] > 0
    finally:
        ranges._annotate.cache_clear()
