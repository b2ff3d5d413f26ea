"""The blend kernels and the tiling stage."""

import itertools

import numpy as np
import pytest

from runtime.errors import UsageError
from runtime.kernels import kernel_names, open_kernels
from runtime.stages.blend import Blend, gaussian_weight, tile_origins

TILE = (4, 5, 9)
SHAPE = (7, 11, 20)


def blended(name, threads):
    random = np.random.default_rng(0)
    blend = Blend(3, SHAPE, gaussian_weight(TILE), open_kernels(name, threads))
    for origin in tile_origins(SHAPE, TILE, 0.5):
        blend.add(random.standard_normal((3, *TILE)).astype(np.float32), origin)
    return blend.result()


def test_blend_equals_the_weighted_mean():
    random = np.random.default_rng(0)
    total, weights = np.zeros((3, *SHAPE)), np.zeros(SHAPE)
    for origin in tile_origins(SHAPE, TILE, 0.5):
        box = tuple(slice(o, o + t) for o, t in zip(origin, TILE, strict=True))
        total[(slice(None), *box)] += random.standard_normal((3, *TILE)).astype(np.float32) * gaussian_weight(
            TILE
        )
        weights[box] += gaussian_weight(TILE)
    # float32 sums of a few tiles
    np.testing.assert_allclose(blended("cpu", 2), total / weights, rtol=1e-4, atol=1e-5)


def test_blend_has_the_same_bits_on_every_target_and_thread_count():
    expected = blended("cpu_baseline", 1)
    for name, threads in itertools.product(kernel_names(), (1, 2, 5)):
        np.testing.assert_array_equal(blended(name, threads), expected)


def test_blend_leaves_zero_where_no_tile_was():
    blend = Blend(1, (4, 4, 8), np.ones((2, 2, 2), np.float32), open_kernels())
    blend.add(np.full((1, 2, 2, 2), 3, np.float32), (1, 2, 5))
    result = blend.result()
    assert (result[0, 1:3, 2:4, 5:7] == 3).all()
    assert result.sum() == 24
    assert blend.result() is result
    with pytest.raises(UsageError, match="finished"):
        blend.add(np.ones((1, 2, 2, 2), np.float32), (0, 0, 0))


@pytest.mark.parametrize("origin", [(-1, 0, 0), (3, 0, 0), (0, 0, 7), (2**40, 0, 0)])
def test_blend_refuses_to_write_outside(origin):
    blend = Blend(1, (4, 4, 8), np.ones((2, 2, 2), np.float32), open_kernels())
    with pytest.raises(ValueError, match="outside sum"):
        blend.add(np.ones((1, 2, 2, 2), np.float32), origin)


def test_blend_refuses_wrong_arrays():
    blend = Blend(2, (4, 4, 8), np.ones((2, 2, 2), np.float32), open_kernels())
    for tile in (
        np.ones((2, 2, 2, 2)),
        np.ones((2, 2, 2, 4), np.float32)[..., ::2],
        np.ones((2, 2, 2), np.float32),
    ):
        with pytest.raises(TypeError):
            blend.add(tile, (0, 0, 0))
    for shape in ((1, 2, 2, 2), (2, 2, 2, 3)):
        with pytest.raises(ValueError, match=r"same number|different sizes"):
            blend.add(np.ones(shape, np.float32), (0, 0, 0))


@pytest.mark.parametrize(
    ("shape", "tile"), [(SHAPE, TILE), ((96, 97, 191), (96, 96, 96)), ((3, 200, 5), (8, 64, 5))]
)
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.9])
def test_tile_origins_cover_everything_and_stay_inside(shape, tile, overlap):
    origins = np.array(tile_origins(shape, tile, overlap))
    for axis in range(3):
        starts = np.unique(origins[:, axis])
        assert starts[0] == 0
        assert starts[-1] == max(0, shape[axis] - tile[axis])
        assert (np.diff(starts) <= np.ceil(max(1, tile[axis] * (1 - overlap)))).all()
    assert len({tuple(o) for o in origins.tolist()}) == len(origins)


def test_tile_origins_are_plain_integers():
    assert tile_origins((10, 10, 10), (10, 10, 20), 0.5) == [(0, 0, 0)]
    assert tile_origins((10, 5, 5), (4, 5, 5), 0.5) == [(0, 0, 0), (2, 0, 0), (4, 0, 0), (6, 0, 0)]


@pytest.mark.parametrize(
    "wrong", [((0, 1, 1), (1, 1, 1), 0.5), ((4, 4, 4), (2, 2, 0), 0.5), ((4, 4, 4), (2, 2, 2), 1.0)]
)
def test_tile_origins_refuse_nonsense(wrong):
    with pytest.raises(UsageError):
        tile_origins(*wrong)


@pytest.mark.parametrize("tile", [(1, 1, 1), (8, 8, 8), (96, 128, 160)])
def test_gaussian_weight_is_never_zero(tile):
    weight = gaussian_weight(tile)
    assert weight.shape == tile
    assert weight.dtype == np.float32
    assert weight.min() > 0
    assert weight.max() == 1
    assert weight[tuple(n // 2 for n in tile)] == 1
