"""A vision projector is judged before llama.cpp sees it: every lie has an error of its own."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from runtime.engines.llama import native_library
from runtime.engines.llama.gguf_header import read_header
from runtime.engines.llama.projector import read_projector
from runtime.errors import BundleError, DeviceError
from tests.tiny_gguf import TinyModel, write_gguf
from tests.tiny_projector import KINDS, TinyProjector, write_projector


@pytest.mark.parametrize("kind", KINDS)
def test_projector_says_what_it_is(tmp_path: Path, kind: str) -> None:
    model = TinyProjector(kind)
    header = read_projector(write_projector(tmp_path / "p.gguf", model))
    assert (header.kind, header.width, header.image_side) == (kind, 64, 32)
    assert header.image_tokens == {"mlp": 16}.get(kind, 4)
    assert header.has_class_token == (kind == "mlp")
    assert header.tensor_bytes == sum(tensor.nbytes for tensor in model.tensors().values())


def test_single_feature_layer_is_taken(tmp_path: Path) -> None:
    model = TinyProjector(values={"clip.vision.feature_layer": [2]})
    assert read_projector(write_projector(tmp_path / "p.gguf", model)).kind == "mlp"


def test_matrices_under_each_others_names_are_understood(tmp_path: Path) -> None:
    tensors = TinyProjector().tensors()
    for block in range(2):
        up, down = (f"v.blk.{block}.ffn_{name}.weight" for name in ("up", "down"))
        tensors[up], tensors[down] = tensors[down], tensors[up]
    assert read_projector(write_projector(tmp_path / "p.gguf", None, tensors)).width == 64


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"general.architecture": "llama"}, "architecture is 'llama', not 'clip'"),
        ({"clip.has_vision_encoder": False}, "no vision encoder"),
        ({"clip.projector_type": "resampler"}, "projector is 'resampler', none of mlp, gemma3"),
        ({"clip.projector_type": None}, "clip.vision.projector_type is missing"),
        ({"clip.has_audio_encoder": True}, "clip.has_audio_encoder makes it a network"),
        ({"clip.vision.image_grid_pinpoints": [336, 672]}, "image_grid_pinpoints makes it a network"),
        ({"clip.vision.feature_layer": [1, 2]}, "feature_layer is not 1 numbers within 1 and 2"),
        ({"clip.vision.feature_layer": [3]}, "feature_layer is not 1 numbers within 1 and 2"),
        ({"clip.vision.image_size": 1 << 20}, "image_size is 1048576, not within"),
        ({"clip.vision.image_size": 36}, "36 pixels are not 1 times patches of 8"),
        ({"clip.vision.patch_size": 0}, "patch_size is 0, not within"),
        ({"clip.vision.block_count": 0}, "block_count is 0, not within"),
        ({"clip.vision.block_count": 100}, "too few for 100 blocks"),
        ({"clip.vision.attention.head_count": 3}, "3 heads do not fit"),
        ({"clip.vision.attention.layer_norm_epsilon": float("nan")}, "layer_norm_epsilon is nan"),
        ({"clip.vision.embedding_length": 48}, "has the shape"),
        ({"clip.vision.image_std": [0.5, 0.0, 0.5]}, "image_std is not 3 numbers within"),
        ({"clip.vision.image_mean": [0.5]}, "image_mean is not 3 numbers"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_key_that_lies_is_refused_by_name(tmp_path: Path, values: dict[str, object], message: str) -> None:
    path = write_projector(tmp_path / "p.gguf", TinyProjector(values=values))
    with pytest.raises(BundleError, match=message) as caught:
        read_projector(path)
    assert str(path) in str(caught.value)
    assert "copy or export the vision projector again" in str(caught.value)


def changed(name: str, tensor: np.ndarray | None, kind: str = "mlp") -> dict[str, np.ndarray]:
    tensors = TinyProjector(kind).tensors()
    del tensors[name]
    return tensors if tensor is None else tensors | {name: tensor}


@pytest.mark.parametrize(
    ("kind", "tensors", "message"),
    [
        ("mlp", changed("v.patch_embd.weight", None), "v.patch_embd.weight is missing"),
        ("mlp", changed("v.blk.1.attn_q.weight", None), "v.blk.1.attn_q.weight is missing"),
        ("mlp", changed("mm.2.weight", None), "mm.2.weight is missing"),
        ("mlp", changed("v.class_embd", None), "v.position_embd.weight has the shape"),
        ("mlp", changed("v.pre_ln.weight", None), "v.pre_ln.bias has no weight"),
        ("mlp", changed("mm.2.bias", np.zeros(65, np.float32)), "mm.2.weight has the shape"),
        ("mlp", changed("v.pre_ln.bias", np.zeros(32, np.float16)), "v.pre_ln.bias is of type F16"),
        ("mlp", TinyProjector().tensors() | {"v.extra": np.zeros(3, np.float32)}, "v.extra is unknown"),
        ("gemma3", changed("mm.soft_emb_norm.weight", None, "gemma3"), "mm.soft_emb_norm.weight is missing"),
        (
            "qwen2vl_merger",
            changed("v.patch_embd.weight.1", None, "qwen2vl_merger"),
            "v.patch_embd.weight.1 is missing",
        ),
        (
            "qwen2vl_merger",
            changed("v.blk.0.attn_q.bias", None, "qwen2vl_merger"),
            "v.blk.0.attn_q.bias is missing",
        ),
    ],
)
def test_tensor_that_is_wrong_is_refused_by_name(
    tmp_path: Path, kind: str, tensors: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        read_projector(write_projector(tmp_path / "p.gguf", TinyProjector(kind), tensors))


def test_cut_file_and_other_files_are_refused(tmp_path: Path) -> None:
    whole = write_projector(tmp_path / "p.gguf").read_bytes()
    path = tmp_path / "cut.gguf"
    for length, message in ((3, "cut short"), (60, "cut short"), (len(whole) - 400, "beyond the file")):
        path.write_bytes(whole[:length])
        with pytest.raises(BundleError, match=message):
            read_projector(path)
    path.write_bytes(b"PK" + whole[2:])
    with pytest.raises(BundleError, match="not with GGUF"):
        read_projector(path)
    with pytest.raises(BundleError, match="architecture is 'llama', not 'clip'; is it the language model"):
        read_projector(write_gguf(tmp_path / "m.gguf"))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BundleError, match="no ordinary file"):
        read_projector(tmp_path / "pipe")
    with pytest.raises(BundleError, match="cannot be read"):
        read_projector(tmp_path / "nowhere.gguf")


def test_damaged_headers_are_refused_and_nothing_else(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    whole = np.frombuffer(write_projector(tmp_path / "p.gguf").read_bytes(), np.uint8)
    path, refused = tmp_path / "d.gguf", 0
    for _ in range(400):
        damaged = whole.copy()
        places = random.integers(0, 3600, random.integers(1, 4))
        damaged[places] = random.integers(0, 256, len(places))
        path.write_bytes(damaged.tobytes())
        try:
            read_projector(path)
        except BundleError:
            refused += 1
    assert refused > 300


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        ("mlp", TinyModel(width=32, heads=2)),
        ("mlp", TinyModel("qwen2vl")),
        ("qwen2vl_merger", TinyModel("qwen2")),
    ],
)
def test_projector_of_another_model_is_refused(tmp_path: Path, kind: str, model: TinyModel) -> None:
    header = read_header(write_gguf(tmp_path / "m.gguf", model))
    projector = read_projector(write_projector(tmp_path / "p.gguf", TinyProjector(kind)))
    with pytest.raises(BundleError, match="take the files of one model"):
        projector.check_width(header)


def test_rotary_sections_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    model = TinyModel("qwen2vl", values={"qwen2vl.rope.dimension_sections": [1, 1, 1, 0]})
    with pytest.raises(BundleError, match="rotary sections do not fit"):
        read_header(write_gguf(tmp_path / "m.gguf", model))


def test_llama_without_its_vision_code_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Elsewhere:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(native_library, "find_library", Elsewhere)
    with pytest.raises(DeviceError, match=r"built without libmtmd.*LLAVA_BUILD=ON"):
        native_library.find_vision_library()
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libmtmd.so").touch()
    assert native_library.find_vision_library() == tmp_path / "lib" / "libmtmd.so"
