"""Pictures for a language model by llama.cpp's own vision code (libmtmd): split, encode, put into a sequence.

The library's helper puts a picture's embeddings in, and not a batch of ours: it knows which models look at a
picture in both directions (Gemma 3) and which give its tokens rows and columns for positions (Qwen-VL).
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.engines.llama.native_log import NativeLog
from runtime.engines.llama.options import LlamaSettings
from runtime.errors import BundleError, DeviceError, LanguageError, UsageError

__all__ = ["NativeVision", "PictureTokens"]


@dataclass(frozen=True, eq=False)
class PictureTokens:
    """A picture, or a piece of one, made ready for the vision network.

    Attributes:
        handle: The library's; freed with this object.
        count: Tokens that it becomes.
        positions: How far what follows is moved; fewer than tokens where these have rows and columns.
        key: Tells equal pictures.
    """

    handle: int
    count: int
    positions: int
    key: bytes

    def __len__(self) -> int:
        return self.count


class NativeVision:
    """A vision network beside a loaded language model.

    Args:
        library: The C functions of libmtmd.
        path: A file that `projector` let pass.
        model: The language model's handle.
        context: Its context's.
        settings: What may be used.
        log: Where complaints go.

    Raises:
        BundleError: The library refuses the file, or it does not fit the language model.
        DeviceError: Memory does not suffice.
    """

    def __init__(
        self, library: Any, path: Path, model: Any, context: Any, settings: LlamaSettings, log: NativeLog
    ) -> None:
        self._library, self._settings, self._log, self._llama = library, settings, log, context
        log.listen(library.mtmd_helper_log_set)
        options = library.mtmd_context_params_default()
        options.use_gpu = settings.gpu_layers > 0
        options.print_timings = False
        options.n_threads = settings.threads
        options.warmup = True  # makes the graph once: what aborts then is seen while the file is loaded
        self._context: Any = library.mtmd_init_from_file(os.fsencode(path), model, options)
        reason = log.reason()
        if "failed to allocate" in reason or (not self._context and "alloc" in reason):
            self.close()  # it says that, and goes on with half of its buffers
            raise DeviceError(f"the vision projector does not fit into memory ({reason}); give it more")
        if not self._context:
            raise BundleError(f"llama.cpp refuses the vision projector ({reason}); copy or export it again")

    def close(self) -> None:
        """Free the network."""
        if self._context:
            self._library.mtmd_free(self._context)
            self._context = None

    def split(self, pixels: NDArray[np.uint8]) -> list[NDArray[np.int32] | PictureTokens]:
        """The tokens of a picture, and those that the model's family writes around it.

        Args:
            pixels: (rows, columns, 3), contiguous.

        Raises:
            UsageError: The picture makes more tokens at once than a batch holds, where it must not be cut.
            LanguageError: The library cannot make it ready.
        """
        library, (rows, columns, _) = self._library, pixels.shape
        data = pixels.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        bitmap = library.mtmd_bitmap_init(columns, rows, data)  # copies
        chunks = library.mtmd_input_chunks_init()
        marker = library.mtmd_default_marker()
        text = library.mtmd_input_text(marker, len(marker), False, True)
        bitmaps = (ctypes.c_void_p * 1)(bitmap)
        try:
            if library.mtmd_tokenize(self._context, chunks, ctypes.byref(text), bitmaps, 1):
                raise LanguageError(f"llama.cpp cannot read the picture ({self._log.reason()})")
            digest = hashlib.blake2b(repr(pixels.shape).encode() + pixels.tobytes(), digest_size=24).digest()
            return [
                self._part(
                    library.mtmd_input_chunks_get(chunks, number), digest + number.to_bytes(8, "little")
                )
                for number in range(library.mtmd_input_chunks_size(chunks))
            ]
        finally:
            library.mtmd_input_chunks_free(chunks)
            library.mtmd_bitmap_free(bitmap)

    def _part(self, chunk: Any, key: bytes) -> NDArray[np.int32] | PictureTokens:
        library, count = self._library, int(self._library.mtmd_input_chunk_get_n_tokens(chunk))
        if library.mtmd_input_chunk_get_type(chunk) == library.MTMD_INPUT_CHUNK_TYPE_TEXT:
            length = ctypes.c_size_t()
            tokens = library.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(length))
            return np.array(tokens[: length.value], np.int32)
        if count > self._settings.batch_tokens and library.mtmd_decode_use_non_causal(self._context, chunk):
            raise UsageError(
                f"a picture of {count} tokens does not fit into a batch of {self._settings.batch_tokens}, "
                "and this model looks at it as a whole; allow larger batches"
            )
        handle = library.mtmd_input_chunk_copy(chunk)
        positions = int(library.mtmd_input_chunk_get_n_pos(chunk))
        made = PictureTokens(handle, count, positions, key)
        weakref.finalize(made, library.mtmd_input_chunk_free, handle)
        return made

    def encode(self, picture: PictureTokens, width: int) -> NDArray[np.float32]:
        """The embeddings of a picture, (N, width); valid until the next call.

        Raises:
            LanguageError: Nothing was computed, or something that is not finite.
        """
        if self._library.mtmd_encode_chunk(self._context, picture.handle):
            raise LanguageError(f"the vision projector computed nothing ({self._log.reason()}); ask again")
        pointer = self._library.mtmd_get_output_embd(self._context)
        rows: NDArray[np.float32] = np.ctypeslib.as_array(pointer, (picture.count, width))
        if not np.isfinite(rows).all():
            raise LanguageError("the vision projector computes NaN; its weights are damaged")
        return rows

    def compute(self, picture: PictureTokens, rows: NDArray[np.float32], start: int, sequence: int) -> int:
        """Put a picture behind a sequence.

        Args:
            picture: Which.
            rows: What `encode` made of it.
            start: Position of its first token.
            sequence: Which sequence.

        Returns:
            The library's code; 0 is success.
        """
        after = ctypes.c_int32(start)
        code = self._library.mtmd_helper_decode_image_chunk(
            self._context,
            self._llama,
            picture.handle,
            rows.ctypes.data_as(ctypes.POINTER(ctypes.c_float)),
            start,
            sequence,
            self._settings.batch_tokens,
            ctypes.byref(after),
            self._library.mtmd_helper_post_decode_callback(),
            None,
        )
        return int(code)
