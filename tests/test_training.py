"""Training: synthetic heads are what they claim, seeded, and a step learns."""

import dataclasses
import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is installed for training only (make check installs it)")

from runtime.bundle import ModelGrid  # noqa: E402
from runtime.kernels import open_kernels  # noqa: E402
from runtime.stages.locate import model_grid  # noqa: E402
from runtime.stages.statistics import statistics  # noqa: E402
from runtime.volume import Volume  # noqa: E402
from training.anatomy import Head, classes_of, tissue_map  # noqa: E402
from training.brightness import Scan, scan_around, strip  # noqa: E402
from training.contrast import ContrastConfig, paint  # noqa: E402
from training.dataset import HeadStream, StreamConfig, class_fractions  # noqa: E402
from training.field import head_box, slab, without_skull  # noqa: E402
from training.geometry import GeometryConfig, fractions_of, random_fractions  # noqa: E402
from training.lesions import LesionConfig, add_lesions  # noqa: E402
from training.losses import segmentation_loss  # noqa: E402
from training.networks.nano import NanoConfig, NanoNetwork  # noqa: E402
from training.structures import BRAIN_PARTS, CLASS_NAMES, STRUCTURES  # noqa: E402
from training.tissues import CHANNELS, TISSUES, class_table, index_of  # noqa: E402

pytestmark = pytest.mark.torch


class Middling:
    """Draws the middle of every range."""

    def uniform(self, low, high):
        return (low + high) / 2


SMALL = GeometryConfig((32, 32, 32), reach_mm=(0.0, 0.0, 0.0), far=0.0)


