"""Networks of others: axes, voxels, brightness and tiles as their tools have them; rules of their bundles."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from types import TracebackType
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from runtime.bundle import Channel
from runtime.engines.engine import EngineDescription
from runtime.errors import BundleError, ImageError
from runtime.kernels import open_kernels
from runtime.stages.frame import cut, held_axis, oriented, resampled
from runtime.stages.intensity import body, normalise
from runtime.stages.label_scores import label_scores
from runtime.stages.slide import centred_weight, slide, step_origins
from runtime.volume import Grid
from tests.recipes import NNUNET, RECIPE, foreign_manifest

KERNELS = open_kernels("cpu", 1)
ORIENTATIONS = [
    "".join(letters)
    for order in itertools.permutations(("RL", "AP", "SI"))
    for letters in itertools.product(*order)
]


def scan_grid(codes: str = "LPS", shape: tuple[int, int, int] = (5, 6, 7), turned: float = 0.2) -> Grid:
    """A grid of a given orientation, slightly oblique."""
    affine = np.eye(4)
    for axis, letter in enumerate(codes):
        world = "RASLPI".index(letter) % 3
        affine[:3, axis] = 0.0
        affine[world, axis] = (1.0 if letter in "RAS" else -1.0) * (1.5, 2.0, 3.0)[axis]
    c, s = np.cos(turned), np.sin(turned)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ affine[:3, :3]
    affine[:3, 3] = 10.0, -20.0, 30.0
    return Grid(shape, affine)


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_axes_are_brought_into_the_networks_order_and_no_voxel_moves(codes: str) -> None:
    grid = scan_grid(codes)
    for letters in ("RAS", "SRA", "LPS"):
        made = oriented(grid, dataclasses.replace(RECIPE, axes=letters))
        assert "".join(nibabel.aff2axcodes(made.affine)) == letters
        back = made.index_to(grid)
        assert np.allclose(back, np.round(back), atol=1e-9)  # voxels lie on voxels
        corner = back @ [*(n - 1 for n in made.shape), 1]
        ends = np.sort(np.stack([back[:3, 3], corner[:3]]), axis=0)
        assert np.allclose(ends, [[0, 0, 0], np.array(grid.shape) - 1], atol=1e-9)


def test_stored_axes_are_only_put_in_another_order() -> None:
    grid = scan_grid()
    made = oriented(grid, dataclasses.replace(NNUNET, order=(2, 0, 1)))
    assert made.shape == (7, 5, 6)
    assert np.array_equal(made.affine[:3, :3], grid.affine[:3, [2, 0, 1]])
    assert np.array_equal(made.affine[:3, 3], grid.affine[:3, 3])


def test_a_resampled_field_fills_the_same_box() -> None:
    grid = scan_grid(turned=0.0)
    made = resampled(grid, NNUNET, (1.0, 2.4, 0.0))
    assert made.shape == (round(5 * 1.5), round(6 * 2.0 / 2.4), 7)
    corners = np.array([[-0.5] * 3 + [1.0], [*(n - 0.5 for n in made.shape), 1.0]])
    expected = np.array([[-0.5] * 3 + [1.0], [*(n - 0.5 for n in grid.shape), 1.0]])
    assert np.allclose(corners @ made.affine.T, expected @ grid.affine.T)


def test_resampled_centres_begin_at_the_first_centre() -> None:
    made = resampled(scan_grid(), RECIPE, (1.0, 1.0, 4.0))
    assert made.shape == (7, 11, round(6 * 3 / 4 + 1))
    assert np.array_equal(made.affine[:3, 3], scan_grid().affine[:3, 3])
    assert np.allclose(made.spacing_mm, (1.0, 1.0, 4.0))


def test_a_grid_beyond_all_memory_is_refused() -> None:
    with pytest.raises(ImageError, match="cut it first"):
        resampled(scan_grid(shape=(500, 500, 500)), RECIPE, (0.1, 0.1, 0.1))


@pytest.mark.parametrize(
    ("current", "other", "held"),
    [
        ((1, 1, 1), (1, 1, 1), None),
        ((5, 1, 1), (1, 1, 1), 0),
        ((1, 1, 1), (1, 6, 1.5), 1),
        ((0.24, 1.25, 1.25), (1, 1, 1), None),
        ((3, 1, 1), (1, 1, 3), None),
    ],
)
def test_the_held_axis_is_the_one_much_coarser(
    current: tuple[float, ...], other: tuple[float, ...], held: int | None
) -> None:
    assert held_axis(np.array(current, np.float64), np.array(other, np.float64)) == held


def test_a_body_is_what_is_not_zero_with_its_holes_filled() -> None:
    random = np.random.default_rng(5)
    image = (ndimage.gaussian_filter(random.normal(0, 1, (2, 20, 18, 22)), (0, 1.2, 1.2, 1.2)) > 0.12) * 1.0
    expected = ndimage.binary_fill_holes((image != 0).any(axis=0))
    assert 0 < expected.mean() < 1
    assert (expected != (image != 0).any(axis=0)).any()
    assert np.array_equal(body(image.astype(np.float32)), expected)


def channel(
    kind: Any, low: float = 0.0, high: float = 1.0, clamp: tuple[float, float] = (-99, 99)
) -> Channel:
    return Channel("T1", kind, low, high, clamp)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (channel("mean_std"), lambda x, inside: (x - x.mean()) / x.std()),
        (channel("z_score"), lambda x, inside: np.where(x != 0, (x - x[x != 0].mean()) / x[x != 0].std(), 0)),
        (
            channel("body_z_score"),
            lambda x, inside: np.where(inside, (x - x[inside].mean()) / x[inside].std(), x),
        ),
        (channel("min_max", -1, 1), lambda x, inside: (x - x.min()) / np.ptp(x) * 2 - 1),
        (
            channel("percentile", 5, 95, (0, 1)),
            lambda x, inside: np.clip(
                (x - np.percentile(x, 5)) / (np.percentile(x, 95) - np.percentile(x, 5)), 0, 1
            ),
        ),
        (channel("window", 20, 60, (-0.5, 1.0)), lambda x, inside: np.clip((x - 20) / 40, -0.5, 1.0)),
    ],
)
def test_channels_are_normalised_as_they_ask(asked: Channel, expected: Callable[..., Any]) -> None:
    image = np.random.default_rng(1).normal(50, 20, (6, 7, 8)).astype(np.float32)
    image[:2] = 0
    inside = np.zeros(image.shape, np.bool_)
    inside[1:] = True
    wanted = expected(image.astype(np.float64), inside)
    normalise(image, asked, inside)
    assert np.abs(image - wanted).max() < 2e-6


@pytest.mark.parametrize("kind", ["mean_std", "min_max", "z_score"])
def test_a_scan_that_shows_nothing_is_refused(kind: str) -> None:
    empty = np.zeros((3, 3, 3), np.float32)
    with pytest.raises(ImageError, match="T1 scan"):
        normalise(empty, channel(kind), None)


def test_steps_keep_one_distance_until_the_border() -> None:
    assert step_origins((20, 8, 4), (8, 8, 4), 0.5) == [(n, 0, 0) for n in (0, 4, 8, 12)]
    assert [a for a, _, _ in step_origins((19, 8, 4), (8, 8, 4), 0.25)] == [0, 6, 11]


def test_centred_weights_are_symmetric_and_never_vanish() -> None:
    weight = centred_weight((8, 6, 1))
    assert np.array_equal(weight, weight[::-1, ::-1])
    assert weight.min() >= np.float32(1e-3)


class Voxelwise:
    """An engine that answers each voxel by itself, or with where it lies in the tile."""

    def __init__(self, by_place: bool = False) -> None:
        self.by_place, self.shapes = by_place, set[tuple[int, ...]]()

    @property
    def description(self) -> EngineDescription:
        return EngineDescription("fake", "cpu", "fp32", "0", "test")

    def run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        image = inputs["image"]
        self.shapes.add(image.shape)
        first = image[:, :1]
        if self.by_place:
            first = np.broadcast_to(np.arange(image.shape[-1], dtype=np.float32), first.shape)
        return {"scores": np.concatenate([first, first * 2, -first, first**2], axis=1)}

    def __enter__(self) -> Voxelwise:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to free."""


