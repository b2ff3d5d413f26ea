"""What llama.cpp itself says of a file, and its quantiser, each in a process of its own: it may end it.

python -m export.language.native REQUEST.json, as `ask_tokens`, `ask_logits` and `quantise` call it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.errors import BundleError

__all__ = ["QUANTISED", "Answer", "ask_logits", "ask_tokens", "main", "quantise"]

QUANTISED = {"Q8_0": 7, "Q6_K": 18, "Q5_K_M": 17, "Q4_K_M": 15, "Q3_K_M": 12}
"""Types of the quantiser, by the numbers of `enum llama_ftype`."""

_PATIENCE_S = 6 * 3600
"""A quantiser of a large model on a small device takes hours, none a day."""
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Answer:
    """What a model says after a prompt, always the likeliest token.

    Attributes:
        tokens: (N,) int64, of the answer.
        logits: (N, vocabulary) float32, from which each was taken.
    """

    tokens: NDArray[np.int64]
    logits: NDArray[np.float32]


def ask_tokens(model: Path, texts: Sequence[str], special: Sequence[str], work: Path) -> list[list[int]]:
    """How llama.cpp splits texts.

    Args:
        model: A file whose header was checked.
        texts: In which nothing is special.
        special: Texts that each are a special token.
        work: A folder for what is exchanged.

    Returns:
        The tokens of `texts`, then those of `special`.

    Raises:
        BundleError: llama.cpp cannot read the file.
    """
    out = work / "tokens.json"
    _run(
        {"do": "tokens", "model": str(model), "texts": [*texts], "special": [*special], "out": str(out)}, work
    )
    found: list[list[int]] = json.loads(out.read_text())
    return found


def ask_logits(model: Path, prompt: Sequence[int], count: int, work: Path) -> Answer:
    """What llama.cpp answers.

    Args:
        model: A file whose header was checked.
        prompt: Tokens.
        count: Of the answer's tokens.
        work: A folder for what is exchanged.

    Raises:
        BundleError: llama.cpp cannot compute it.
    """
    out = work / "answer.npz"
    _run({"do": "logits", "model": str(model), "prompt": [*prompt], "count": count, "out": str(out)}, work)
    with np.load(out) as found:
        return Answer(found["tokens"], found["logits"])


def quantise(model: Path, out: Path, precision: str, work: Path) -> None:
    """Write a model in fewer bits, with llama.cpp's own quantiser.

    Args:
        model: A file whose header was checked.
        out: The file to write.
        precision: One of `QUANTISED`.
        work: A folder for what is exchanged.

    Raises:
        BundleError: It fails.
    """
    _run({"do": "quantise", "model": str(model), "out": str(out), "type": QUANTISED[precision]}, work)


def _run(request: dict[str, object], work: Path) -> None:
    file = work / "request.json"
    file.write_text(json.dumps(request))
    path = os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
    done = subprocess.run(
        [sys.executable, "-m", "export.language.native", str(file)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_PATIENCE_S,
        check=False,
    )
    if done.returncode:
        from runtime.engines.llama.native_log import complaint

        said = (done.stderr.strip().splitlines() or [""])[-1][:200]
        reason = complaint(done.stderr) or said or f"exit code {done.returncode}"
        raise BundleError(f"llama.cpp cannot {request['do']} ({reason}); nothing was written")


def main(arguments: Sequence[str]) -> int:
    """Do what a request says; 0 when it is done, else 1 with the reason as the last line of stderr."""
    from runtime.errors import ZeusEdgeError

    request = json.loads(Path(arguments[0]).read_text())
    try:
        if request["do"] == "quantise":
            return _quantise(request)
        _ask(request)
    except ZeusEdgeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _quantise(request: dict[str, str]) -> int:
    import ctypes

    from runtime.engines.llama.native_library import load_library
    from runtime.engines.llama.native_log import NativeLog

    library = load_library()
    log = NativeLog(library)
    library.llama_backend_init()
    options = library.llama_model_quantize_default_params()
    options.ftype = int(request["type"])
    options.nthread = os.cpu_count() or 1
    names = os.fsencode(request["model"]), os.fsencode(request["out"])
    code = int(library.llama_model_quantize(*names, ctypes.byref(options)))
    if code:
        sys.stderr.write(f"{log.reason()}\n")
    return int(code != 0)


def _ask(request: dict[str, object]) -> None:
    from runtime.engines.llama.binding import LlamaModel
    from runtime.engines.llama.options import LlamaSettings

    prompt: list[int] = request.get("prompt", [])  # type: ignore[assignment]
    count: int = request.get("count", 0)  # type: ignore[assignment]
    settings = LlamaSettings(
        context_tokens=max(8, len(prompt) + count),
        batch_tokens=max(8, len(prompt)),
        threads=os.cpu_count() or 1,
        cache_precision="float32",
    )
    model = LlamaModel(Path(str(request["model"])), settings)
    out = Path(str(request["out"]))
    if request["do"] == "tokens":
        texts: list[str] = request["texts"]  # type: ignore[assignment]
        special: list[str] = request["special"]  # type: ignore[assignment]
        found = [model.tokenise(text, False).tolist() for text in texts]
        found += [model.tokenise(text, True).tolist() for text in special]
        out.write_text(json.dumps(found))
    else:
        tokens, logits = [], []
        model.compute_tokens(np.array(prompt, np.int32), 0, 0)
        for step in range(count):
            logits.append(model.logits())
            tokens.append(int(logits[-1].argmax()))
            if step + 1 < count:
                model.compute_tokens(np.array(tokens[-1:], np.int32), len(prompt) + step, 0)
        np.savez(out, tokens=np.array(tokens, np.int64), logits=np.stack(logits))
    model.close()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
