"""The prepare kernel and stage: right, the same bits everywhere, strict."""

import itertools

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from runtime import _kernels
from runtime.errors import UsageError
from runtime.kernels import Bfloat16Array, kernel_names, open_kernels
from runtime.stages.prepare import Normalisation, prepare
from runtime.volume import Grid, Volume

STORED = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.float32]
IDENTITY = {
    "slope": 1.0,
    "intercept": 0.0,
    "shift": 0.0,
    "gain": 1.0,
    "clamp_low": -1e30,
    "clamp_high": 1e30,
    "outside": -7.0,
}


def random_source(dtype, shape=(7, 9, 11), seed=0):
    random = np.random.default_rng(seed)
    if dtype == np.float32:
        return (random.standard_normal(shape) * 100).astype(np.float32)
    limits = np.iinfo(dtype)
    low, high = max(limits.min, -(2**20)), min(limits.max, 2**20)
    return random.integers(low, high, shape, dtype, endpoint=True)


def run(source, shape, matrix, samples=(1, 1, 1), dtype=np.float32, name="cpu", threads=2, **changed):
    result = np.empty(shape, np.uint16 if dtype == "bfloat16" else dtype)
    into = Bfloat16Array(result) if dtype == "bfloat16" else result
    table = open_kernels(name).table
    matrix = np.ascontiguousarray(matrix, np.float64)[:3]
    scratch = np.empty(table.prepare_scratch(source, into, matrix, samples, threads), np.uint8)
    intensity = _kernels.Intensity(**{**IDENTITY, **changed})
    table.prepare(source, into, matrix, samples, intensity, scratch, threads)
    return result


def reference(source, shape, matrix, samples=(1, 1, 1), outside=-7.0):
    """Slow, in float64, straight from the definition."""
    voxels = np.where(np.isfinite(source), source, 0).astype(np.float64)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).reshape(3, -1).astype(np.float64)
    size = np.array(source.shape)[:, None]
    offsets = [[(s + 0.5) / n - 0.5 for s in range(n)] for n in samples]
    values = np.zeros(index.shape[1])
    for offset in itertools.product(*offsets):
        at = matrix[:3, :3] @ (index + np.array(offset)[:, None]) + matrix[:3, 3:]
        values += map_coordinates(voxels, np.clip(at, 0, size - 1), order=1)
    values /= np.prod(samples)
    centre = matrix[:3, :3] @ index + matrix[:3, 3:]
    inside = ((centre >= -0.500001) & (centre <= size - 0.499999)).all(0)
    return np.where(inside, values, outside).reshape(shape)


def tolerance(source):
    # float32 weights and sums: at most a few dozen roundings of 2^-24 of the largest voxel.
    return 2e-6 * float(np.abs(np.where(np.isfinite(source), source, 0)).max())


def aligned(permutation, signs, steps, source_shape, shift=0.13):
    matrix = np.zeros((3, 4))
    for axis, (source_axis, sign, step) in enumerate(zip(permutation, signs, steps, strict=True)):
        matrix[source_axis, axis] = sign * step
        matrix[source_axis, 3] = shift if sign > 0 else source_shape[source_axis] - 1 - shift
    return matrix


def oblique(steps=(0.9, 1.2, 0.7)):
    a, b = np.deg2rad([17.0, -31.0])
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn = turn @ np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return np.hstack([turn * np.array(steps), [[0.4], [2.1], [-0.6]]])


def tilted():
    """A gantry tilt: slices are sheared against each other."""
    matrix = np.hstack([np.diag([0.8, 0.9, 0.6]), [[0.2], [-0.3], [0.1]]])
    matrix[1, 0] = 0.33
    return matrix


@pytest.mark.parametrize("dtype", STORED)
@pytest.mark.parametrize("samples", [(1, 1, 1), (2, 3, 1)])
def test_prepare_matches_reference_for_every_stored_type(dtype, samples):
    source = random_source(dtype)
    for matrix in (aligned((0, 1, 2), (1, 1, 1), (1.7, 0.6, 1.1), source.shape), oblique(), tilted()):
        result = run(source, (5, 14, 9), matrix, samples)
        np.testing.assert_allclose(
            result, reference(source, (5, 14, 9), matrix, samples), rtol=0, atol=tolerance(source)
        )


@pytest.mark.parametrize("permutation", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, 1), (1, -1, -1), (-1, -1, -1)])
def test_prepare_matches_reference_for_every_permutation_and_flip(permutation, signs):
    source = random_source(np.int16, (19, 9, 21))
    matrix = aligned(permutation, signs, (1.3, 0.55, 2.2), source.shape)
    for samples in ((1, 1, 1), (2, 1, 3)):
        result = run(source, (20, 18, 17), matrix, samples)
        expected = reference(source, (20, 18, 17), matrix, samples)
        np.testing.assert_allclose(result, expected, rtol=0, atol=tolerance(source))


