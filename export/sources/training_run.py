"""Our own trainings: a plain network's checkpoint, or a configuration whose runs are on the disk."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from export.proof import Proof
from export.sources.nano import read_accuracy, stage_plain
from export.sources.zeus import stage_zeus
from export.writing import place_bundle
from runtime.bundle import Bundle
from runtime.errors import UsageError
from training.config import read_config
from training.tasks.zeus_heads import ZeusHeadTraining

__all__ = ["RUNS", "export_training"]

RUNS = Path(__file__).parent.parent.parent / "training" / "runs"
_VERSION = "0.2.0"


def export_training(
    source: Path, out: Path, runs: Path, version: str | None, accuracy: Path | None, force: bool
) -> tuple[Bundle, tuple[Proof, ...]]:
    """Make the bundle of one of our trainings; `out` appears whole or not at all.

    Args:
        source: A checkpoint `last.pt` of a plain network, or a configuration of kind zeus-heads.
        out: The bundle's folder.
        runs: Folder of trainings, for a configuration.
        version: Of the model.
        accuracy: JSON lines of `benchmarks.accuracy` to record.
        force: Replace a bundle that is there.

    Raises:
        UsageError: The configuration is none that becomes a bundle, or its text encoder was not trained.
        BundleError: ONNX Runtime and torch disagree.
        DestinationError: `out` is there and is not to be replaced.
    """
    measured = read_accuracy(accuracy)
    with TemporaryDirectory(prefix="zeus-edge-") as name:
        staged = Path(name) / "bundle"
        if source.suffix == ".pt":
            _, proofs = stage_plain(source, staged, version or _VERSION, measured)
        else:
            config = read_config(str(source))
            if not isinstance(config, ZeusHeadTraining) or config.zeus.fusion != "early":
                raise UsageError(f"{source} is no Zeus with early fusion, trained on heads")
            _, proofs = stage_zeus(config, runs, staged, version or _VERSION, measured)
        return place_bundle(staged, out, force), proofs
