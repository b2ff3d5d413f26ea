"""Checkpoints that are damaged, hostile, or of another network: each is refused with reason and fix."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is installed for training only (make check installs it)")

from runtime.errors import BundleError, UsageError  # noqa: E402
from tests.sam_checkpoints import bert_model, sam_model, saved, swin_model, tensors_of  # noqa: E402
from training.networks.sam.load import (  # noqa: E402
    load_bert,
    load_medclip,
    load_sam,
    load_swin,
    load_vit,
)
from training.networks.sam.parts import SamConfig  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A SAM's folder of its own for every test, to damage."""
    return saved(sam_model(), tmp_path)


def rewritten(folder: Path, change: Any) -> None:
    """The weights once more, after a change."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def configured(folder: Path, part: str, **changes: Any) -> None:
    """Other settings in config.json."""
    path = folder / "config.json"
    document = json.loads(path.read_text())
    (document[part] if part else document).update(changes)
    path.write_text(json.dumps(document))


def test_a_tensor_too_much_is_refused(folder: Path) -> None:
    rewritten(folder, lambda tensors: tensors.update({"vision_encoder.adapter.weight": torch.ones(2)}))
    with pytest.raises(BundleError, match=r"no place for 'vision_encoder\.adapter\.weight'; .*check what"):
        load_sam(folder)


def test_a_layer_too_much_is_refused(folder: Path) -> None:
    configured(folder, "vision_config", num_hidden_layers=2)
    with pytest.raises(BundleError, match=r"no place for 'vision_encoder\.layers\.2\..* and 10 more"):
        load_sam(folder)


def test_a_missing_tensor_is_refused(folder: Path) -> None:
    rewritten(folder, lambda tensors: tensors.pop("mask_decoder.iou_token.weight"))
    with pytest.raises(BundleError, match=r"nothing fills 'decoder\.quality_token'"):
        load_sam(folder)


def test_a_tensor_of_another_shape_is_refused(folder: Path) -> None:
    rewritten(folder, lambda tensors: tensors.update({"vision_encoder.pos_embed": torch.zeros(1, 5, 5, 24)}))
    shapes = r"'vision_encoder.pos_embed' has shape \(1, 5, 5, 24\), here \(1, 10, 10, 24\)"
    with pytest.raises(BundleError, match=shapes):
        load_sam(folder)


def test_a_tensor_of_another_kind_is_refused(folder: Path) -> None:
    def change(tensors: dict[str, Any]) -> None:
        tensors["vision_encoder.pos_embed"] = tensors["vision_encoder.pos_embed"].to(torch.int8)

    rewritten(folder, change)
    with pytest.raises(BundleError, match=r"has type torch\.int8"):
        load_sam(folder)


def test_two_tensors_for_one_place_are_refused(tmp_path: Path) -> None:
    folder = saved(bert_model(), tmp_path)
    name = "embeddings.word_embeddings.weight"
    rewritten(folder, lambda tensors: tensors.update({f"bert.{name}": tensors[name].clone()}))
    with pytest.raises(BundleError, match="belong to the same place"):
        load_bert(folder)


def test_a_refused_file_leaves_the_network_as_it_was(folder: Path) -> None:
    from training.networks.sam.key_map import KeyMap, fill

    network = torch.nn.Linear(2, 2)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(BundleError, match="here"):
        fill(network, {"weight": torch.ones(2, 2), "bias": torch.ones(3)}, KeyMap({"*": "*"}), folder)
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, before[name])


@pytest.mark.parametrize("kept", [0, 5, 400, 3000])
def test_weights_that_are_cut_short_are_refused(folder: Path, kept: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(BundleError, match=r"model\.safetensors is damaged or cut short .*copy it again"):
        load_sam(folder)


def test_a_folder_without_config_is_refused(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(BundleError, match=r"config\.json is missing; copy the whole checkpoint folder"):
        load_sam(folder)


def test_a_folder_without_weights_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(BundleError, match=r"holds no weights; expected one of model\.safetensors"):
        load_sam(folder)


@pytest.mark.parametrize("text", ["", "{", "[1]", "\udc80", "[" * 100000])
def test_a_config_that_is_no_object_is_refused(folder: Path, text: str) -> None:
    (folder / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BundleError, match=r"config\.json.* copy (it|the checkpoint) again"):
        load_sam(folder)


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("vision_config", {"hidden_act": "relu"}),
        ("vision_config", {"use_rel_pos": False}),
        ("vision_config", {"use_abs_pos": False}),
        ("vision_config", {"qkv_bias": False}),
        ("vision_config", {"num_channels": 1}),
        ("vision_config", {"hidden_size": "wide"}),
        ("vision_config", {"mlp_dim": None, "mlp_ratio": 1.23}),
        ("vision_config", {"num_attention_heads": 7}),
        ("vision_config", {"num_attention_heads": 0}),
        ("vision_config", {"patch_size": 0}),
        ("vision_config", {"image_size": -80}),
        ("vision_config", {"global_attn_indexes": [7]}),
        ("vision_config", {"hidden_size": 10**12}),
        ("vision_config", {"hidden_size": 2**16, "num_attention_heads": 8, "num_hidden_layers": 200}),
        ("vision_config", {"num_hidden_layers": 10**9}),
        ("vision_config", {"output_channels": 48}),
        ("mask_decoder_config", {"hidden_act": "gelu"}),
        ("mask_decoder_config", {"num_attention_heads": 3}),
        ("mask_decoder_config", {"iou_head_depth": 0}),
        ("prompt_encoder_config", {"image_embedding_size": 9}),
        ("", {"model_type": "sam2"}),
        ("", {"vision_config": 3}),
    ],
    ids=str,
)
def test_a_setting_that_we_lack_is_refused(folder: Path, part: str, changes: dict[str, Any]) -> None:
    configured(folder, part, **changes)
    with pytest.raises(BundleError, match=str(folder)):
        load_sam(folder)


@pytest.mark.parametrize(
    "changes", [{"use_absolute_embeddings": True}, {"mlp_ratio": 2.5}, {"window_size": 5}], ids=str
)
def test_a_setting_of_swin_that_we_lack_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = saved(swin_model(), tmp_path)
    configured(folder, "", **changes)
    with pytest.raises(BundleError, match=str(folder)):
        load_swin(folder)


@pytest.mark.parametrize(
    "changes", [{"position_embedding_type": "relative_key"}, {"is_decoder": True}], ids=str
)
def test_a_setting_of_bert_that_we_lack_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = saved(bert_model(), tmp_path)
    configured(folder, "", **changes)
    with pytest.raises(BundleError, match="expected one of"):
        load_bert(folder)


def test_a_whole_sam_where_an_encoder_is_wanted_is_refused(folder: Path) -> None:
    with pytest.raises(BundleError, match="model_type is 'sam', expected sam_vision_model"):
        load_vit(folder)


class Code:
    """A pickle that runs a command where it is read."""

    def __reduce__(self) -> Any:
        return os.system, ("touch caught",)


def test_a_pickle_with_code_is_refused_and_not_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Code()}, folder / "pytorch_model.bin")
    with pytest.raises(
        BundleError, match=r"refused: it wants to use \S*system, and weights need only tensors"
    ):
        load_sam(folder)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Code(), protocol))
        with pytest.raises(BundleError, match="is refused"):
            load_sam(folder)
    assert not (tmp_path / "caught").exists()


@pytest.mark.parametrize("content", [b"", b"no pickle", b"PK\x03\x04 no archive"])
def test_a_pickle_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "sam.pth").write_bytes(content)
    with pytest.raises(BundleError, match=r"sam\.pth is (damaged|refused)"):
        load_sam(tmp_path / "sam.pth", SamConfig())


@pytest.mark.parametrize(
    "document", [{}, [1], {"epoch": 3}, {"state_dict": {"a": "b"}}, {3: torch.ones(1)}], ids=str
)
def test_a_pickle_without_named_tensors_is_refused(tmp_path: Path, document: Any) -> None:
    torch.save(document, tmp_path / "pytorch_model.bin")
    with pytest.raises(BundleError, match="state_dict"):
        load_medclip(tmp_path)


def test_medclip_with_a_resnet_is_refused(tmp_path: Path) -> None:
    torch.save({"vision_model.model.conv1.weight": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(BundleError, match="ResNet-50; get the one with a vision transformer"):
        load_medclip(tmp_path)


def test_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"sam\.pth is missing"):
        load_sam(tmp_path / "sam.pth", SamConfig())


def test_sizes_are_given_for_files_and_only_for_files(folder: Path) -> None:
    for arguments in ((folder, SamConfig()), (folder / "model.safetensors",)):
        with pytest.raises(UsageError, match="a file needs `config`"):
            load_sam(*arguments)


def parts(folder: Path) -> dict[str, Any]:
    """A SAM's folder in parts, and its index."""
    saved(sam_model(), folder, max_shard_size="20KB")
    return dict(json.loads((folder / "model.safetensors.index.json").read_text()))