def test_prepare_copies_exactly_on_the_same_grid():
    source = random_source(np.int16, (5, 40, 70))
    np.testing.assert_array_equal(run(source, source.shape, np.eye(4)), source.astype(np.float32))


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 6, 1), (6, 1, 5), (2, 2, 2)])
def test_prepare_accepts_axes_of_one_voxel(shape):
    source = random_source(np.int16, shape)
    for matrix in (np.hstack([np.eye(3) * 0.4, [[-0.4]] * 3]), oblique() * 0.3):
        for samples in ((1, 1, 1), (4, 4, 4)):
            np.testing.assert_allclose(
                run(source, (5, 6, 7), matrix, samples),
                reference(source, (5, 6, 7), matrix, samples),
                rtol=0,
                atol=tolerance(source),
            )


@pytest.mark.parametrize("kind", ["aligned", "oblique"])
def test_prepare_repeats_the_edge_for_half_a_voxel_only(kind):
    source = np.full((4, 4, 4), 100, np.int16)
    matrix = np.eye(3, 4)
    matrix[0] = [0.25, 0, 0, -1.0]
    if kind == "oblique":
        matrix[1, 2] = 0.5
    result = run(source, (22, 4, 3), matrix)
    position = np.arange(22) * 0.25 - 1.0
    inside = (position >= -0.5) & (position <= 3.5)
    np.testing.assert_array_equal(result[:, 0, 0], np.where(inside, 100, -7))


def test_prepare_fills_everything_when_the_grids_do_not_meet():
    for matrix in (np.hstack([np.eye(3), [[50.0]] * 3]), oblique() + np.array([0, 0, 0, 100.0])):
        assert (run(random_source(np.int16), (4, 5, 6), matrix) == -7).all()


def test_prepare_rescales_shifts_and_clamps_in_this_order():
    source = random_source(np.int16)
    result = run(
        source, source.shape, np.eye(4),
        slope=-0.5, intercept=12.0, shift=40.0, gain=0.01, clamp_low=-20.0, clamp_high=30.0,
    )  # fmt: skip
    expected = np.clip((-0.5 * source.astype(np.float64) + 12 - 40) * 0.01, -20, 30)
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=2e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_prepare_takes_a_voxel_that_is_not_finite_as_stored_zero(bad):
    source = random_source(np.float32)
    source[3, 4, 5] = bad
    for matrix in (np.hstack([np.eye(3) * 0.5, [[0.0]] * 3]), tilted()):
        for samples in ((1, 1, 1), (2, 2, 2)):
            result = run(source, (13, 17, 21), matrix, samples)
            expected = reference(source, (13, 17, 21), matrix, samples)
            np.testing.assert_allclose(result, expected, rtol=0, atol=tolerance(source))


def test_prepare_reaches_beyond_two_to_the_31_voxels():
    source = np.zeros((2100, 1024, 1024), np.int8)  # untouched pages cost no memory
    source[-1, -1, -1] = 5
    for tilt in (0.0, 0.01):
        matrix = np.hstack([np.eye(3), [[2098.0], [1022.0], [1022.0]]])
        matrix[0, 1] = tilt
        result = run(source, (2, 2, 2), matrix)
        assert result[1, 1, 1] == 5
        assert np.count_nonzero(result) in (1, 2)


def test_prepare_of_many_samples_averages_a_checkerboard_away():
    i, j, k = np.indices((32, 32, 32))
    source = ((i + j + k) % 2 * 100).astype(np.uint8)
    matrix = np.hstack([np.eye(3) * 4, [[1.5]] * 3])
    assert np.abs(run(source, (8, 8, 8), matrix, (4, 4, 4))[1:-1, 1:-1, 1:-1] - 50).max() < 1e-4


@pytest.mark.parametrize("samples", [(1, 1, 1), (3, 2, 2)])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, "bfloat16"])
@pytest.mark.parametrize("stored", STORED)
def test_prepare_has_the_same_bits_on_every_target_and_thread_count(samples, dtype, stored):
    source = random_source(stored, (23, 19, 37))
    maps = [oblique(), tilted()]
    maps += [
        aligned(p, (1, -1, 1), (1.31, 0.77, 2.03), source.shape) for p in itertools.permutations(range(3))
    ]
    for matrix in maps:
        expected = run(source, (18, 21, 40), matrix, samples, dtype, "cpu_baseline", 1, gain=0.37)
        for name, threads in itertools.product(kernel_names(), (1, 2, 5)):
            result = run(source, (18, 21, 40), matrix, samples, dtype, name, threads, gain=0.37)
            np.testing.assert_array_equal(result.view(np.uint8), expected.view(np.uint8))


