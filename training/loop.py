"""The loop every training goes through: resumable, on CPU or CUDA, with averaged weights and a curve."""

from __future__ import annotations

import contextlib
import copy
import csv
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

__all__ = ["Place", "Schedule", "Task", "autocast", "cast", "fit", "load_average", "save_resume"]

_EVERY = 50
"""Steps between two lines of the curve."""
_SAVED = 250
"""Steps between two checkpoints."""


@dataclass(frozen=True)
class Schedule:
    """How long, and how fast.

    Attributes:
        steps: Optimiser steps in all.
        batch: Samples per step.
        rate: Learning rate after the warm-up.
        warm_up: Steps of linear warm-up.
        cool_down: Steps of linear decay to zero at the end.
        average: Decay of the exponential average of the weights that is exported.
        decay: Weight decay.
    """

    steps: int = 24_000
    batch: int = 1
    rate: float = 1e-3
    warm_up: int = 300
    cool_down: int = 4_000
    average: float = 0.998
    decay: float = 1e-4

    def rate_at(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        rise = min(1.0, (step + 1) / self.warm_up)
        return self.rate * rise * min(1.0, max(0.0, (self.steps - step) / self.cool_down))


@dataclass(frozen=True)
class Place:
    """Where and how long to train now.

    Attributes:
        run: Folder of checkpoints and curve.
        device: Where the network lies.
        resume: Go on from the run's last checkpoint, or from `resume_from`.
        resume_from: Committed half-precision weights.
        minutes: Stop after this long; 0 never.
        workers: Processes that make samples, where a task has any.
    """

    run: Path
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    resume: bool = False
    resume_from: Path | None = None
    minutes: float = 0
    workers: int = 1


class Task(Protocol):
    """What is trained, from what, to minimise what."""

    def network(self) -> nn.Module:
        """A new network with random weights."""
        ...

    def batches(self, start: int, place: Place) -> Iterable[Any]:
        """Endless batches; the first is that of step `start`."""
        ...

    def loss(self, network: nn.Module, batch: Any, step: int, device: torch.device) -> Tensor:
        """What to minimise, a scalar."""
        ...


def cast(weights: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Weights with floating-point tensors of another type."""
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in weights.items()}


def autocast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """bfloat16 where the device multiplies it in hardware, else float32."""
    usable = device.type == "cuda" or bool(_cpu_flags() & {"amx_bf16", "avx512_bf16"})
    return torch.autocast(device.type, dtype=torch.bfloat16) if usable else contextlib.nullcontext()


def _cpu_flags() -> set[str]:
    path = Path("/proc/cpuinfo")
    return set(path.read_text().split()) if path.exists() else set()


def _place(network: nn.Module, device: torch.device) -> None:
    """Put a network on a device, its convolutions with channels last, whichever kind it has."""
    sides = {parameter.dim() for parameter in network.parameters()}
    formats = {5: torch.channels_last_3d, 4: torch.channels_last}
    wanted = [layout for count, layout in formats.items() if count in sides]
    network.to(device, memory_format=wanted[0]) if wanted else network.to(device)  # type: ignore[call-overload]


@torch.no_grad()
def _update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    for kept, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, 1 - decay)
        else:
            kept.copy_(new)


def _save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint to a temporary name, then rename it."""
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def save_resume(run: Path, folder: Path) -> None:
    """Keep a run's newest weights in half precision, small enough to commit; their average restarts."""
    state = torch.load(run / "last.pt", weights_only=True, map_location="cpu")
    folder.mkdir(parents=True, exist_ok=True)
    weights = cast(state["network"], torch.float16)
    _save(folder / f"{run.name}.pt", {"step": state["step"], "network": weights})


def load_average(checkpoint: Path, network: nn.Module) -> int:
    """Put a checkpoint's averaged weights into a network, in evaluation mode; returns its step."""
    state = torch.load(checkpoint, weights_only=True, map_location="cpu")
    network.load_state_dict(cast(state["average"], torch.float32))
    network.eval()
    return int(state["step"])


class _State:
    """What a checkpoint holds."""

    def __init__(self, task: Task, schedule: Schedule, place: Place) -> None:
        self.network = task.network()
        self.average = copy.deepcopy(self.network).eval()
        self.step = 0
        trained = [p for p in self.network.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(trained, lr=schedule.rate, weight_decay=schedule.decay)
        self._path = place.run / "last.pt"
        committed = place.resume_from
        found = self._path if self._path.exists() else committed
        if place.resume and found is not None and found.exists():
            state = torch.load(found, weights_only=True, map_location="cpu")
            self.network.load_state_dict(cast(state["network"], torch.float32))
            self.average.load_state_dict(cast(state.get("average", state["network"]), torch.float32))
            if "optimiser" in state:
                self.optimiser.load_state_dict(state["optimiser"])
            self.step = int(state["step"])
        _place(self.network, place.device)
        self.average.to(place.device)

    def save(self) -> None:
        kept = {"network": self.network.state_dict(), "average": self.average.state_dict()}
        _save(self._path, {"step": self.step, "optimiser": self.optimiser.state_dict(), **kept})


@contextlib.contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """Grows when the process is asked to end: then the loop saves and ends."""
    stop: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: stop.append(number))
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)


def fit(task: Task, schedule: Schedule, place: Place) -> int:
    """Train until the last step, the time limit or SIGTERM; the run's folder has the newest checkpoint.

    Returns:
        The step it ended at.
    """
    place.run.mkdir(parents=True, exist_ok=True)
    state = _State(task, schedule, place)
    if state.step >= schedule.steps:
        return state.step
    started = shown = time.monotonic()
    total = 0.0
    state.network.train()
    with _asked_to_stop() as stop:
        for batch in task.batches(state.step, place):
            for group in state.optimiser.param_groups:
                group["lr"] = schedule.rate_at(state.step)
            loss = task.loss(state.network, batch, state.step, place.device)
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
            nn.utils.clip_grad_norm_(state.network.parameters(), 5.0)
            state.optimiser.step()
            state.optimiser.zero_grad(set_to_none=True)
            state.step += 1
            decay = min(schedule.average, (state.step + 1) / (state.step + 10))
            _update_average(state.average, state.network, decay)
            if state.step % _EVERY == 0:
                now = time.monotonic()
                _note(place.run, (state.step, round(total / _EVERY, 4), round((now - shown) / _EVERY, 3)))
                shown, total = now, 0.0
            late = bool(place.minutes) and time.monotonic() - started > 60 * place.minutes
            done = state.step >= schedule.steps or late or bool(stop)
            if state.step % _SAVED == 0 or done:
                state.save()
            if done:
                break
    return state.step


def _note(run: Path, row: tuple[int, float, float]) -> None:
    """One line for people and one for the curve."""
    print(f"step {row[0]:6d}  loss {row[1]:.4f}  {row[2]:.2f} s/step", file=sys.stderr, flush=True)
    with (run / "curve.csv").open("a", newline="") as file:
        csv.writer(file).writerow(row)
