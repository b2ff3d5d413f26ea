"""The golden cases: what the reference makes of them, and how far another engine is from that."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from runtime.bundle import Bundle
from runtime.engines.engine import Engine, NetworkFile
from runtime.engines.kinds import EngineKind
from runtime.errors import ZeusEdgeError
from runtime.kernels import Kernels
from runtime.qualify.tile import Tap, TileAnswer, check_features, golden_image, tile_answer, tile_grid
from runtime.session import Session
from runtime.stages.overlap import compare
from runtime.trust.document import CaseResult, Precision, StructureMatch
from runtime.trust.limits import LEAST_DICE, MOST_ERROR
from runtime.trust.running import Running
from runtime.volume import Grid, Labels

__all__ = ["GoldenCases", "Measured", "Outcome", "guarded", "outcome_of", "own_studies"]

_LEAST_SCORE = 1e-6
_RUNS, _ENOUGH_S = 9, 3.0
"""Warm runs of the tile at most, and seconds after which three are enough."""
_CALIBRATION = 8

Told = Callable[[str], None]


@dataclass(frozen=True)
class Measured:
    """What one engine did: comparisons, seconds of loading and of a warm tile, its built files by role."""

    cases: tuple[CaseResult, ...]
    load_seconds: float
    latency_seconds: float
    engines: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """Whether what was measured is within the limits, and why."""

    passed: bool
    reason: str


class GoldenCases:
    """A bundle's own tile and the studies that were given, as the reference answers them.

    Args:
        bundle: The bundle.
        running: The reference.
        studies: Each as `Session.segment` takes it.
        kernels: Where to run the stages around the networks.
        told: What is being done.

    Raises:
        ImageError: A study cannot be read or segmented.
        BundleError: The reference cannot be loaded, or is not what the bundle says.
    """

    def __init__(
        self,
        bundle: Bundle,
        running: Running,
        studies: Sequence[Sequence[str]],
        kernels: Kernels,
        told: Told,
    ) -> None:
        self._bundle, self._kernels, self._told = bundle, kernels, told
        self._image, self._studies = golden_image(bundle), tuple(studies)
        self._grid = tile_grid(self._image, bundle)
        told("tile, by the reference")
        self._tile, self.measured = self._answer(running, check=True)
        self.measured = replace(self.measured, cases=(self._of_tile(self._tile),))
        self._labels: list[Labels] = []
        self._shown: list[NDArray[np.float32]] = []
        for number, study in enumerate(self._studies, start=1):
            told(f"study {number}, by the reference")
            self._labels.append(self._segment(running, study, self._shown))

    @property
    def tiles(self) -> list[NDArray[np.float32]]:
        """What the encoder was shown, each (1, channels, …): tiles of the studies, else the golden one."""
        shown = [tile for tile in self._shown if np.ptp(tile) > 0]
        if not shown:
            flat = len(self._bundle.manifest.encoder.inputs[0].shape) == 4
            return [(self._image[:, 0] if flat else self._image)[None]]
        return shown[:: max(1, len(shown) // _CALIBRATION)][:_CALIBRATION]

    def measure(self, running: Running, precision: Precision) -> Measured:
        """Compare an engine with the reference; studies are left out once the tile is beyond its limits.

        Args:
            running: What runs.
            precision: Whose limits count.

        Raises:
            DeviceError: The engine is not there or failed.
            BundleError: It cannot load the network, or answers with absurd numbers.
        """
        with np.errstate(all="ignore"):  # what overflowed shows in the comparison
            found, measured = self._answer(running)
            cases = [self._of_tile(found)]
            if not outcome_of(cases, precision, partial=True).passed:
                return replace(measured, cases=tuple(cases))
            for number, (study, labels) in enumerate(zip(self._studies, self._labels, strict=True), start=1):
                self._told(f"study {number}, by {_name(running)}")
                made = self._segment(running, study, None)
                matches = self._matches(made.voxels, labels.voxels, labels.grid)
                cases.append(CaseResult(f"study {number}", None, None, matches))
        return replace(measured, cases=tuple(cases))

    def _answer(self, running: Running, check: bool = False) -> tuple[TileAnswer, Measured]:
        """Load an engine, show it the tile, and again to time that."""
        threads = self._kernels.threads
        with ExitStack() as opened:
            started = time.perf_counter()
            encoder: Engine = opened.enter_context(running.open("encoder", threads))
            decoder = None
            if "decoder" in running.networks:
                decoder = opened.enter_context(running.open("decoder", threads))
            loaded = time.perf_counter() - started
            files = {"encoder": encoder.description.file}
            if decoder is not None:
                files["decoder"] = decoder.description.file
            given = self._image, self._bundle, encoder, decoder, self._kernels
            if check:
                check_features(self._image, self._bundle, encoder)
            answer = tile_answer(*given)
            seconds: list[float] = []
            while len(seconds) < _RUNS and not (len(seconds) >= 3 and sum(seconds) > _ENOUGH_S):
                started = time.perf_counter()
                tile_answer(*given)
                seconds.append(time.perf_counter() - started)
        return answer, Measured((), loaded, statistics.median(seconds), files)

    def _of_tile(self, found: TileAnswer) -> CaseResult:
        wanted = self._tile
        matches: tuple[StructureMatch, ...] = ()
        if not self._bundle.manifest.golden.study:  # whose masks say more than those of random numbers
            matches = self._matches(found.labels, wanted.labels, self._grid)
        if found.scores.shape != wanted.scores.shape:
            return CaseResult("tile", None, None, matches)
        error = float(np.abs(found.scores.astype(np.float64) - wanted.scores).max())
        if not math.isfinite(error):
            return CaseResult("tile", None, None, matches)
        largest = max(_LEAST_SCORE, float(np.abs(wanted.scores).max()))
        return CaseResult("tile", error, error / largest, matches)

    def _segment(
        self, running: Running, study: Sequence[str], shown: list[NDArray[np.float32]] | None
    ) -> Labels:
        taps: list[Tap] = []
        if shown is not None and running.kind is not None:
            running = replace(running, kind=_Tapped(running.kind, taps))
        with Session(
            self._bundle.folder, threads=self._kernels.threads, llm="none", running=running
        ) as session:
            labels = session.segment(list(study)).labels
        name = self._bundle.manifest.encoder.inputs[0].name
        if shown is not None:
            shown += [given[name] for tap in taps for given in tap.inputs if name in given]
        return labels

    def _matches(
        self, found: NDArray[np.uint8], wanted: NDArray[np.uint8], grid: Grid
    ) -> tuple[StructureMatch, ...]:
        matches = []
        for structure in self._bundle.manifest.structures:
            ours, theirs = found == structure.value, wanted == structure.value
            if structure.union_of or not (ours.any() or theirs.any()):
                continue
            score = compare(ours, theirs, grid)
            matches.append(
                StructureMatch(
                    structure.name,
                    score.dice,
                    _number(score.hd95_mm),
                    _number(score.volume_error_percent),
                    score.reference_ml,
                )
            )
        return tuple(matches)


class _Tapped:
    """A kind whose engines keep what they are shown."""

    def __init__(self, kind: EngineKind, taps: list[Tap]) -> None:
        self._kind, self._taps = kind, taps
        self.name, self.device = kind.name, kind.device

    def why_not(self) -> str | None:
        """See `EngineKind.why_not`."""
        return self._kind.why_not()

    def version(self) -> str:
        """See `EngineKind.version`."""
        return self._kind.version()

    def open(self, network: NetworkFile, threads: int, reason: str) -> Engine:
        """See `EngineKind.open`."""
        self._taps.append(Tap(self._kind.open(network, threads, reason), 4 * _CALIBRATION))
        return self._taps[-1]


def own_studies(bundle: Bundle) -> list[list[str]]:
    """The golden study of a bundle that brings one, as `Session.segment` takes it."""
    scans = bundle.manifest.golden.study
    return [[f"{modality}={bundle.path(name)}" for modality, name in scans.items()]] if scans else []


def outcome_of(cases: Sequence[CaseResult], precision: Precision, partial: bool = False) -> Outcome:
    """Judge comparisons.

    Args:
        cases: All of one engine.
        precision: Whose limits count.
        partial: Whether more will come: then it is no fault yet that no structure was seen.
    """
    least, seen, worst = LEAST_DICE[precision], 0, 1.0
    for case in cases:
        if case.case == "tile" and case.relative_error is None:
            return Outcome(False, "scores of the golden tile are not finite, or have another shape")
        if precision == "fp32" and case.relative_error is not None and not case.relative_error <= MOST_ERROR:
            return Outcome(
                False,
                f"scores of the {case.case} differ by {case.relative_error:.2g} of the largest, more than "
                f"{MOST_ERROR:.0e}",
            )
        for match in case.structures:
            seen, worst = seen + 1, min(worst, match.dice)
            if not match.dice >= least:
                where = f"{match.structure} of {case.case}"
                return Outcome(False, f"{where} has Dice {match.dice:.4f}, less than {least}")
    if not seen and not partial:
        return Outcome(
            False, "no golden case shows anything that this bundle labels; give a study (--golden)"
        )
    return Outcome(True, f"{seen} structures compared, the lowest Dice is {worst:.4f} (limit {least})")


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _name(running: Running) -> str:
    return "open_engine" if running.kind is None else running.kind.name


def guarded(measure: Callable[[], Measured], precision: Precision) -> tuple[Measured | None, Outcome]:
    """Measure and judge; what an engine raises is an outcome as well."""
    try:
        measured = measure()
    except ZeusEdgeError as error:
        return None, Outcome(False, " ".join(str(error).split())[:300])
    return measured, outcome_of(measured.cases, precision)