@pytest.mark.parametrize("weight", ["gaussian", "gaussian_centred", "constant"])
@pytest.mark.parametrize("tile", [(8, 8, 8), (1, 16, 8)])
def test_tiles_add_up_and_are_padded_where_the_image_is_smaller(
    tile: tuple[int, int, int], weight: Any
) -> None:
    image = np.random.default_rng(2).normal(0, 1, (1, 11, 5, 13)).astype(np.float32)
    for tiles in ("even", "steps"):
        recipe = dataclasses.replace(NNUNET, tiles=tiles, weight=weight, mirror=(2,))
        engine, told = Voxelwise(), list[float]()
        scores = slide(image, engine, foreign_manifest(recipe, tile), recipe, KERNELS, told.append)
        x = image[0]
        assert np.abs(scores - np.stack([x, 2 * x, -x, x**2])).max() < 1e-5
        assert engine.shapes == {(1, 1, *(tile[1:] if tile[0] == 1 else tile))}
        assert told[-1] == 1.0


def test_mirrored_tiles_count_as_much_as_the_tile() -> None:
    recipe = dataclasses.replace(NNUNET, mirror=(0, 2))
    image = np.ones((1, 8, 8, 8), np.float32)
    scores = slide(image, Voxelwise(True), foreign_manifest(recipe), recipe, KERNELS, lambda share: None)
    assert np.abs(scores[0] - 3.5).max() < 1e-6


