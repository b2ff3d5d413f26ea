"""Tell what a source is by what is in it, and read it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from export.about import About, read_about
from export.model import SourceModel
from runtime.errors import UsageError

__all__ = ["KINDS", "Choice", "Kind", "kind_of", "read_source"]

Kind = Literal["onnx", "nnunet", "monai", "training", "gguf", "encoder"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_CONFIGS = Path(__file__).parents[2] / "training" / "configs"
"""Of `training.config`, which knows torch; an ONNX network is exported without it."""


@dataclass(frozen=True)
class Choice:
    """What a person chose about a source.

    Attributes:
        about: The sidecar; beside an ONNX file it is looked for under its name.
        folds: Of an nnU-Net; all that are there if none is named.
        mirror: Whether an nnU-Net is also shown mirrored tiles, as its own predictor does.
        checkpoint: File of an nnU-Net's fold.
    """

    about: About | None = None
    folds: tuple[str, ...] = ()
    mirror: bool = True
    checkpoint: str = "checkpoint_final.pth"


def kind_of(path: Path) -> Kind:
    """What a source is.

    Raises:
        UsageError: It is none that is known.
    """
    if path.is_file() and path.suffix == ".onnx":
        return "onnx"
    if (path.is_file() and path.suffix in (".pt", ".json")) or (_CONFIGS / f"{path}.json").is_file():
        return "training"
    if (path / "plans.json").is_file():
        return "nnunet"
    if (path / "configs" / "metadata.json").is_file():
        return "monai"
    if path.suffix == ".gguf" or (path / "config.json").is_file():
        return "encoder" if _model_type(path / "config.json").startswith("sam") else "gguf"
    raise UsageError(
        f"{path} is no ONNX file, no nnU-Net results folder (plans.json), no MONAI bundle "
        "(configs/metadata.json), no checkpoint folder (config.json), no GGUF file and no training; "
        f"use --kind with one of {', '.join(KINDS)} to insist"
    )


def _model_type(config: Path) -> str:
    """What a checkpoint's configuration says it is; nothing where it says nothing."""
    try:
        document = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return ""
    return str(document.get("model_type")) if isinstance(document, dict) else ""


def read_source(path: Path, kind: Kind | None, choice: Choice, work: Path) -> SourceModel:
    """Read a source of any kind that is one segmentation network.

    Args:
        path: A file or a folder.
        kind: What it is; told by its content when absent.
        choice: What a person chose.
        work: A folder to write in.

    Raises:
        UsageError: It is none that is known.
        BundleError: It is damaged, or cannot be reproduced; says why.
    """
    if not path.exists():
        raise UsageError(f"{path} does not exist")
    kind = kind or kind_of(path)
    if kind == "onnx":
        from export.sources.onnx_file import read_onnx

        return read_onnx(path, choice.about or read_about(path.with_suffix(".json")), work)
    about = choice.about or About()
    if kind == "monai":
        from export.sources.monai_bundle import read_monai

        return read_monai(path, about, work)
    from export.sources.nnunet import read_nnunet

    return read_nnunet(path, about, choice.folds, choice.checkpoint, choice.mirror, work)
