"""Configurations: everything that decides a training, in one JSON file."""

from __future__ import annotations

import json
from pathlib import Path

from runtime.errors import UsageError
from runtime.schema import SchemaError, build
from training.tasks.heads import HeadTraining
from training.tasks.labelled import LabelledTraining
from training.tasks.text import TextTraining
from training.tasks.writer import WriterTraining
from training.tasks.zeus_heads import ZeusHeadTraining

__all__ = ["CONFIGS", "Training", "read_config"]

CONFIGS = Path(__file__).parent / "configs"
"""The project's own; a configuration can lie anywhere."""

Training = HeadTraining | LabelledTraining | TextTraining | WriterTraining | ZeusHeadTraining

_KINDS: dict[str, type[Training]] = {
    "heads": HeadTraining,
    "labelled": LabelledTraining,
    "text": TextTraining,
    "writer": WriterTraining,
    "zeus-heads": ZeusHeadTraining,
}


def read_config(name: str | Path) -> Training:
    """Read a configuration by the name of one of ours, or by its path.

    Raises:
        UsageError: It is not there, is no JSON, or says something that is not known.
    """
    own = CONFIGS / f"{name}.json"
    path = own if own.is_file() else Path(name)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        known = ", ".join(sorted(entry.stem for entry in CONFIGS.glob("*.json")))
        raise UsageError(f"configuration {name} cannot be read ({error}); ours are {known}") from error
    kind = document.get("kind") if isinstance(document, dict) else None
    if kind not in _KINDS:
        raise UsageError(f"{path}: kind is {kind!r}; use one of {', '.join(_KINDS)}")
    try:
        return build(_KINDS[kind], document)
    except (SchemaError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from error
