"""Segment one study from the command line."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from runtime.version import PRODUCT, RESEARCH_USE, __version__

if TYPE_CHECKING:
    from runtime.result import Result
    from runtime.study import Modality

__all__ = ["main"]

_EXAMPLES = """\
examples:
  python -m runtime.infer study/ --out result/
  python -m runtime.infer study.zip --out result/ --targets brain,lesion --format seg,json
  python -m runtime.infer T1=t1.nii.gz FLAIR=flair.nii.gz --out result/
  python -m runtime.infer study/ --out result/ --as 1.2.840.113619.2.5=T2

exit codes: 0 done, 2 usage, 3 input study, 4 bundle, 5 device, 6 unknown target,
7 destination, 130 interrupted
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, exit code 2."""
        self.exit(2, f"{self.prog}: {message}; see --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m runtime.infer",
        description=f"Segment a study on this device. {RESEARCH_USE}",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("study", nargs="*", metavar="STUDY", help="folder, archive or files of DICOM, or T1=file.nii.gz …")
    add("--out", type=Path, metavar="DIR", help="new folder for the result (needed)")
    add("--targets", metavar="A,B", help="structures to segment (default: all)")
    add("--bundle", type=Path, metavar="DIR", help="model bundle (default: zeus-nano-head, shipped)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    add("--threads", type=int, default=0, metavar="N", help="CPU threads (default: 0, every usable CPU)")
    add("--format", metavar="A,B", help="some of seg,nifti,json,png (default: all the input allows)")
    add("--as", dest="overrides", action="append", default=[], metavar="UID=T2", help="what a series shows")
    add("--force", action="store_true", help="replace an earlier result in DIR")
    add("--json", action="store_true", help="print the report instead of a table")
    add("--quiet", action="store_true", help="print nothing but errors")
    add("--list-targets", action="store_true", help="print the bundle's structures and stop")
    add("--version", action="store_true", help="print version and location and stop")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(argv)
    if options.version:
        print(f"{PRODUCT} {__version__} ({Path(__file__).resolve().parent})")
        return 0
    from runtime.errors import ZeusEdgeError

    previous = signal.signal(signal.SIGTERM, _terminated)
    try:
        return _list(options) if options.list_targets else _segment(options)
    except ZeusEdgeError as error:
        print(f"\nerror: {error}" if sys.stderr.isatty() else f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return 130
    except MemoryError:
        print("error: out of memory; close other programs or use a smaller study", file=sys.stderr)
        return 5
    finally:
        signal.signal(signal.SIGTERM, previous)


def _terminated(number: int, frame: object) -> NoReturn:
    """A polite kill cleans up like Ctrl-C."""
    raise KeyboardInterrupt


def _list(options: argparse.Namespace) -> int:
    from runtime.bundle import open_bundle

    bundle = open_bundle(options.bundle)
    for structure in bundle.manifest.structures:
        parts = f"  = {' + '.join(structure.union_of)}" if structure.union_of else ""
        print(f"{structure.name:<26}{structure.kind.scheme} {structure.kind.value}{parts}")
    return 0


def _words(text: str | None) -> list[str] | None:
    return None if text is None else [word.strip() for word in text.split(",") if word.strip()]


def _overrides(pairs: Sequence[str]) -> dict[str, Modality]:
    from runtime.errors import UsageError
    from runtime.study import MODALITIES, modality_named

    found: dict[str, Modality] = {}
    for pair in pairs:
        uid, separator, name = pair.rpartition("=")
        modality = modality_named(name)
        if not separator or not uid or modality is None:
            raise UsageError(f"--as {pair}: write UID=MODALITY with one of {', '.join(MODALITIES)}")
        found[uid] = modality
    return found


def _segment(options: argparse.Namespace) -> int:
    from runtime.console import ProgressLine
    from runtime.errors import UsageError
    from runtime.formats.output_folder import check_destination
    from runtime.result import FORMATS

    if not options.study or options.out is None:
        raise UsageError("give a STUDY and --out DIR; see --help")
    formats = _words(options.format)
    if unknown := [word for word in formats or () if word not in FORMATS]:
        raise UsageError(f"--format {unknown[0]}: use some of {','.join(FORMATS)}")
    overrides = _overrides(options.overrides)
    check_destination(options.out, options.force)
    from runtime.session import Session

    progress = ProgressLine(False if options.quiet or options.json else None)
    with Session(options.bundle, options.device, options.threads) as session:
        result = session.segment(options.study, _words(options.targets), overrides, progress)
        progress("write", 0.0)
        files = result.save(options.out, formats, options.force)  # type: ignore[arg-type]
    progress.clear()
    if options.json:
        print((options.out / "report.json").read_text(encoding="utf-8"), end="")
    elif not options.quiet:
        _show(result, files)
    return 0


def _show(result: Result, files: Sequence[Path]) -> None:
    report = result.report
    for channel in report.channels:
        kept = "" if channel.used else "  DROPPED"
        print(f"{channel.modality:<6}{channel.reason}; {channel.registration.method}{kept}")
    print(f"\n{'structure':<26}{'volume':>12}")
    for measurement in result.measurements:
        border = "  reaches the scan's border" if measurement.touches_border else ""
        print(f"{measurement.structure.name:<26}{measurement.volume_ml:>9.1f} ml{border}")
    for warning in report.warnings:
        print(f"warning: {warning}")
    for note in report.assumptions:
        print(f"note: {note}")
    print(f"\n{report.seconds['total']:.2f} s on {report.engine['device']}. {RESEARCH_USE}")
    for path in files:
        print(path)


if __name__ == "__main__":
    raise SystemExit(main())
