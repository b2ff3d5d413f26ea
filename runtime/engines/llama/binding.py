"""What is asked of llama.cpp: load a model, compute batches, and check what the library does not.

llama.cpp reads as many floats as it expects, whatever it was given, lets NaN pass, and ends the process at a
token or a batch out of range; so every argument is checked here, before it crosses.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.engines.llama.native_batch import NativeBatch
from runtime.engines.llama.native_library import load_library, load_vision_library
from runtime.engines.llama.native_log import NativeLog
from runtime.engines.llama.native_vision import NativeVision, PictureTokens
from runtime.engines.llama.options import LlamaSettings
from runtime.errors import BundleError, DeviceError, LanguageError, UsageError

__all__ = ["LlamaModel", "StoppedError"]

_LONGEST_PIECE = 1 << 16
_WORDS = "[a person's words]"


class StoppedError(Exception):
    """A computation was stopped because `should_stop` said so; what it had computed is gone."""


class LlamaModel:
    """A loaded model with its cache of keys and values; not to be used by two threads.

    Args:
        path: A file that `gguf_header` let pass.
        settings: What it may use.
        projector: Lets it see; a file that `projector.read_projector` let pass. None without.

    Attributes:
        should_stop: Asked during every computation; it stops where that is true.

    Raises:
        DeviceError: The library or the device is not there, or memory does not suffice.
        BundleError: The library refuses the file.
    """

    def __init__(self, path: Path, settings: LlamaSettings, projector: Path | None = None) -> None:
        self.library = library = load_library()
        self.should_stop: Callable[[], bool] = lambda: False
        self._log = NativeLog(library)
        if settings.gpu_layers and not library.llama_supports_gpu_offload():
            raise DeviceError("this llama.cpp has no GPU; build it with one or set gpu_layers to 0")
        library.llama_backend_init()
        self._model = self._open_model(path, settings)
        self._context = self._open_context(settings)
        self.vocabulary = library.llama_model_get_vocab(self._model)
        self._memory = library.llama_get_memory(self._context)
        self.tokens = int(library.llama_vocab_n_tokens(self.vocabulary))
        self.width = int(library.llama_model_n_embd_inp(self._model))
        self._rope = int(library.llama_model_rope_type(self._model))
        self.settings = settings
        self._batch = NativeBatch(library, settings)
        self._pieces: dict[int, bytes] = {}
        self._vision: NativeVision | None = None
        if projector is not None:
            handles = self._model, self._context
            self._vision = NativeVision(load_vision_library(), projector, *handles, settings, self._log)

    def _open_model(self, path: Path, settings: LlamaSettings) -> Any:
        options = self.library.llama_model_default_params()
        options.load_mode = self.library.LLAMA_LOAD_MODE_NONE  # a mapped file that is cut short is SIGBUS
        # Not check_tensors: it starts a thread for each tensor, whose stacks together are larger than many a
        # model. Weights that are not finite show in the logits, which are checked each time.
        options.n_gpu_layers = settings.gpu_layers
        model = self.library.llama_model_load_from_file(os.fsencode(path), options)
        if model:
            return model
        reason = self._log.reason()
        if "alloc" in reason:
            raise DeviceError(f"the language model does not fit into memory ({reason}); give it more")
        raise BundleError(f"llama.cpp refuses the language model ({reason}); copy or export it again")

    def _open_context(self, settings: LlamaSettings) -> Any:
        library, options = self.library, self.library.llama_context_default_params()
        options.n_ctx = settings.sequences * settings.context_tokens
        options.n_batch = options.n_ubatch = settings.batch_tokens
        options.n_seq_max = options.n_outputs_max = settings.sequences
        options.n_threads = options.n_threads_batch = settings.threads
        options.pooling_type = library.LLAMA_POOLING_TYPE_NONE
        options.flash_attn_type = int(settings.flash_attention)
        precision = {"float16": library.GGML_TYPE_F16, "float32": library.GGML_TYPE_F32}
        options.type_k = options.type_v = precision[settings.cache_precision]
        options.kv_unified = False  # a sequence's bits must not depend on what the others hold
        options.swa_full = True  # else a prefix could not be taken up again
        options.no_perf = True
        self._stopper = library.ggml_abort_callback(lambda _: self.should_stop())
        options.abort_callback = self._stopper
        context = library.llama_init_from_model(self._model, options)
        if not context:
            library.llama_model_free(self._model)
            raise DeviceError(
                f"llama.cpp makes no context ({self._log.reason()}); give it more memory or a smaller context"
            )
        return context

    def close(self) -> None:
        """Free model and context; nothing may be called afterwards."""
        if self._vision is not None:
            self._vision.close()
        if self._context:
            self.library.llama_free(self._context)
            self.library.llama_model_free(self._model)
            self._context = None

    @property
    def begin_token(self) -> int | None:
        """What every text begins with, if anything."""
        if not self.library.llama_vocab_get_add_bos(self.vocabulary):
            return None
        return int(self.library.llama_vocab_bos(self.vocabulary))

    @cached_property
    def chat_frame(self) -> tuple[str, str]:
        """What the file's chat template writes before and after a person's words; "" if none is known.

        The library's own templates are taken, which it chooses by the file's: the file's is a program.
        """
        template = self.library.llama_model_chat_template(self._model, None)
        message = self.library.llama_chat_message(b"user", _WORDS.encode())
        room = ctypes.create_string_buffer(_LONGEST_PIECE)
        count = 0
        if template:
            count = self.library.llama_chat_apply_template(template, message, 1, True, room, len(room))
        before, words, after = room.raw[: max(count, 0)].decode("utf-8", "replace").partition(_WORDS)
        return (before, after) if words else ("", "")

    def is_end(self, token: int) -> bool:
        """Whether a token ends an answer."""
        return bool(self.library.llama_vocab_is_eog(self.vocabulary, self._checked(token)))

    def tokenise(self, text: str, reads_special_tokens: bool) -> NDArray[np.int32]:
        """Tokens of a text, without begin and end."""
        data = text.encode()
        room = len(data) + 16  # SentencePiece adds a space; no tokenizer makes more tokens than bytes
        tokens = np.empty(room, np.int32)
        pointer = tokens.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
        count = self.library.llama_tokenize(
            self.vocabulary, data, len(data), pointer, room, False, reads_special_tokens
        )
        if count < 0:
            raise LanguageError("llama.cpp cannot split the prompt into tokens; say it otherwise")
        return np.array(tokens[:count])

    def piece(self, token: int) -> bytes:
        """The bytes that a token stands for; none for a control token."""
        if token not in self._pieces:
            room = 64
            while True:
                buffer = ctypes.create_string_buffer(room)
                count = self.library.llama_token_to_piece(
                    self.vocabulary, self._checked(token), buffer, room, 0, False
                )
                if count >= 0 or room >= _LONGEST_PIECE:
                    break
                room = min(-count, _LONGEST_PIECE)
            self._pieces[token] = buffer.raw[: max(count, 0)]
        return self._pieces[token]

    def compute_tokens(self, tokens: NDArray[np.int32], start: int, sequence: int) -> None:
        """Put tokens behind a sequence; the logits after the last one are kept.

        Args:
            tokens: (N,), at most a batch.
            start: Position of the first.
            sequence: Which sequence.
        """
        if tokens.dtype != np.int32 or tokens.ndim != 1 or not len(tokens):
            raise UsageError("tokens are no array (N,) of int32")
        if tokens.min() < 0 or tokens.max() >= self.tokens:
            raise UsageError(f"a token is outside the vocabulary of {self.tokens}")
        self._batch.place(len(tokens), start, sequence)
        self._compute(lambda: self._batch.with_tokens(tokens))

    def compute_rows(self, rows: NDArray[np.float32], start: int, sequence: int) -> None:
        """Put embeddings behind a sequence, as `compute_tokens` does.

        Args:
            rows: (N, width), at most a batch.
            start: Position of the first.
            sequence: Which sequence.
        """
        if rows.dtype != np.float32 or rows.ndim != 2 or not len(rows):
            raise UsageError("embeddings are no array (N, width) of float32")
        if rows.shape[1] != self.width:
            raise UsageError(f"embeddings are {rows.shape[1]} wide, but the language model is {self.width}")
        if not np.isfinite(rows).all():
            raise UsageError("embeddings hold NaN or infinity")
        if self._rope in (self.library.LLAMA_ROPE_TYPE_MROPE, self.library.LLAMA_ROPE_TYPE_IMROPE):
            raise UsageError("this language model wants rows and columns of embeddings; give it a picture")
        self._batch.place(len(rows), start, sequence)
        self._compute(lambda: self._batch.with_rows(np.ascontiguousarray(rows)))

    def see(self, pixels: NDArray[np.uint8]) -> list[NDArray[np.int32] | PictureTokens]:
        """Tokens of a picture (rows, columns, 3), and those that stand around it.

        Raises:
            UsageError: The model has no vision projector, or the picture makes too many tokens at once.
            LanguageError: The library cannot read it.
        """
        if self._vision is None:
            raise UsageError("this language model sees nothing; open it with its vision projector (mmproj)")
        return self._vision.split(np.ascontiguousarray(pixels))

    def compute_picture(self, picture: PictureTokens, start: int, sequence: int) -> None:
        """Put a picture of `see` behind a sequence; it leaves no logits.

        Raises:
            StoppedError: `should_stop` said so, which is not asked while the vision network computes.
            LanguageError: Nothing was computed.
        """
        if self._vision is None:
            raise UsageError("this language model sees nothing")
        self._batch.check(sequence, start, start + picture.positions)
        vision, rows = self._vision, self._vision.encode(picture, self.width)
        self._decoded(vision.compute(picture, rows, start, sequence))

    def compute_step(self, entries: list[tuple[int, int, int]]) -> None:
        """Put one token behind each of several sequences; the logits after each are kept, in this order.

        Args:
            entries: Sequence, token and its position.
        """
        tokens = np.array([self._checked(token) for _, token, _ in entries], np.int32)
        self._batch.place_each([(sequence, position) for sequence, _, position in entries])
        self._compute(lambda: self._batch.with_tokens(tokens))

    def _compute(self, fill: Callable[[], Any]) -> None:
        self._decoded(self.library.llama_decode(self._context, fill()))

    def _decoded(self, code: int) -> None:
        if code == 2:
            raise StoppedError
        if code:
            raise LanguageError(f"llama.cpp computed nothing (code {code}, {self._log.reason()}); ask again")

    def logits(self, place: int = -1) -> NDArray[np.float32]:
        """Logits (vocabulary,) after an entry of the last step, or after the last token computed.

        Raises:
            LanguageError: There are none, or they are not finite.
        """
        pointer = self.library.llama_get_logits_ith(self._context, place)
        if not pointer:
            raise LanguageError("llama.cpp has no logits here; ask again")
        logits = np.ctypeslib.as_array(pointer, (self.tokens,)).astype(np.float32)
        if not np.isfinite(logits).all():
            raise LanguageError("the language model computes NaN; its weights or the embeddings are damaged")
        return logits

    def keep(self, sequence: int, length: int) -> bool:
        """Forget what a sequence holds from a position on; False where it had to forget all."""
        if self.library.llama_memory_seq_rm(self._memory, sequence, length, -1):
            return True
        self.library.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        return False

    def copy(self, source: int, sequence: int) -> None:
        """Make a sequence hold what another one does."""
        self.library.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        self.library.llama_memory_seq_cp(self._memory, source, sequence, -1, -1)

    def _checked(self, token: int) -> int:
        if not 0 <= token < self.tokens:
            raise UsageError(f"token {token} is outside the vocabulary of {self.tokens}")
        return token