@pytest.fixture(autouse=True)
def one_thread():
    """As the stream makes its samples."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def head():
    axes = np.meshgrid(*(np.arange(90) - 45.0,) * 3, indexing="ij")
    radius = np.sqrt(sum(a**2 for a in axes))
    tissues = np.zeros((90, 90, 90), np.uint8)
    for name, reach in (("skin", 44), ("cortical bone", 40), ("sulcal fluid", 36), ("cerebral cortex", 33)):
        tissues[radius < reach] = index_of(name)
    tissues[radius < 28] = index_of("cerebral white matter")
    tissues[radius < 8] = index_of("lateral ventricle")
    return Head(tissues, np.array([45, 45, 45], np.float32))


def test_every_class_has_a_tissue_and_every_part_a_class():
    assert set(class_table().tolist()) == set(range(len(CLASS_NAMES)))
    assert set(BRAIN_PARTS) < set(CLASS_NAMES)
    assert [s.value for s in STRUCTURES if not s.union_of] == list(range(1, len(CLASS_NAMES)))


def test_tissue_map_splits_fluid_at_the_envelope():
    labels = np.zeros((60, 60, 60), np.int16)
    labels[5:55, 5:55, 5:55] = 24
    labels[15:45, 15:45, 15:45] = 3
    labels[28:31, 15:45, 30:45] = 24  # a sulcus
    head = tissue_map(labels)
    assert head.tissues[29, 30, 40] == index_of("sulcal fluid")
    assert head.tissues[14, 30, 30] == index_of("sulcal fluid")
    assert head.tissues[13, 30, 30] == index_of("outer fluid")
    assert head.tissues[7, 7, 7] == index_of("outer fluid")
    assert CLASS_NAMES[classes_of(labels, np.ones(3))[20, 20, 20]] == "cerebral_cortex"


def test_fractions_count_fine_voxels():
    fine = torch.zeros(4, 4, 4, dtype=torch.uint8)
    fine[0, 0, 0] = 3
    fine[0, 0, 1] = 5
    counts = fractions_of(fine)
    assert counts.shape == (len(TISSUES), 2, 2, 2)
    assert (int(counts[0, 0, 0, 0]), int(counts[3, 0, 0, 0]), int(counts[5, 0, 0, 0])) == (6, 1, 1)
    assert bool((counts.sum(0) == 8).all())


def test_random_heads_repeat_with_their_seed(head):
    first = random_fractions(head, np.random.default_rng(4), SMALL)
    again = random_fractions(head, np.random.default_rng(4), SMALL)
    other = random_fractions(head, np.random.default_rng(5), SMALL)
    np.testing.assert_array_equal(first, again)
    assert not torch.equal(first, other)


def test_lesions_stay_inside_brain_tissue(head):
    always = LesionConfig(1.0, 1.0, 1.0)
    for seed in range(5):
        tissues = torch.from_numpy(head.tissues.copy())
        add_lesions(tissues, np.random.default_rng(seed), 1.0, always)
        changed = tissues.numpy() != head.tissues
        assert changed.sum() > 0
        hosts = {TISSUES[t].structure for t in np.unique(head.tissues[changed])}
        assert hosts <= {"cerebral_white_matter", "cerebral_cortex"}
        new = {TISSUES[t].structure for t in np.unique(tissues.numpy()[changed])}
        assert new <= {"lesion", "necrosis", "oedema"}


def test_paint_shows_the_textbook_order(head):
    counts = fractions_of(torch.from_numpy(head.tissues))
    plain = ContrastConfig(wild=0, cropped=0, thick=0)
    white = counts[index_of("cerebral white matter")] == 8
    grey = counts[index_of("cerebral cortex")] == 8
    fluid = counts[index_of("lateral ventricle")] == 8
    wins = {"T1": 0, "T2": 0, "FLAIR": 0}
    for seed in range(6):
        image, seen = paint(counts, np.random.default_rng(seed), 1.5, plain, chosen=(0, 2, 3))
        assert bool(seen.all())
        assert float(image[1].abs().max()) == float(image[4].abs().max()) == 0.0
        wins["T1"] += bool(image[0][white].mean() > image[0][grey].mean() > image[0][fluid].mean())
        wins["T2"] += bool(image[2][fluid].mean() > image[2][grey].mean() > image[2][white].mean())
        wins["FLAIR"] += bool(image[3][grey].mean() > image[3][fluid].mean())
    assert min(wins.values()) >= 5, wins


def test_without_skull_leaves_brain_and_air(head):
    counts = fractions_of(torch.from_numpy(head.tissues))
    kept = without_skull(counts)
    assert bool((kept.sum(0) == 8).all())
    assert CLASS_NAMES.index("head") not in set(class_fractions(kept).argmax(0).flatten().tolist())
    white = index_of("cerebral white matter")
    assert torch.equal(kept[white], counts[white])


def test_head_box_is_the_one_the_runtime_cuts_out(head):
    counts = torch.zeros(len(TISSUES), 64, 80, 64, dtype=torch.uint8)
    counts[0] = 8
    counts[:, 10:55, 20:65, 8:53] = fractions_of(torch.from_numpy(head.tissues))
    box = head_box(counts, Middling(), 2.0)
    assert [(side.stop - side.start) % 16 for side in box] == [0, 0, 0]
    scan = 1000.0 * (counts[0] < 4).numpy().astype(np.float32)
    kernels = open_kernels(threads=1)
    grid = model_grid(
        Volume(scan, np.diag([2.0, 2, 2, 1])), False, ModelGrid((2.0, 2, 2), (64,) * 3, 0.25), 16, kernels
    )
    assert tuple(side.stop - side.start for side in box) == grid.shape
    found = [side.start for side in box]
    np.testing.assert_allclose(found, grid.affine[:3, 3] / 2, atol=2.0)
    box = head_box(without_skull(counts), Middling(), 2.0)
    assert [side.stop - side.start for side in box] == [48, 48, 48]


def test_slab_is_a_part_in_whole_blocks():
    found = [slab(128, np.random.default_rng(seed), 64) for seed in range(40)]
    assert {side.stop - side.start for side in found} == {64, 80, 96, 112}
    assert all(side.start % 16 == 0 and side.stop <= 128 for side in found)
    assert slab(64, np.random.default_rng(0), 64) == slice(0, 64)


def test_foreground_gain_is_the_one_the_runtime_finds_in_the_painted_scan(head):
    counts = fractions_of(torch.from_numpy(head.tissues))
    plain = ContrastConfig(wild=0, cropped=0, thick=0)
    kernels = open_kernels(threads=1)
    for channel in (0, 2, 3):
        found = []
        for seed in range(8):
            image, _ = paint(counts, np.random.default_rng(seed), 1.5, plain, chosen=(channel,))
            counted = statistics(Volume(image[channel].numpy(), np.eye(4)), kernels)
            found.append(counted.mean(above=counted.otsu()))
        assert np.median(found) == pytest.approx(0.5, rel=0.1), CHANNELS[channel]


def test_gain_is_that_of_the_scan_not_of_the_patch(head):
    counts = fractions_of(torch.from_numpy(head.tissues))
    patch = counts[:, 17:27, 17:27, 17:27]  # white matter and ventricle only
    plain = ContrastConfig(wild=0, cropped=0, thick=0)
    whole = Scan(counts.flatten(1).numpy().astype(np.float32) / 8)
    images = [
        paint(patch, np.random.default_rng(1), 1.5, plain, (0,), scan=given)[0][0]
        for given in (whole, None, whole)
    ]
    assert torch.equal(images[0], images[2])
    assert abs(float(images[0].mean()) / float(images[1].mean()) - 1) > 0.02


def test_scan_around_a_patch_keeps_the_brain_and_varies_the_air(head):
    patch = np.ones(len(TISSUES))
    shares = []
    for seed in range(6):
        scan = scan_around(head.cubes, patch, np.random.default_rng(seed))
        assert np.allclose(scan.parts.sum(0), 1)
        brain = scan.parts[index_of("cerebral white matter")]
        assert np.array_equal(brain, head.cubes[index_of("cerebral white matter")] / 8)
        shares.append(float(scan.weights @ scan.parts[0] / scan.weights.sum()))
    assert max(shares) > 1.5 * min(shares)
    assert strip(scan).parts[index_of("skin")].max() < 0.51


def test_stream_is_resumable(head):
    config = StreamConfig(seed=3, looks=2, whole=0.0, geometry=SMALL)
    fresh = iter(HeadStream([head], [], config))
    samples = [next(fresh) for _ in range(4)]
    resumed = next(iter(HeadStream([head], [], config, start=2)))
    image, counts, seen = samples[2]
    assert torch.equal(image, resumed[0])
    assert torch.equal(counts, resumed[1])
    assert image.shape == (len(CHANNELS), 32, 32, 32)
    assert image.dtype == torch.float16
    assert seen.shape == (32, 32, 32)


def test_stream_shows_whole_heads_as_the_runtime_does(head):
    whole = dataclasses.replace(SMALL, patch_voxels=(64, 64, 64))
    config = StreamConfig(
        seed=3, looks=3, whole=1.0, partial=0.0, stripped=0.5, geometry=SMALL, whole_geometry=whole
    )
    samples = list(itertools.islice(HeadStream([head], [], config), 12))
    assert {side % 16 for image, _, _ in samples for side in image.shape[1:]} == {0}
    assert all(image.shape[1:] == counts.shape[1:] == seen.shape for image, counts, seen in samples)
    skull = [bool((counts[CLASS_NAMES.index("head")] > 4).any()) for _, counts, _ in samples]
    assert 0 < sum(skull) < 12


def test_loss_is_small_for_truth_and_ignores_unseen_voxels():
    truth = torch.zeros(1, 3, 8, 8, 8, dtype=torch.uint8)
    truth[:, 1, :4] = 8
    truth[:, 2, 4:] = 8
    seen = torch.ones(1, 8, 8, 8, dtype=torch.bool)
    weights = torch.ones(3)
    right = truth.float() * 5
    wrong = right.roll(1, dims=1)
    assert float(segmentation_loss(right, truth, seen, weights)) < 0.01
    assert float(segmentation_loss(wrong, truth, seen, weights)) > 5
    seen[:, 4:] = False
    half = right.clone()
    half[:, :, 4:] = wrong[:, :, 4:]
    assert float(segmentation_loss(half, truth, seen, weights)) < 0.01


def test_network_learns_one_head(head):
    torch.manual_seed(0)
    counts = fractions_of(torch.from_numpy(head.tissues))[:, 6:38, 6:38, 6:38]
    plain = ContrastConfig(wild=0, cropped=0, thick=0)
    image, seen = paint(counts, np.random.default_rng(1), 1.5, plain, chosen=(0,))
    truth = class_fractions(counts)[None]
    network = NanoNetwork(NanoConfig(widths=(8, 8, 16)))
    optimiser = torch.optim.AdamW(network.parameters(), lr=5e-3)
    losses = []
    for _ in range(25):
        loss = segmentation_loss(network(image[None]), truth, seen[None], torch.ones(len(CLASS_NAMES)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
