"""Make a trained model ready for the device, and prove that it answers as its source does.

A segmentation network becomes a bundle, a language model a GGUF file for --llm, a SAM an image encoder.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, get_args

from runtime.command import CommandParser
from runtime.version import RESEARCH_USE

if TYPE_CHECKING:
    from export.about import About
    from export.proof import Proof
    from runtime.bundle import Bundle

__all__ = ["main"]

_EXAMPLES = """\
sources:
  model.onnx            with model.json beside it, which says how the network sees a scan
  an nnU-Net v2 folder  plans.json, dataset.json, fold_0/checkpoint_final.pth …
  a training of ours    training/runs/NAME/last.pt of a plain network, or a configuration (zeus-head)
  a MONAI bundle        configs/metadata.json, configs/inference.json, models/model.pt or .ts
  a language model      folder with config.json (LLaMA, Mistral, Qwen 2 and 3), weights and tokenizer: becomes
                        FILE.gguf, or a folder with model.gguf and export.json; a .gguf is copied as it is
  a SAM                 folder with config.json, or weights and --network: becomes a folder with its image
                        encoder (model.onnx) and encoder.json

examples:
  python -m export model.onnx --out bundles/liver
  python -m export nnUNetTrainer__nnUNetPlans__3d_fullres --out bundles/spleen --about spleen.json
  python -m export model.onnx --out bundles/liver8 --precision int8 --golden study/
  python -m export vicuna-7b --lora adapter --type Q4_K_M --out vicuna.gguf

exit codes: 0 done, 2 usage, 4 the source cannot be used or the export is not equal to it,
5 llama.cpp is not there, 7 destination, 1 a fault of this program
"""

_NETWORKS = (
    *("sam_vit_b", "sam_vit_l", "sam_vit_h", "medsam", "mobile_sam", "lite_medsam"),
    *(f"efficientvit_sam_{size}" for size in ("l0", "l1", "l2", "xl0", "xl1")),
)
"""Of `export.encoder`, which knows torch."""


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="python -m export",
        description=f"{__doc__} {RESEARCH_USE}",
        epilog=_EXAMPLES,
    )
    from export.convert import Precision
    from export.language.convert import TYPES
    from export.sources.find import KINDS

    add = parser.add_argument
    add("source", type=Path, metavar="SOURCE", help="file or folder, see below")
    add("--out", type=Path, required=True, metavar="BUNDLE", help="new folder, or FILE.gguf")
    add("--kind", choices=KINDS, help="insist on a kind of source (default: told by its content)")
    add("--about", type=Path, metavar="FILE", help="sidecar: names, codes and what else the source lacks")
    add("--precision", choices=get_args(Precision), default="fp32", help="default: fp32")
    compared = "a study to compare masks on, as runtime.infer takes it; may be repeated (default: a made one)"
    add("--golden", nargs="+", action="append", default=[], metavar="STUDY", help=compared)
    add("--folds", metavar="0,1", help="folds of an nnU-Net (default: all that are there)")
    add("--checkpoint", default="checkpoint_final.pth", metavar="FILE", help="of each fold (%(default)s)")
    add("--no-mirror", action="store_true", help="show an nnU-Net no mirrored tiles: faster, not the same")
    add("--runs", type=Path, metavar="DIR", help="folder of our trainings (default: training/runs)")
    add(
        "--accuracy",
        type=Path,
        metavar="FILE",
        help="JSON lines of benchmarks.accuracy, for a training of ours",
    )
    add("--type", choices=TYPES, help="of a language model's matrices (default: F16)")
    add("--lora", type=Path, metavar="DIR", help="adapter of peft, merged into a language model")
    add("--network", choices=_NETWORKS, metavar="NAME", help=f"a SAM's: {', '.join(_NETWORKS)}")
    add("--force", action="store_true", help="replace what is there")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    from runtime.errors import ZeusEdgeError

    options = _parser().parse_args(argv)
    try:
        _export(options)
    except ZeusEdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _export(options: argparse.Namespace) -> None:
    from export.about import read_about
    from export.convert import Wanted, export_model
    from export.sources.find import Choice, kind_of, read_source
    from export.writing import MANIFEST
    from runtime.errors import UsageError
    from runtime.formats.output_folder import check_destination

    kind = options.kind or ("encoder" if options.network else kind_of(options.source))
    if kind == "encoder":
        _export_encoder(options)
        return
    if kind == "gguf":
        _export_language(options)
        return
    if options.type is not None or options.lora is not None:
        raise UsageError("--type and --lora are for language models")
    check_destination(options.out, options.force, ours=MANIFEST)
    about = None if options.about is None else read_about(options.about)
    folds = tuple(part.strip() for part in (options.folds or "").split(",") if part.strip())
    choice = Choice(about, folds, not options.no_mirror, options.checkpoint)
    golden = tuple(tuple(study) for study in options.golden)
    if kind == "training":
        bundle, proofs = _export_training(options, about)
    else:
        with TemporaryDirectory(prefix="zeus-edge-") as name:
            source = read_source(options.source, options.kind, choice, Path(name))
            wanted = Wanted(options.precision, golden, options.force)
            bundle, proofs = export_model(source, options.out, wanted)
    for proof in proofs:
        print(proof.text)
    size = sum(path.stat().st_size for path in bundle.folder.iterdir())
    print(f"{bundle.folder}: {size / 1e6:.1f} MB, bundle {bundle.identity.bundle_sha256[:12]}")


def _export_language(options: argparse.Namespace) -> None:
    """A GGUF file has a precision of its own (`--type`) and is compared with its source, not on studies."""
    from export.language.convert import Wanted, export_language
    from runtime.errors import UsageError

    if options.precision != "fp32" or options.golden or options.about is not None:
        raise UsageError("a language model has --type, and neither --precision nor --golden nor --about")
    if not options.source.exists():
        raise UsageError(f"{options.source} does not exist")
    model, proofs = export_language(
        options.source, options.out, Wanted(options.type, options.lora, options.force)
    )
    for proof in proofs:
        print(proof.text)
    print(f"{model}: {model.stat().st_size / 1e6:.1f} MB")


def _export_encoder(options: argparse.Namespace) -> None:
    """A SAM's encoder is no bundle, so it has neither studies nor another precision."""
    from export.about import read_about
    from export.encoder import export_encoder
    from runtime.errors import UsageError

    if options.precision != "fp32" or options.golden or options.type is not None or options.lora is not None:
        raise UsageError("an encoder has neither --precision nor --golden, --type or --lora")
    if not options.source.exists():
        raise UsageError(f"{options.source} does not exist")
    licence = "unknown" if options.about is None else read_about(options.about).licence or "unknown"
    model, proofs = export_encoder(options.source, options.out, options.network, licence, options.force)
    for proof in proofs:
        print(proof.text)
    print(f"{model}: {sum(path.stat().st_size for path in model.parent.iterdir()) / 1e6:.1f} MB")


def _export_training(options: argparse.Namespace, about: About | None) -> tuple[Bundle, tuple[Proof, ...]]:
    """Our own trainings have several networks, each with a proof of its own, in float32 only."""
    from export.sources.training_run import RUNS, export_training
    from runtime.errors import UsageError

    if options.precision != "fp32":
        raise UsageError("a training of ours is exported with --precision fp32 only")
    version = None if about is None else about.version
    runs = options.runs or RUNS
    return export_training(options.source, options.out, runs, version, options.accuracy, options.force)


if __name__ == "__main__":
    raise SystemExit(main())