def test_activations_follow_the_blending() -> None:
    image = np.random.default_rng(2).normal(0, 3, (1, 8, 8, 8)).astype(np.float32)
    x = image[0].astype(np.float64)
    raw = np.stack([x, 2 * x, -x, x**2])
    for activation, expected in (
        ("softmax", np.exp(raw) / np.exp(raw).sum(axis=0)),
        ("sigmoid", 1 / (1 + np.exp(-raw))),
    ):
        recipe = dataclasses.replace(NNUNET, activation=activation)  # type: ignore[arg-type]
        found = slide(image, Voxelwise(), foreign_manifest(recipe), recipe, KERNELS, lambda share: None)
        assert np.abs(found - expected).max() < 1e-6


def test_a_network_that_answers_otherwise_is_refused() -> None:
    manifest = foreign_manifest(NNUNET)
    output = dataclasses.replace(manifest.encoder.outputs[0], shape=(1, 5, 8, 8, 8))
    lying = dataclasses.replace(manifest, encoder=dataclasses.replace(manifest.encoder, outputs=(output,)))
    with pytest.raises(BundleError, match="gave"):
        slide(np.ones((1, 8, 8, 8), np.float32), Voxelwise(), lying, NNUNET, KERNELS, lambda share: None)


def test_scores_of_a_held_axis_are_taken_from_the_nearest_slice() -> None:
    """Against SciPy, on a part of a scan whose axes are stored in another order."""
    onto = scan_grid("SPL", (9, 12, 10), turned=0.0)
    affine = onto.affine.copy()
    affine[:3, 0] *= 14 / 3  # 7 mm slices of 2 and 3 mm
    onto = Grid(onto.shape, affine)
    recipe = dataclasses.replace(NNUNET, order=(1, 0, 2))
    manifest = foreign_manifest(recipe, spacing_mm=(1.1, 2.0, 1.3))
    box = cut(oriented(onto, recipe), ((1, 11), (2, 9), (0, 10)))
    grid = resampled(box, recipe, manifest.grid.spacing_mm)
    scores = ndimage.gaussian_filter(
        np.random.default_rng(7).normal(0, 1, (4, *grid.shape)), (0, 1, 1, 1)
    ).astype(np.float32)
    found = label_scores(scores, grid, onto, np.array([0, 1, 2, 5], np.uint8), manifest, KERNELS)
    plane = np.indices((10, grid.shape[1], 10), dtype=np.float64)
    for axis in (0, 2):
        plane[axis] = (plane[axis] + 0.5) * grid.shape[axis] / box.shape[axis] - 0.5
    slices = np.stack([ndimage.map_coordinates(s, plane, order=1, mode="nearest") for s in scores])
    at = np.floor((np.arange(7) + 0.5) * grid.shape[1] / 7).astype(int)
    expected = np.zeros(onto.shape, np.uint8)
    inside = np.array([0, 1, 2, 5], np.uint8)[slices.argmax(axis=0)][:, at]
    expected[2:9, 1:11] = inside.transpose(1, 0, 2)
    assert (found != expected).mean() < 1e-3  # ties of float32 and float64 scores
    assert len(np.unique(found)) == 4
