"""Train `zeus-nano-head` on synthetic heads; resumable, seeded, on CPU or CUDA.

python -m training.train --maps ../shared/data/synthseg-labels/data/training_label_maps
python -m training.train --resume
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from training.dataset import HeadStream, StreamConfig, load_heads
from training.losses import segmentation_loss
from training.networks.nano import NanoConfig, NanoNetwork
from training.structures import CLASS_NAMES

__all__ = ["TrainingConfig", "main"]

HERE = Path(__file__).parent
MAPS = HERE.parent.parent / "shared" / "data" / "synthseg-labels" / "data" / "training_label_maps"
_HEAVY = {"lesion": 2.0, "necrosis": 3.0, "oedema": 2.0, "background": 0.5, "head": 0.6}


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Schedule and size of one training.

    Attributes:
        steps: Optimiser steps in all.
        batch: Heads per step; their sides differ, so one goes through the network after the other.
        rate: Learning rate after the warm-up.
        warm_up: Steps of linear warm-up.
        cool_down: Steps of linear decay to zero at the end.
        average: Decay of the exponential average of the weights that is exported.
        network: Size of the network.
        stream: What the data looks like.
    """

    steps: int = 24_000
    batch: int = 1
    rate: float = 1e-3
    warm_up: int = 300
    cool_down: int = 4_000
    average: float = 0.998
    network: NanoConfig = dataclasses.field(default_factory=NanoConfig)
    stream: StreamConfig = dataclasses.field(default_factory=StreamConfig)


def _precision(device: torch.device) -> torch.dtype | None:
    """bfloat16 where the device multiplies it in hardware, else None (float32)."""
    if device.type == "cuda":
        return torch.bfloat16
    return torch.bfloat16 if _cpu_flags() & {"amx_bf16", "avx512_bf16"} else None


def _cpu_flags() -> set[str]:
    path = Path("/proc/cpuinfo")
    return set(path.read_text().split()) if path.exists() else set()


def _rate(step: int, config: TrainingConfig) -> float:
    rise = min(1.0, (step + 1) / config.warm_up)
    return config.rate * rise * min(1.0, max(0.0, (config.steps - step) / config.cool_down))


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


def _cast(weights: dict[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in weights.items()}


def save_resume(run: Path, folder: Path) -> None:
    """Keep the newest weights in half precision, small enough to commit; their average restarts."""
    state = torch.load(run / "last.pt", weights_only=True, map_location="cpu")
    folder.mkdir(parents=True, exist_ok=True)
    weights = _cast(state["network"], torch.float16)
    _save(folder / f"{run.name}.pt", {"step": state["step"], "network": weights})


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__)
    parser.add_argument("--maps", type=Path, default=MAPS, help="folder of label maps (default: %(default)s)")
    parser.add_argument("--run", type=Path, default=HERE / "runs" / "zeus-nano-head")
    parser.add_argument(
        "--resume", action="store_true", help="go on from the run's last checkpoint or from training/resume"
    )
    parser.add_argument("--steps", type=int, default=TrainingConfig.steps)
    parser.add_argument("--cool-down", type=int, default=TrainingConfig.cool_down)
    parser.add_argument("--batch", type=int, default=TrainingConfig.batch)
    parser.add_argument("--workers", type=int, default=1, help="processes that make samples")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of the network (default: all)")
    parser.add_argument("--phantoms", type=int, default=StreamConfig.phantoms)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--minutes", type=float, default=0, help="stop after this long (0: never)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Train until the last step or the time limit; 0 when done."""
    options = _arguments(argv)
    stream = StreamConfig(phantoms=options.phantoms)
    config = TrainingConfig(options.steps, options.batch, cool_down=options.cool_down, stream=stream)
    device = torch.device(options.device)
    torch.manual_seed(stream.seed)
    if options.threads:
        torch.set_num_threads(options.threads)
    network, average = NanoNetwork(config.network), NanoNetwork(config.network)
    average.load_state_dict(network.state_dict())
    options.run.mkdir(parents=True, exist_ok=True)
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.rate, weight_decay=1e-4)
    step = 0
    last, committed = options.run / "last.pt", HERE / "resume" / f"{options.run.name}.pt"
    if options.resume and (last.exists() or committed.exists()):
        state = torch.load(last if last.exists() else committed, weights_only=True, map_location="cpu")
        network.load_state_dict(_cast(state["network"], torch.float32))
        average.load_state_dict(_cast(state.get("average", state["network"]), torch.float32))
        if "optimiser" in state:
            optimiser.load_state_dict(state["optimiser"])
        step = int(state["step"])
    network.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    average.to(device)
    (options.run / "config.json").write_text(json.dumps(dataclasses.asdict(config), indent=1))
    real, phantoms = load_heads(options.maps, options.run.parent / "heads", stream.phantoms)
    data = HeadStream(real, phantoms, stream, start=step * config.batch)
    loader = DataLoader(data, batch_size=1, num_workers=options.workers, prefetch_factor=3)
    weights = torch.tensor([_HEAVY.get(name, 1.0) for name in CLASS_NAMES], device=device)
    precision = _precision(device)
    loss_of = torch.compile(segmentation_loss, dynamic=True)
    started, shown, total = time.monotonic(), time.monotonic(), 0.0
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stop.append(number))  # save, then end
    network.train()
    for count, (image, counts, seen) in enumerate(loader, start=1):
        for group in optimiser.param_groups:
            group["lr"] = _rate(step, config)
        image = image.to(device).float().contiguous(memory_format=torch.channels_last_3d)
        with torch.autocast(device.type, dtype=precision or torch.bfloat16, enabled=precision is not None):
            scores = network(image)
        half = slice(step % 2, None, 2)  # neighbouring planes tell the same, at twice the price
        loss = loss_of(scores[:, :, half], counts[:, :, half].to(device), seen[:, half].to(device), weights)
        (loss / config.batch).backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach()) / config.batch
        if count % config.batch:
            continue
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        step += 1
        _update_average(average, network, min(config.average, (step + 1) / (step + 10)))
        if step % 50 == 0:
            now = time.monotonic()
            row = (step, round(total / 50, 4), round((now - shown) / 50, 3))
            print(f"step {row[0]:6d}  loss {row[1]:.4f}  {row[2]:.2f} s/step", file=sys.stderr, flush=True)
            with (options.run / "curve.csv").open("a", newline="") as file:
                csv.writer(file).writerow(row)
            shown, total = now, 0.0
        late = bool(options.minutes) and time.monotonic() - started > 60 * options.minutes
        done = step >= config.steps or late or stop
        if step % 250 == 0 or done:
            kept = {"network": network.state_dict(), "average": average.state_dict()}
            _save(last, {"step": step, "optimiser": optimiser.state_dict(), **kept})
        if done:
            break
    save_resume(options.run, HERE / "resume")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
