"""Labelled cases on the model's grid, and what augmentation may not break."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is installed for training only (make check installs it)")

from runtime.errors import ImageError  # noqa: E402
from runtime.kernels import open_kernels  # noqa: E402
from runtime.volume import Labels, Volume  # noqa: E402
from training.answers import labels_of  # noqa: E402
from training.augment import Augmentation, centred, random_patch  # noqa: E402
from training.labelled.samples import ChannelOf, Sample, on_model_grid  # noqa: E402
from training.metrics import Score  # noqa: E402
from training.tasks.zeus_heads import coarser  # noqa: E402

pytestmark = pytest.mark.torch
STILL = Augmentation(*([0.0] * len(dataclasses.fields(Augmentation))))
KERNELS = open_kernels("cpu", 1)


def case(order: tuple[int, int, int] = (0, 1, 2), flips: tuple[int, int, int] = (1, 1, 1)) -> Any:
    """A bright block off centre, stored in any orientation: images and labels."""
    labels = np.zeros((12, 16, 20), np.uint8)
    labels[2:6, 9:14, 3:11] = 7
    labels[7:9, 2:6, 12:17] = 9
    image = (100 + 300 * (labels == 7) - 60 * (labels == 9) + np.arange(20)).astype(np.int16)
    affine = np.eye(4)
    affine[:3, 3] = (-30.0, 12.0, 5.0)
    for axis, flip in enumerate(flips):
        if flip < 0:
            affine[:3, 3] += affine[:3, axis] * (labels.shape[axis] - 1)
            affine[:3, axis] *= -1
            labels, image = np.flip(labels, axis), np.flip(image, axis)
    affine = affine[:, [*order, 3]]
    labels, image = (np.ascontiguousarray(x.transpose(order)) for x in (labels, image))
    return {"T2": Volume(image, affine)}, Labels(labels, affine, {7: "PZ", 9: "TZ"})


CHANNELS = (ChannelOf("ADC"), ChannelOf("T2"))


def sample(**how: Any) -> Sample:
    return on_model_grid("a", case(**how), CHANNELS, ("TZ", "PZ"), 1.0, KERNELS)


def test_a_sample_is_the_same_however_the_file_is_turned() -> None:
    expected = sample()
    for order in ((0, 1, 2), (2, 0, 1), (1, 0, 2)):
        for flips in ((1, 1, 1), (-1, 1, -1), (-1, -1, -1)):
            found = sample(order=order, flips=flips)
            assert found.grid.same_place_as(expected.grid)
            np.testing.assert_allclose(found.image, expected.image, atol=1e-5)
            assert np.array_equal(found.labels, expected.labels)


def test_a_sample_has_the_targets_in_the_order_asked_for_and_zero_for_a_missing_channel() -> None:
    made = sample()
    assert made.present.tolist() == [False, True]
    assert not made.image[0].any()
    assert abs(float(made.image[1].mean())) < 1e-3
    assert float(made.image[1][made.labels == 2].mean()) > 1  # PZ is bright, and second
    assert np.count_nonzero(made.labels == 1) == 2 * 4 * 5


def test_scores_come_back_to_the_voxels_of_the_file() -> None:
    turned = sample(order=(2, 0, 1), flips=(-1, 1, -1))
    one = np.stack([turned.labels == n for n in range(3)]).astype(np.float32)
    found = labels_of(one, turned, KERNELS)
    truth = turned.truth.voxels
    assert np.array_equal(found == 1, truth == 9)
    assert np.array_equal(found == 2, truth == 7)


def test_a_case_without_the_target_or_the_channel_is_refused() -> None:
    with pytest.raises(ImageError, match="not liver"):
        on_model_grid("a", case(), CHANNELS, ("liver",), 1.0, KERNELS)
    with pytest.raises(ImageError, match="none of ADC"):
        on_model_grid("a", case(), CHANNELS[:1], ("PZ",), 1.0, KERNELS)


def test_no_augmentation_changes_nothing() -> None:
    made = sample()
    shape = made.labels.shape
    image, counts = random_patch(made, shape, 2, np.random.default_rng(0), STILL)  # type: ignore[arg-type]
    np.testing.assert_allclose(image.numpy(), made.image, atol=1e-4)
    assert torch.equal(counts.argmax(0), torch.from_numpy(made.labels).long())
    assert set(counts.unique().tolist()) == {0, 8}


def test_augmented_counts_are_eighths_and_follow_the_image() -> None:
    made, random = sample(), np.random.default_rng(3)
    moved = dataclasses.replace(STILL, rotation_deg=20.0, scale=0.1, bend_voxels=1.0, mirrored=0.5)
    for _ in range(20):
        image, counts = random_patch(made, (16, 16, 24), 2, random, moved)
        assert (counts.sum(0) == 8).all()
        inside, outside = image[1][counts[2] == 8], image[1][counts[0] == 8]
        assert inside.numel() > 20
        assert float(inside.median()) > float(outside.quantile(0.99))


def test_augmentation_repeats_with_its_seed() -> None:
    made = sample()
    one, two = (random_patch(made, (8, 8, 8), 2, np.random.default_rng(5), Augmentation()) for _ in range(2))
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])


def test_centred_says_where_the_image_lies() -> None:
    image = torch.arange(2 * 3 * 4 * 5.0).reshape(1, 2, 3, 4, 5)
    padded, place = centred(image, (6, 4, 8))
    assert padded.shape == (1, 2, 6, 4, 8)
    assert torch.equal(padded[(slice(None), slice(None), *place)], image)
    assert padded.sum() == image.sum()


def test_coarser_voxels_hold_what_the_fine_ones_did() -> None:
    random = np.random.default_rng(0)
    classes = torch.from_numpy(random.integers(0, 3, (4, 6, 8)))
    counts = torch.nn.functional.one_hot(classes, 3).permute(3, 0, 1, 2)[None].to(torch.uint8) * 8
    image = torch.rand(1, 2, 4, 6, 8)
    seen = torch.ones(1, 4, 6, 8, dtype=torch.bool)
    small, parts, shown = coarser(image, counts, seen, 2)
    assert small.shape == (1, 2, 2, 3, 4)
    assert (parts.sum(1) == 8).all()
    assert shown.all()
    whole = counts.double().unfold(2, 2, 2).unfold(3, 2, 2).unfold(4, 2, 2).sum((-1, -2, -3)) / 8
    assert (parts[:, 1:] - whole[:, 1:]).abs().max() <= 0.5
    assert coarser(image, counts, seen, 1)[0] is image


def test_iou_follows_from_dice() -> None:
    # A has 10 voxels, B 10, 6 in common: dice 0.6, IoU 6 / 14.
    assert Score(0.6, 0.0, 0.0, 1.0).iou == pytest.approx(6 / 14)
