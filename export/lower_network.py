"""Lower the precision of one ONNX file, on the device that will run it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from runtime.command import CommandParser
from runtime.errors import first_line

__all__ = ["main"]

_EXAMPLES = """\
example:
  python -m export.lower_network encoder.onnx --out half.onnx --precision fp16 --keep nodes.json

prints {"nodes": [...]}: what the precision changes, in the order in which it runs

exit codes: 0 done, 2 usage, 4 the network cannot be converted
"""


def _parser() -> CommandParser:
    parser = CommandParser("python -m export.lower_network", str(__doc__), _EXAMPLES)
    add = parser.add_argument
    add("network", type=Path, metavar="ONNX", help="in float32, with its weights inside")
    add("--out", type=Path, required=True, metavar="ONNX", help="file to write")
    add("--precision", choices=("fp16", "int8"), required=True)
    add("--keep", type=Path, metavar="JSON", help="list of names of nodes that stay in float32")
    add("--tiles", type=Path, metavar="NPZ", help="what int8 is calibrated on, each (1, channels, …)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(argv)
    try:
        nodes = _lower(options)
    except Exception as error:  # the libraries raise nearly anything
        first = first_line(error, 200)
        print(f"error: the network cannot be made {options.precision} ({first})", file=sys.stderr)
        return 4
    print(json.dumps({"nodes": nodes}))
    return 0


def _lower(options: argparse.Namespace) -> list[str]:
    import numpy as np
    import onnx

    from export.lowering import convertible, name_nodes, to_half, to_int8, widen_weights

    kept = [] if options.keep is None else json.loads(options.keep.read_text(encoding="utf-8"))
    model = onnx.load(options.network)
    name_nodes(model)
    widen_weights(model)
    nodes = convertible(model, options.precision)
    if options.precision == "fp16":
        options.out.write_bytes(to_half(model, kept).SerializeToString())
    else:
        with np.load(options.tiles, allow_pickle=False) as tiles:
            to_int8(options.network, options.out, [tiles[name] for name in tiles.files], kept)
    return nodes


if __name__ == "__main__":
    raise SystemExit(main())
