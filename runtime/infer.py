"""Segment one study from the command line."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from runtime.command import CommandParser
from runtime.version import PRODUCT, RESEARCH_USE, __version__

if TYPE_CHECKING:
    from runtime.report import Report
    from runtime.result import Result
    from runtime.study import Modality
    from runtime.trust.running import Running

__all__ = ["main"]

_EXAMPLES = """\
examples:
  python -m runtime.infer study/ --out result/
  python -m runtime.infer study.zip --out result/ --targets brain,lesion --format seg,json
  python -m runtime.infer T1=t1.nii.gz FLAIR=flair.nii.gz --out result/
  python -m runtime.infer study/ --out result/ --as 1.2.840.113619.2.5=T2
  python -m runtime.infer study/ --out result/ --bundle DIR --instruction "outline the lesion"

exit codes: 0 done, 2 usage, 3 input study, 4 bundle, 5 device, 6 target or instruction,
7 destination, 130 interrupted, 1 a fault of this program
"""


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="python -m runtime.infer",
        description=f"Segment a study on this device. {RESEARCH_USE}",
        epilog=_EXAMPLES,
    )
    add = parser.add_argument
    add("study", nargs="*", metavar="STUDY", help="folder, archive or files of DICOM, or T1=file.nii.gz …")
    add("--out", type=Path, metavar="DIR", help="new folder for the result (needed)")
    add("--targets", metavar="A,B", help="structures to segment (default: all)")
    add(
        "--instruction",
        action="append",
        metavar="TEXT",
        help="what to segment, in words; may be repeated (kept in report.json only)",
    )
    add("--llm", default="auto", metavar="GGUF", help="what writes: auto (the bundle's), none, a .gguf file")
    add("--mmproj", type=Path, metavar="GGUF", help="lets the model of --llm PATH see (its vision projector)")
    add("--llm-deadline", type=float, default=10.0, metavar="S", help="then the rule answers (default: 10)")
    add("--bundle", type=Path, metavar="DIR", help="model bundle (default: zeus-nano-head, shipped)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    add("--unqualified", action="store_true", help="run DEVICE without a passport; every output says so")
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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name or a sign that the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    try:
        options = _parser().parse_intermixed_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    if options.version:
        print(f"{PRODUCT} {__version__} ({Path(__file__).resolve().parent})")
        return 0
    options.saved = False
    with _polite_signals():
        return _guarded(options)


def _guarded(options: argparse.Namespace) -> int:
    """Do what was asked for; whatever goes wrong becomes one line and an exit code."""
    from runtime.console import quiet_libraries
    from runtime.errors import ZeusEdgeError

    try:
        with quiet_libraries():
            code = _list(options) if options.list_targets else _segment(options)
            sys.stdout.flush()
        return code
    except ZeusEdgeError as error:
        return _failed(f"error: {error}", error.exit_code)
    except KeyboardInterrupt:
        what = f"the result is in {options.out}" if options.saved else "nothing was written"
        return _failed(f"interrupted; {what}", 130)
    except MemoryError:
        return _failed("error: out of memory; close other programs or use a smaller study", 5)
    except BrokenPipeError:  # whoever read our output has seen enough
        _abandon_output()
        return 0
    except OSError as error:
        _abandon_output()
        where = error.filename or "standard output"
        return _failed(f"error: {where} cannot be read or written ({error.strerror})", 7)
    except Exception as error:
        if sys.flags.dev_mode:
            raise
        return _failed(f"error: {_fault(error)}", 1)


def _failed(message: str, code: int) -> int:
    """Say in one line what went wrong, in place of a progress line."""
    from runtime.console import printable

    print(("\r\x1b[K" if sys.stderr.isatty() else "") + printable(message), file=sys.stderr)
    return code


def _fault(error: Exception) -> str:
    """Where an error that nobody expected came from; its text is left out, it may hold patient data."""
    import traceback

    place = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{type(error).__name__} in {Path(place.filename).name}, line {place.lineno}: a fault of this "
        "program; please report it (python -X dev -m runtime.infer shows more, perhaps patient data too)"
    )


def _abandon_output() -> None:
    """Let the interpreter's last flush go nowhere instead of failing again."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