@pytest.mark.parametrize("name", kernel_names())
def test_prepare_rounds_halves_as_numpy_does(name):
    random = np.random.default_rng(1)
    exponents = random.integers(90, 145, 20000).astype(np.uint32) << 23
    bits = exponents | random.integers(0, 2**23, 20000).astype(np.uint32)
    ties = (np.arange(1, 20001, dtype=np.uint32) << 12) + (100 << 23)
    values = np.concatenate([bits, ties, [0, 0x477FEFFF, 0x477FF000, 0x7F7FFFFF]]).astype(np.uint32)
    source = np.concatenate([values.view(np.float32), -values.view(np.float32)]).reshape(1, 1, -1)
    result = run(
        source, source.shape, np.eye(4), dtype=np.float16, name=name, clamp_low=-3.5e38, clamp_high=3.5e38
    )
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(result, source.astype(np.float16))


def test_prepare_refuses_wrong_arrays():
    source, matrix = random_source(np.int16), np.eye(3, 4)
    table, intensity = open_kernels().table, _kernels.Intensity(**IDENTITY)
    result, scratch = np.empty((4, 4, 4), np.float32), np.empty(1 << 20, np.uint8)
    read_only = np.empty((4, 4, 4), np.float32)
    read_only.flags.writeable = False

    def call(source=source, result=result, matrix=matrix, samples=(1, 1, 1), scratch=scratch, threads=1):
        table.prepare(source, result, matrix, samples, intensity, scratch, threads)

    call()
    wrong_types = [
        *(
            {"source": wrong}
            for wrong in (source.astype(np.float64), source.astype(np.int64), source.T, source[0])
        ),
        *({"result": wrong} for wrong in (result.astype(np.float64), result[:, :, ::2], read_only)),
        *({"matrix": wrong} for wrong in (matrix.astype(np.float32), np.eye(4))),
        {"scratch": result},
    ]
    for wrong in wrong_types:
        with pytest.raises(TypeError):
            call(**wrong)
    wrong_values = [
        {"source": source[:0]},
        {"scratch": scratch[:100]},
        *({"samples": wrong} for wrong in ((0, 1, 1), (1, 1, 257))),
        {"samples": (1, 17, 1), "matrix": tilted()},
        *({"threads": wrong} for wrong in (0, 257)),
        *({"matrix": np.full((3, 4), wrong)} for wrong in (np.nan, np.inf, 1e10)),
    ]
    for wrong in wrong_values:
        with pytest.raises(ValueError, match=r"\w"):
            call(**wrong)
    for wrong in ({"slope": np.nan}, {"gain": np.inf}, {"clamp_low": 1.0, "clamp_high": 0.0}):
        with pytest.raises(ValueError, match=r"\w"):
            _kernels.Intensity(**{**IDENTITY, **wrong})


def test_prepare_stage_maps_through_the_world():
    source = random_source(np.int16, (12, 14, 10))
    affine = np.array([[0, 0, -2.0, 30], [0, 1.0, 0, -8], [3.0, 0, 0, 5], [0, 0, 0, 1]])
    volume = Volume(source, affine, slope=2.0, intercept=-10.0)
    world = np.eye(4)
    world[:3, 3] = [2.0, 0.0, 0.0]
    grid = Grid((10, 14, 12), np.array([[2.0, 0, 0, 10], [0, 1, 0, -8], [0, 0, 3, 5], [0, 0, 0, 1]]))
    into = np.empty(grid.shape, np.float32)
    prepare(volume, grid, into, Normalisation(0, 1), open_kernels(), world)
    np.testing.assert_allclose(into, 2.0 * source.transpose(2, 1, 0)[::-1] - 10, rtol=1e-6)


def test_prepare_stage_averages_when_shrinking():
    noise = np.random.default_rng(0).standard_normal((64, 64, 8)).astype(np.float32)
    affine = np.diag([4.0, 4.0, 1.0, 1.0])
    affine[:2, 3] = 1.5
    grid = Grid((16, 16, 8), affine)
    into = np.empty(grid.shape, np.float32)
    prepare(Volume(noise, np.eye(4)), grid, into, Normalisation(0, 1), open_kernels())
    np.testing.assert_allclose(into, noise.reshape(16, 4, 16, 4, 8).mean((1, 3)), atol=1e-5)


def test_prepare_stage_refuses_another_shape():
    grid = Grid((4, 4, 4), np.eye(4))
    with pytest.raises(UsageError, match="allocate it from the grid"):
        prepare(Volume(np.zeros((4, 4, 4), np.int16), np.eye(4)), grid, np.empty((4, 4, 5), np.float32),
                Normalisation(0, 1), open_kernels())  # fmt: skip


@pytest.mark.parametrize(
    "wrong", [{"gain": np.inf}, {"shift": np.nan}, {"clamp_low": 2.0, "clamp_high": 1.0}]
)
def test_normalisation_refuses_unusable_numbers(wrong):
    with pytest.raises(UsageError):
        Normalisation(**{"shift": 0.0, "gain": 1.0, **wrong})
