"""What llama.cpp's own helper computes of a prompt with a picture, in this process, without our worker."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.engines.llama.binding import LlamaModel
from runtime.engines.llama.native_library import load_vision_library
from runtime.engines.llama.options import LlamaSettings

__all__ = ["DirectVision"]


class DirectVision:
    """A model and its projector, driven by the library's own functions alone.

    Args:
        model: The language model.
        projector: Its projector.
        settings: As the worker has them.
    """

    def __init__(self, model: Path, projector: Path, settings: LlamaSettings) -> None:
        self._model, self._library = LlamaModel(model, settings), load_vision_library()
        options = self._library.mtmd_context_params_default()
        options.use_gpu, options.n_threads, options.print_timings = False, 1, False
        handle = self._model._model
        self._context = self._library.mtmd_init_from_file(str(projector).encode(), handle, options)
        assert self._context

    def close(self) -> None:
        """Free both."""
        self._library.mtmd_free(self._context)
        self._model.close()

    @contextmanager
    def _chunks(self, text: str, pixels: NDArray[np.uint8]) -> Iterator[Any]:
        library, data = self._library, np.ascontiguousarray(pixels)
        pointer = data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        bitmap = library.mtmd_bitmap_init(data.shape[1], data.shape[0], pointer)
        chunks = library.mtmd_input_chunks_init()
        words = library.mtmd_input_text(text.encode(), len(text.encode()), True, True)
        bitmaps = (ctypes.c_void_p * 1)(bitmap)
        assert library.mtmd_tokenize(self._context, chunks, ctypes.byref(words), bitmaps, 1) == 0
        yield chunks
        library.mtmd_input_chunks_free(chunks)
        library.mtmd_bitmap_free(bitmap)

    def rows(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The embeddings (N, width) of a picture."""
        library = self._library
        with self._chunks("<__media__>", pixels) as chunks:
            for number in range(library.mtmd_input_chunks_size(chunks)):
                chunk = library.mtmd_input_chunks_get(chunks, number)
                if library.mtmd_input_chunk_get_type(chunk) == library.MTMD_INPUT_CHUNK_TYPE_IMAGE:
                    assert library.mtmd_encode_chunk(self._context, chunk) == 0
                    shape = library.mtmd_input_chunk_get_n_tokens(chunk), self._model.width
                    return np.ctypeslib.as_array(library.mtmd_get_output_embd(self._context), shape).copy()
        raise AssertionError("no picture")

    def logits(self, text: str, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits after a text that holds the marker of a picture."""
        after = ctypes.c_int32(0)
        self._model.keep(0, 0)
        with self._chunks(text, pixels) as chunks:
            batch = self._model.settings.batch_tokens
            where = self._context, self._model._context, chunks, 0, 0
            code = self._library.mtmd_helper_eval_chunks(*where, batch, True, ctypes.byref(after))
        assert code == 0
        return self._model.logits()
