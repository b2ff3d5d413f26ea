"""MedCLIP: both transformers are those of transformers, and pooling and projection those of its own code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is installed for training only (make check installs it)")

from tests.sam_checkpoints import (  # noqa: E402
    bert_model,
    close,
    saved,
    stirred,
    swin_model,
    tensors_of,
    transformers,
)
from training.networks.sam.bert import BertConfig, MedClipText  # noqa: E402
from training.networks.sam.load import load_bert, load_medclip, load_swin  # noqa: E402
from training.networks.sam.parts import MedClip, MedClipConfig  # noqa: E402
from training.networks.sam.swin import SwinConfig  # noqa: E402

pytestmark = pytest.mark.torch

CONFIG = MedClipConfig(
    SwinConfig(48, 4, 12, (2, 2), (2, 3), 3),
    BertConfig(50, 80, 2, 24, 3, 2, 32),
    width=10,
)


class Theirs(torch.nn.Module):  # type: ignore[misc]
    """One half of a MedCLIP, with the names that its code gives."""

    def __init__(self, model: Any, width: int) -> None:
        super().__init__()
        self.model = model
        self.projection_head = torch.nn.Linear(width, 10, bias=False)


class TheirMedClip(torch.nn.Module):  # type: ignore[misc]
    """MedCLIP with the names of its code, and what that computes, written from reading it."""

    def __init__(self) -> None:
        super().__init__()
        self.vision_model, self.text_model = Theirs(swin_model(), 24), Theirs(bert_model(), 24)
        self.logit_scale = torch.nn.Parameter(torch.tensor(1.0))

    def tensors(self, folder: Path) -> dict[str, Any]:
        """Its weights, named as in its released file."""
        tensors = {"logit_scale": self.logit_scale.data}
        for name, half in (("vision_model", self.vision_model), ("text_model", self.text_model)):
            saved_model = tensors_of(half.model, folder / name)
            tensors |= {f"{name}.model.{key}": tensor for key, tensor in saved_model.items()}
            tensors[f"{name}.projection_head.weight"] = half.projection_head.weight.data
        tensors["text_model.model.embeddings.position_ids"] = torch.arange(80)[None]
        return tensors

    def image(self, image: Any) -> Any:
        vectors = self.vision_model.projection_head(self.vision_model.model(image).pooler_output)
        return vectors / vectors.norm(dim=-1, keepdim=True)

    def text(self, ids: Any, seen: Any) -> Any:
        states = self.text_model.model(
            ids, attention_mask=seen.long(), output_hidden_states=True
        ).hidden_states
        mean = torch.stack([states[1], states[2], states[-1]]).mean(0).mean(1)  # over padding, too
        vectors = self.text_model.projection_head(mean)
        return vectors / vectors.norm(dim=-1, keepdim=True)


@pytest.fixture(scope="module")
def theirs() -> Any:
    return stirred(TheirMedClip())


@pytest.fixture(scope="module")
def ours(theirs: Any, tmp_path_factory: pytest.TempPathFactory) -> MedClip:
    folder = tmp_path_factory.mktemp("medclip")
    torch.save(theirs.tensors(folder), folder / "pytorch_model.bin")
    return load_medclip(folder, CONFIG)


@pytest.fixture
def image() -> Any:
    torch.manual_seed(4)
    return torch.randn(2, 3, 48, 48)


def words() -> tuple[Any, Any]:
    ids = torch.tensor([[2, 9, 30, 7, 3], [2, 8, 3, 0, 0]])
    return ids, ids != 0


def test_swin_says_what_transformers_says(tmp_path: Path, image: Any) -> None:
    model = swin_model()
    with torch.inference_mode():
        close(load_swin(saved(model, tmp_path))(image), model(image).pooler_output)


def test_swin_of_a_classifier_is_the_same(tmp_path: Path, image: Any) -> None:
    model = swin_model()
    classifier = transformers.SwinForImageClassification(model.config).eval()
    classifier.swin.load_state_dict(model.state_dict())
    with torch.inference_mode():
        close(load_swin(saved(classifier, tmp_path))(image), model(image).pooler_output)


def test_swin_of_a_map_that_windows_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="whole windows of 7"):
        MedClip(MedClipConfig(SwinConfig(image_size=256)))


@pytest.mark.parametrize("with_heads", [False, True])
def test_bert_says_what_transformers_says(tmp_path: Path, with_heads: bool) -> None:
    model, (ids, seen) = bert_model(), words()
    whole = transformers.BertForPreTraining(model.config).eval()
    whole.bert.load_state_dict(model.state_dict())
    found = load_bert(saved(whole if with_heads else model, tmp_path))
    with torch.inference_mode():
        wanted = model(ids, attention_mask=seen.long(), output_hidden_states=True).hidden_states
        for state, expected in zip(found(ids, seen), wanted, strict=True):
            close(state, expected)


def test_bert_of_the_oldest_kind_is_the_same(tmp_path: Path) -> None:
    model, (ids, seen) = bert_model(), words()
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    tensors = tensors_of(model, tmp_path)
    for name in [name for name in tensors if "LayerNorm" in name]:
        part = name[name.index("LayerNorm") :]
        tensors[name.replace(part, old[part])] = tensors.pop(name)
    (tmp_path / "model.safetensors").unlink()
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    with torch.inference_mode():
        close(load_bert(tmp_path)(ids, seen)[-1], model(ids, attention_mask=seen.long()).last_hidden_state)


def test_medclip_vectors_are_those_of_its_code(theirs: Any, ours: MedClip, image: Any) -> None:
    ids, seen = words()
    with torch.inference_mode():
        close(ours.vision(image), theirs.image(image))
        close(ours.text(ids, seen), theirs.text(ids, seen))


def test_text_without_padding_is_the_same_in_both_ways(ours: MedClip) -> None:
    ids, seen = words()
    text = MedClipText(CONFIG.text, 10, padding_counts=False).eval()
    text.load_state_dict(ours.text.state_dict())
    with torch.inference_mode():
        close(text(ids, seen)[1:], ours.text(ids[1:, :3], seen[1:, :3]))
        assert (text(ids, seen)[1] - ours.text(ids, seen)[1]).abs().max() > 1e-3


def test_text_that_is_too_long_is_refused(ours: MedClip) -> None:
    ids = torch.ones(1, 78, dtype=torch.long)
    with pytest.raises(ValueError, match="cut instructions to 77"):
        ours.text(ids, ids > 0)


def test_text_of_fewer_layers_than_are_averaged_is_refused() -> None:
    with pytest.raises(ValueError, match="there are 1 layers"):
        MedClipText(BertConfig(layers=1, width=24, heads=2))
