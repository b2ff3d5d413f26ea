"""Train what a configuration says; resumable, seeded, on CPU or CUDA.

python -m training.train                                  # zeus-nano-head
python -m training.train --config zeus-text-head
python -m training.train --config my-own.json --resume
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from runtime.errors import UsageError
from training.config import Training, read_config
from training.loop import Place, Task, fit, save_resume
from training.tasks.heads import HeadTask, HeadTraining
from training.tasks.labelled import LabelledTask, LabelledTraining
from training.tasks.text import TextTask
from training.tasks.writer import WriterTask, WriterTraining
from training.tasks.zeus_heads import ZeusHeadTask, ZeusHeadTraining

__all__ = ["main", "task_of"]

HERE = Path(__file__).parent
ROOT = HERE.parent
"""What paths in configurations start from."""


def task_of(config: Training, runs: Path, fresh: bool) -> Task:
    """What a configuration trains.

    Args:
        config: The configuration.
        runs: Folder of trainings.
        fresh: Nothing of an earlier run is used.
    """
    if isinstance(config, HeadTraining):
        return HeadTask(config, ROOT)
    if isinstance(config, LabelledTraining):
        return LabelledTask(config, ROOT, runs)
    if isinstance(config, ZeusHeadTraining):
        return ZeusHeadTask(config, ROOT, runs)
    if isinstance(config, WriterTraining):
        return WriterTask(config, ROOT, runs / config.name, fresh)
    return TextTask(config, runs / config.name, fresh)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--config", default="zeus-nano-head", help="one of training/configs, or a file (%(default)s)")
    add("--runs", type=Path, default=HERE / "runs", help="folder of checkpoints and curves")
    add("--resume", action="store_true", help="go on from the last checkpoint, or from training/resume")
    add("--steps", type=int, help="optimiser steps in all, instead of the configuration's")
    add("--cool-down", type=int, help="steps of linear decay to zero at the end")
    add("--workers", type=int, default=1, help="processes that make samples")
    add("--threads", type=int, default=0, help="CPU threads of the network (default: all)")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--minutes", type=float, default=0, help="stop after this long (0: never)")
    return parser


def _changed(config: Training, options: argparse.Namespace) -> Training:
    given = {"steps": options.steps, "cool_down": options.cool_down}
    given = {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(config, schedule=dataclasses.replace(config.schedule, **given))


def main(argv: Sequence[str] | None = None) -> int:
    """Train until the last step or the time limit; 0 when done, 2 when the configuration is wrong."""
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        config = _changed(read_config(options.config), options)
        run = options.runs / config.name
        torch.manual_seed(0)
        if options.threads:
            torch.set_num_threads(options.threads)
        device, committed = torch.device(options.device), HERE / "resume" / f"{config.name}.pt"
        place = Place(run, device, options.resume, committed, options.minutes, options.workers)
        run.mkdir(parents=True, exist_ok=True)
        (run / "config.json").write_text(json.dumps(dataclasses.asdict(config), indent=1))
        fit(task_of(config, options.runs, not options.resume), config.schedule, place)
    except UsageError as error:
        parser.error(str(error))
    if isinstance(config, HeadTraining):
        save_resume(run, HERE / "resume")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
