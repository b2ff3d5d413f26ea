"""A language model, from its folder or its GGUF file to a proved file in its place, or to nothing at all."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from export.proof import Proof
from runtime.bundle import file_sha256
from runtime.engines.llama.gguf_header import open_gguf, read_header
from runtime.errors import DestinationError, UsageError
from runtime.formats.output_folder import check_destination, output_folder, whole_file
from runtime.version import __version__

__all__ = ["MODEL", "RECORD", "TYPES", "LanguageType", "Wanted", "export_language"]

LanguageType = Literal["F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M"]
TYPES: tuple[LanguageType, ...] = get_args(LanguageType)

MODEL, RECORD = "model.gguf", "export.json"
"""Files of an output folder: the model, and what was proved of it."""


@dataclass(frozen=True)
class Wanted:
    """What shall become of a language model.

    Attributes:
        precision: Of its matrices; None is F16, or what a GGUF file has.
        lora: Folder of an adapter that is merged into it.
        force: Whether what is there already may be replaced.
    """

    precision: LanguageType | None = None
    lora: Path | None = None
    force: bool = False


def export_language(source: Path, out: Path, wanted: Wanted) -> tuple[Path, tuple[Proof, ...]]:
    """Make a GGUF file.

    Args:
        source: A checkpoint folder, or a GGUF file that is taken as it is.
        out: A name that ends with `.gguf`, or a folder, which also gets the record of what was proved.
        wanted: What shall become of it.

    Returns:
        The file, and what was proved.

    Raises:
        UsageError: A choice does not fit the source.
        BundleError: The source is damaged or not supported, or llama.cpp does not answer as it does.
        DeviceError: llama.cpp is not there.
        DestinationError: `out` cannot be written.
    """
    with _place(out, wanted.force) as work:
        model = work / MODEL
        make = _copied if source.is_file() else _converted
        proofs = make(source, model, wanted)
        header = read_header(model)
        digest = file_sha256(model)
        proofs = (*proofs, Proof(f"sha256 of the file: {digest}"))
        record = {
            "source": source.name,
            "architecture": header.architecture,
            "type": header.precision,
            "context_tokens": header.context_tokens,
            "lora": None if wanted.lora is None else wanted.lora.name,
            "exported_by": f"zeus-edge {__version__}",
            "files": {MODEL: {"bytes": model.stat().st_size, "sha256": digest}},
            "proofs": [proof.text for proof in proofs],
        }
        (work / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    return (out if out.suffix == ".gguf" else out / MODEL), proofs


def _copied(source: Path, model: Path, wanted: Wanted) -> tuple[Proof, ...]:
    if wanted.precision is not None or wanted.lora is not None:
        raise UsageError(f"{source} is taken as it is; --type and --lora are for checkpoint folders")
    with open_gguf(source) as file:
        header = read_header(source, file)
        file.seek(0)
        with model.open("wb") as copy:
            shutil.copyfileobj(file, copy, 1 << 24)
    sizes = header.shapes
    text = f"header: {header.architecture}, {sizes.blocks} blocks of {sizes.width}, mostly {header.precision}"
    return (Proof(f"{text}; copied as it is, its answers were compared with nothing"),)


def _converted(source: Path, model: Path, wanted: Wanted) -> tuple[Proof, ...]:
    from export.language.config import read_config
    from export.language.file import Plain, write_gguf
    from export.language.lora import merged
    from export.language.native import QUANTISED, quantise
    from export.language.proof import prove_logits, prove_tokens
    from export.language.tokens import read_vocabulary
    from export.language.weights import read_weights
    from runtime.engines.llama.native_library import find_library
    from training.networks.sam.tensor_files import read_tensors

    find_library()  # before the work: nothing is written that was not compared
    config = read_config(source)
    vocabulary = read_vocabulary(source, config.vocabulary)
    weights = read_weights(config, read_tensors(source), source)
    if wanted.lora is not None:
        weights = merged(weights, wanted.lora)
    precision = wanted.precision or "F16"
    work = model.parent / "work"
    work.mkdir()
    first = cast("Plain", "F32" if precision in QUANTISED else precision)
    plain = work / f"{first}.gguf"
    write_gguf(plain, source.resolve().name, weights, vocabulary, first)
    read_header(plain)
    proofs = [prove_tokens(plain, vocabulary, work), prove_logits(plain, first, weights, vocabulary, work)]
    if precision in QUANTISED:
        quantise(plain, model, precision, work)
        read_header(model)
        proofs.append(prove_logits(model, precision, weights, vocabulary, work))
    else:
        plain.rename(model)
    shutil.rmtree(work)
    return tuple(proofs)


@contextmanager
def _place(out: Path, force: bool) -> Iterator[Path]:
    """A hidden folder beside `out`; what it holds in the end becomes `out`, whole or not at all."""
    if out.suffix != ".gguf":
        with output_folder(out, force, RECORD) as work:
            yield work
            work.chmod(0o755)  # unlike a result it holds no patient data
        return
    _check_file(out, force)
    parent = next(folder for folder in out.resolve().parents if folder.is_dir())
    with tempfile.TemporaryDirectory(prefix=f".{out.name[:100]}.", dir=parent) as name:
        yield Path(name)
        out.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(out) as part:
            (Path(name) / MODEL).rename(part)


def _check_file(out: Path, force: bool) -> None:
    """Refuse a file early, before any work is done for it.

    Raises:
        DestinationError: It is there and may not be replaced, or cannot be written.
    """
    if not out.exists() and not out.is_symlink():
        check_destination(out, force)
        return
    if not force:
        raise DestinationError(f"{out} already exists; choose another name or use --force")
    if not out.is_file():
        raise DestinationError(f"{out} is no file; choose another name")
    with out.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise DestinationError(f"{out} is no GGUF file, so --force does not replace it")
