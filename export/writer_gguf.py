"""Make the files of `zeus-nano-writer`: language model (GGUF), vision network (ONNX), prompt.

python -m training.train --config zeus-nano-writer
python -m export.writer_gguf
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from export.gguf_writing import PRECISIONS, About, Precision, gguf_bytes
from export.onnx_parts import part_onnx
from export.proof import Proof
from export.writer_proof import prove
from runtime.bundle import Network, Tensor, WriterModel
from runtime.errors import UsageError, ZeusEdgeError
from runtime.version import __version__
from training.config import read_config
from training.evaluation.writer import Author, open_author
from training.tasks.writer import WriterTraining
from training.writer.words import PROMPT

__all__ = ["Exported", "export_writer", "main"]

_ROOT = Path(__file__).parent.parent
_RUNS = _ROOT / "training" / "runs"
_AUTO = torch.export.Dim.AUTO
_MARGIN_TOKENS = 8
"""That an answer may have beyond the longest of training: the grammar allows names that are never taught."""


@dataclass(frozen=True)
class Exported:
    """A writer, ready for a bundle.

    Attributes:
        files: Content by name.
        model: Its section of a bundle's manifest.
        proofs: That llama.cpp and ONNX Runtime agreed with torch; none where nothing was compared.
    """

    files: Mapping[str, bytes]
    model: WriterModel
    proofs: tuple[Proof, ...]


def _vision_onnx(author: Author) -> bytes:
    """`views` (S, V, size, size) float32 to `tokens` (S, N, E) float32, for any number of series."""
    config = author.network.vision.config
    views = torch.zeros(3, config.views, config.size, config.size)
    return part_onnx(author.network.vision, {"views": views}, ["tokens"], [{0: _AUTO}])


def _model(author: Author) -> WriterModel:
    config, width = author.network.vision.config, author.network.language.config.width
    views = Tensor("views", "float32", (0, config.views, config.size, config.size))
    tokens = Tensor("tokens", "float32", (0, config.tokens, width))
    return WriterModel(
        model="writer.gguf",
        vision=Network("vision.onnx", (views,), (tokens,), 1),
        prompt="writer_prompt.txt",
        most_tokens=author.task.longest_answer() + _MARGIN_TOKENS,
    )


def export_writer(author: Author, precision: Precision = "Q8_0", cache: Path | None = None) -> Exported:
    """Export a trained writer, after llama.cpp and ONNX Runtime agreed with torch.

    Args:
        author: Network and tokenizer.
        precision: Of the language model's weights.
        cache: Folder for the heads that are shown for the comparison; None compares nothing.

    Raises:
        BundleError: They disagree; says where.
    """
    about = About(
        "zeus-nano-writer", __version__, author.step, "python -m training.train; python -m export.writer_gguf"
    )
    language, tokenizer = author.network.language, author.task.tokenizer
    vision, proofs = _vision_onnx(author), tuple[Proof, ...]()
    with tempfile.TemporaryDirectory() as name:
        model = gguf_bytes(language, tokenizer, about, precision, Path(name))
        if cache is not None:
            exact = gguf_bytes(language, tokenizer, about, "F32", Path(name))
            proofs = prove(author, {"exact": exact, "stored": model}, vision, cache, Path(name))
    files = {"writer.gguf": model, "vision.onnx": vision, "writer_prompt.txt": PROMPT.encode()}
    return Exported(files, _model(author), proofs)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the files; 0 when every comparison held, else the exit code of what was wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m export.writer_gguf",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--config", default="zeus-nano-writer", help="one of training/configs, or a file (%(default)s)")
    add("--runs", type=Path, default=_RUNS, help="folder of trainings")
    add(
        "--out",
        type=Path,
        default=_ROOT / "out" / "zeus-nano-writer",
        help="folder of the files (%(default)s)",
    )
    add("--precision", choices=PRECISIONS, default="Q8_0", help="of the language model (%(default)s)")
    options = parser.parse_args(argv)
    try:
        config = read_config(options.config)
        if not isinstance(config, WriterTraining):
            raise UsageError(f"{options.config} trains no writer")
        author = open_author(config, _ROOT, options.runs)
        made = export_writer(author, options.precision, options.runs / "heads")
    except ZeusEdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for proof in made.proofs:
        print(proof.text)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, content in made.files.items():
        partial = options.out / f".{name}.partial"
        partial.write_bytes(content)
        partial.replace(options.out / name)
    print(f"{options.out}: {sum(map(len, made.files.values())) / 2**20:.2f} MiB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