@pytest.mark.parametrize("name", ["../away.safetensors", "/etc/passwd", "sub/part.safetensors", "", "."])
def test_a_part_outside_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    index = parts(tmp_path)
    index["weight_map"]["vision_encoder.pos_embed"] = name
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(BundleError, match="is not a file beside it"):
        load_sam(tmp_path)


def test_a_missing_part_is_refused(tmp_path: Path) -> None:
    parts(tmp_path)
    next(tmp_path.glob("model-00002*")).unlink()
    with pytest.raises(BundleError, match=r"model-00002\S+ is missing"):
        load_sam(tmp_path)


def test_parts_that_are_not_as_listed_are_refused(tmp_path: Path) -> None:
    index = parts(tmp_path)
    del index["weight_map"]["vision_encoder.pos_embed"]
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(BundleError, match=r"disagree about 'vision_encoder.pos_embed'"):
        load_sam(tmp_path)


@pytest.mark.parametrize("document", [[], {}, {"weight_map": {"a": 3}}, {"weight_map": None}], ids=str)
def test_an_index_that_lists_nothing_is_refused(tmp_path: Path, document: Any) -> None:
    parts(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(document))
    with pytest.raises(BundleError, match=r"index\.json: \$"):
        load_sam(tmp_path)


def test_swin_is_not_taken_for_bert(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="expected bert; give another folder"):
        load_bert(saved(swin_model(), tmp_path))
    assert tensors_of(swin_model(), tmp_path)