@contextmanager
def _polite_signals() -> Iterator[None]:
    """A polite kill and a closed terminal clean up like Ctrl-C; `nohup` is respected."""
    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, _terminated) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _terminated(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _list(options: argparse.Namespace) -> int:
    from runtime.bundle import open_bundle

    bundle = open_bundle(options.bundle)
    for structure in bundle.manifest.structures:  # printable: the schema has seen to it
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
    from runtime.result import check_formats

    if not options.study or options.out is None:
        raise UsageError("give a STUDY and --out DIR; see --help")
    # Whatever can be refused is refused before the study is read.
    formats = _words(options.format)
    if formats is not None:
        check_formats(formats, is_dicom=not any(map(_is_named_image, options.study)))
    overrides = _overrides(options.overrides)
    check_destination(options.out, options.force)
    from runtime.session import Session

    progress = ProgressLine(False if options.quiet else None)
    running = None
    if options.device not in ("auto", "cpu") and not options.unqualified:
        running = _qualified(options)
    writer = options.llm, options.llm_deadline, options.mmproj
    given = options.bundle, options.device, options.threads, *writer, options.unqualified, running
    with Session(*given) as session:
        targets = _words(options.targets)
        result = session.segment(options.study, targets, overrides, progress, options.instruction)
        progress("write", 0.0)
        files = result.save(options.out, formats, options.force)  # type: ignore[arg-type]
        options.saved = True
    progress.clear()
    if options.json:
        print(json.dumps(_saved_report(options.out), indent=1))  # ASCII: right in every pipe's encoding
    elif not options.quiet:
        _show(result, files, _saved_report(options.out)["assumptions"])
    return 0


def _qualified(options: argparse.Namespace) -> Running:
    """What runs on a named device; without a valid passport it is qualified now, which takes a while."""
    from runtime.bundle import open_bundle
    from runtime.qualify.first import qualified_running

    def told(text: str) -> None:
        print(f"qualifying: {text}", file=sys.stderr)

    quiet = options.quiet
    return qualified_running(
        open_bundle(options.bundle), options.device, options.threads, None if quiet else told
    )


def _is_named_image(source: str) -> bool:
    """Whether a source is a NIfTI or MGH file with its modality, T1=FILE."""
    return re.fullmatch(r"\w+=.+", source) is not None and not Path(source).exists()


def _saved_report(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return report


def _show(result: Result, files: Sequence[Path], notes: Sequence[str]) -> None:
    from runtime.console import printable

    report = result.report
    lines = []
    for channel in report.channels:
        kept = "" if channel.used else "  DROPPED"
        lines.append(f"{channel.modality:<6}{channel.reason}; {channel.registration.method}{kept}")
    lines += _written(report)
    lines += report.answers
    lines += ["", f"{'structure':<26}{'volume':>12}"]
    for measurement in result.measurements:
        border = "  reaches the scan's border" if measurement.touches_border else ""
        lines.append(f"{measurement.structure.name:<26}{measurement.volume_ml:>9.1f} ml{border}")
    lines += [f"warning: {warning}" for warning in report.warnings]
    lines += [f"note: {note}" for note in notes]
    lines += ["", f"{report.seconds['total']:.2f} s on {report.engine['device']}. {RESEARCH_USE}"]
    print("\n".join(printable(line) for line in [*lines, *map(str, files)]))


def _written(report: Report) -> list[str]:
    """The instruction of each series, who wrote it, and how well both agree."""
    if report.language is None:
        return []
    lines = [f"instructions: {report.language.reason}"]
    for item in report.language.written:
        sure = "" if item.confidence is None else f", confidence {item.confidence:.2f}"
        lines.append(f"{item.modality:<6}{item.text} (by the {item.author}{sure})")
    return lines


if __name__ == "__main__":
    raise SystemExit(main())
