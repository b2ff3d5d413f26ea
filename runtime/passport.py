"""Qualify a bundle on this device: which engines answer as the reference does, as a signed file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.command import CommandParser
from runtime.version import RESEARCH_USE

if TYPE_CHECKING:
    from runtime.bundle import Bundle
    from runtime.trust.document import Entry, Passport, Precision

__all__ = ["main"]

_EXAMPLES = """\
examples:
  python -m runtime.passport bundles/liver
  python -m runtime.passport bundles/liver --precision fp32,fp16,int8 --golden study/
  python -m runtime.passport bundles/liver --status
  python -m runtime.passport bundles/liver --out passport.json --key fleet.pem

The passport is kept in the user's data, by the bundle's hash; runtime.infer looks for it there.

exit codes: 0 done (with --status: valid), 2 usage, 3 golden study, 4 bundle,
5 device or key (with --status: not valid), 7 destination
"""

_PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")


def _parser() -> CommandParser:
    parser = CommandParser("python -m runtime.passport", f"{__doc__} {RESEARCH_USE}", _EXAMPLES)
    add = parser.add_argument
    add("bundle", nargs="?", type=Path, metavar="BUNDLE", help="default: zeus-nano-head, shipped")
    add("--precision", metavar="A,B", help="some of fp32,fp16,int8 (default: the bundle's)")
    studies = "a study to compare masks on, as runtime.infer takes it; may be repeated; nothing of it is kept"
    add("--golden", nargs="+", action="append", default=[], metavar="STUDY", help=studies)
    add("--engines", metavar="A,B", help="kinds of engine (default: all that can be used here)")
    add("--device", choices=("cpu", "cuda"), help="engines of this device only")
    add("--threads", type=int, default=0, metavar="N", help="CPU threads (default: 0, every usable CPU)")
    add("--tries", type=int, default=16, metavar="N", help="searches for nodes to keep in FP32 (default: 16)")
    add("--key", type=Path, metavar="PEM", help="Ed25519 private key (default: this device's own)")
    add("--out", type=Path, metavar="FILE", help="copy the passport there too")
    add("--force", action="store_true", help="replace FILE")
    add("--status", action="store_true", help="say in one line whether the passport is valid, and stop")
    add("--quiet", action="store_true", help="print nothing but errors")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    from runtime.console import printable, quiet_libraries
    from runtime.errors import ZeusEdgeError

    try:
        options = _parser().parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        with quiet_libraries():
            return _status(options) if options.status else _issue(options)
    except ZeusEdgeError as error:
        print(printable(f"error: {error}"), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; the passport is what it was before", file=sys.stderr)
        return 130


def _status(options: argparse.Namespace) -> int:
    from runtime.bundle import open_bundle
    from runtime.console import printable
    from runtime.engines.kinds import KINDS
    from runtime.trust.validity import status

    found = status(open_bundle(options.bundle), KINDS)
    if not options.quiet:
        print(printable(found.line()))
    return 5 if found.problem else 0


def _issue(options: argparse.Namespace) -> int:
    from runtime.bundle import open_bundle
    from runtime.errors import DestinationError
    from runtime.qualify.issue import Wanted, qualify

    if options.out is not None and options.out.exists() and not options.force:
        raise DestinationError(f"{options.out} already exists; choose another file or use --force")
    bundle = open_bundle(options.bundle)
    wanted = Wanted(
        _precisions(options.precision, bundle),
        tuple(tuple(study) for study in options.golden),
        tuple(_words(options.engines)),
        options.device,
        options.threads,
        options.tries,
        options.key,
    )
    _check_engines(wanted.engines)
    issued = qualify(bundle, wanted, told=_nothing if options.quiet else _told)
    if options.out is not None:
        from runtime.formats.output_folder import whole_file

        with whole_file(options.out) as part:
            part.write_bytes(issued.path.read_bytes())
    if not options.quiet:
        _show(issued.passport)
        print(issued.path)
    return 0


def _told(text: str) -> None:
    """One line of progress for each thing that is begun."""
    print(f"qualifying: {text}", file=sys.stderr)


def _nothing(text: str) -> None:
    """Say nothing."""


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def _precisions(text: str | None, bundle: Bundle) -> tuple[Precision, ...]:
    from runtime.errors import UsageError

    words = _words(text)
    if unknown := [word for word in words if word not in _PRECISIONS]:
        raise UsageError(f"there is no precision {unknown[0]!r}; use some of {','.join(_PRECISIONS)}")
    return tuple(item for item in _PRECISIONS if item in words) or (bundle.manifest.encoder.precision,)


def _check_engines(names: Sequence[str]) -> None:
    from runtime.engines.kinds import KINDS
    from runtime.errors import UsageError

    known = [kind.name for kind in KINDS]
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"there is no engine {unknown[0]!r}; use some of {','.join(known)}")


def _show(passport: Passport) -> None:
    from runtime.console import printable

    print(f"{'engine':<18}{'':<6}{'verdict':<11}{'tile':>9}  reason")
    for entry in passport.entries:
        print(printable(_line(entry)))


def _line(entry: Entry) -> str:
    seconds = f"{1000 * entry.latency_seconds:.1f} ms" if entry.latency_seconds else ""
    kept = f"; {len(entry.kept_nodes)} nodes kept in fp32" if entry.kept_nodes else ""
    return f"{entry.engine:<18}{entry.precision:<6}{entry.verdict:<11}{seconds:>9}  {entry.reason}{kept}"


if __name__ == "__main__":
    raise SystemExit(main())
