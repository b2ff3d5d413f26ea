"""Command: write the demo study (`python -m training.phantom OUT`)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from runtime.errors import ZeusEdgeError
from training.phantom.parameters import HeadParameters
from training.phantom.study import write_dicom_study

__all__ = ["main"]

_EXAMPLES = """examples:
  python -m training.phantom demo/study
  python -m training.phantom /tmp/head --seed 3 --force
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Write one study; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.phantom",
        description="Write a DICOM study (T1, T2, FLAIR, CT) of an analytic head, with its truth.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write: OUT/dicom and OUT/truth")
    parser.add_argument("--seed", type=int, default=0, help="0 is the demo head, others differ (default 0)")
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists")
    arguments = parser.parse_args(argv)
    if arguments.seed < 0:
        parser.error("--seed must not be negative")
    parameters = HeadParameters()
    if arguments.seed:
        drawn = HeadParameters.random(arguments.seed)
        parameters = replace(drawn, lesions=drawn.lesions or parameters.lesions)
    try:
        truth = write_dicom_study(arguments.out, parameters, arguments.seed, arguments.force)
    except ZeusEdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"wrote {', '.join(truth.labels)} to {truth.dicom}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
