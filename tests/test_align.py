"""Registration: finds known motions, knows when it does not, and repeats itself."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import nibabel
import numpy as np
import pytest

from runtime.errors import ImageError
from runtime.stages.align import Alignment, align
from runtime.study import Modality
from runtime.volume import Affine, Grid, Volume
from training.phantom.head import sample_labels
from training.phantom.parameters import HeadParameters
from training.phantom.protocol import CT_POSE, rotation
from training.phantom.scanner import paint

OPENMS = Path(__file__).resolve().parents[2] / "shared" / "data" / "openms" / "patient01"
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@cache
def phantom(modality: Modality, spacing: tuple[float, float, float]) -> Volume:
    """The demo head, axial or nearly so, in the frame of its own scanner (CT's differs)."""
    shape = tuple(round(length / size) for length, size in zip((186, 222, 150), spacing, strict=True))
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-93, -110, -64)
    if modality == "CT":
        affine = CT_POSE @ affine  # turned gantry: the same anatomy on the grid
        affine[:3, :3] = np.diag(spacing)
    in_head = np.linalg.inv(CT_POSE) @ affine if modality == "CT" else affine
    grid = Grid(shape, in_head)  # type: ignore[arg-type]
    image = paint([sample_labels(HeadParameters(), grid)], grid, modality, np.random.default_rng(1))
    return Volume(np.ascontiguousarray(image), affine)


def brain_points() -> np.ndarray:
    """Points spread over the brain's box, (n, 4)."""
    axes = [np.linspace(low, high, 5) for low, high in ((-55, 55), (-65, 65), (-45, 50))]
    points = np.stack(np.meshgrid(*axes), -1).reshape(-1, 3)
    return np.asarray(np.c_[points, np.ones(len(points))])


def error_mm(found: Alignment, truth: Affine, points: np.ndarray) -> float:
    gap = points @ (found.world - truth).T
    return float(np.linalg.norm(gap[:, :3], axis=1).mean())


def pose(degrees: tuple[float, float, float], shift_mm: tuple[float, float, float]) -> Affine:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation(degrees), shift_mm
    return matrix


T1 = (2.0, 2.0, 2.0)
T2 = (1.5, 1.5, 4.0)


@pytest.mark.slow
def test_align_recovers_a_head_moved_by_20_mm_and_15_degrees() -> None:
    motion = pose((15.0, 0.0, 0.0), (0.0, -20.0, 0.0))
    still, other = phantom("T1", T1), phantom("T2", T2)
    found = align(replace(other, affine=motion @ other.affine), still)
    assert error_mm(found, motion, brain_points()) < 1.0
    assert np.allclose(found.world[:3, :3] @ found.world[:3, :3].T, np.eye(3), atol=1e-9)
    assert found.trustworthy(2.0)


@pytest.mark.slow
def test_align_finds_ct_in_its_own_frame() -> None:
    found = align(phantom("CT", (1.2, 1.2, 3.0)), phantom("T1", T1))
    assert error_mm(found, CT_POSE, brain_points()) < 1.0
    assert found.trustworthy(2.0)


def test_align_is_the_same_bits_twice() -> None:
    still, other = phantom("T1", (3.0, 3.0, 3.0)), phantom("T2", (3.0, 3.0, 4.0))
    first, second = align(other, still), align(other, still)
    assert np.array_equal(first.world, second.world)
    assert error_mm(first, np.eye(4), brain_points()) < 1.0


@pytest.mark.slow
def test_align_does_not_care_how_axes_are_stored() -> None:
    still, other = phantom("T1", (3.0, 3.0, 3.0)), phantom("T2", (3.0, 3.0, 4.0))
    turned = np.ascontiguousarray(other.voxels.transpose(2, 0, 1)[::-1])
    affine = other.affine[:, [2, 0, 1, 3]].copy()
    affine[:3, 3] += affine[:3, 0] * (turned.shape[0] - 1)
    affine[:3, 0] *= -1
    found = align(Volume(turned, affine), still)
    assert error_mm(found, np.eye(4), brain_points()) < 1.0


@pytest.mark.slow
def test_align_does_not_trust_unrelated_images() -> None:
    draw = np.random.default_rng(0)
    noise = [
        Volume(draw.integers(0, 1000, (36, 40, 30)).astype(np.uint16), np.diag([5.0, 5.0, 5.0, 1.0]))
        for _ in range(2)
    ]
    assert not align(noise[0], noise[1]).trustworthy(50.0)
    assert not align(noise[0], phantom("T1", (3.0, 3.0, 3.0))).trustworthy(50.0)


def test_trustworthy_needs_a_small_residual_and_likeness_and_overlap() -> None:
    good = Alignment(np.eye(4), 0.5, 0.8, 0.9, "", 1.0)
    assert good.trustworthy(1.0)
    assert not replace(good, residual_mm=1.5).trustworthy(1.0)
    assert not replace(good, similarity=0.02).trustworthy(1.0)
    assert not replace(good, overlap=0.1).trustworthy(1.0)


def test_align_refuses_a_constant_image() -> None:
    flat = Volume(np.full((20, 20, 20), 7, np.int16), np.eye(4))
    with pytest.raises(ImageError, match="moving image is constant"):
        align(flat, phantom("T1", (3.0, 3.0, 3.0)))


def test_align_refuses_a_sheared_image() -> None:
    image = phantom("T1", (3.0, 3.0, 3.0))
    sheared = image.affine.copy()
    sheared[1, 2] = 1.0
    with pytest.raises(ImageError, match="right angles"):
        align(image, replace(image, affine=sheared))


def test_align_refuses_values_that_are_not_finite() -> None:
    image = phantom("T1", (3.0, 3.0, 3.0))
    broken = image.voxels.copy()
    broken[3, 4, 5] = np.nan
    with pytest.raises(ImageError, match="not finite"):
        align(replace(image, voxels=broken), image)


def itk_matrix(path: Path) -> Affine:
    """An ITK text transform as a matrix in RAS+ (it maps fixed points to moving points, in LPS)."""
    lines = path.read_text().splitlines()
    values, centre = (np.array(line.split(":")[1].split(), float) for line in lines[3:5])
    matrix = np.eye(4)
    matrix[:3, :3] = values[:9].reshape(3, 3)
    matrix[:3, 3] = values[9:] + centre - matrix[:3, :3] @ centre
    return np.asarray(LPS @ matrix @ LPS)


def openms(name: str) -> Volume:
    image = nibabel.Nifti1Image.from_filename(OPENMS / "raw" / name)
    return Volume(np.ascontiguousarray(np.asanyarray(image.dataobj)), np.asarray(image.affine, np.float64))


def openms_brain() -> np.ndarray:
    """Brain points in the common space, (n, 4)."""
    mask = nibabel.Nifti1Image.from_filename(OPENMS / "coregistered" / "brainmask.nii.gz")
    index = np.argwhere(np.asanyarray(mask.dataobj) > 0)[::50]
    return np.asarray(np.c_[index, np.ones(len(index))] @ mask.affine.T)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", ["study1_T1W", "study1_T2W", "study2_T1W", "study2_T2W"])
def test_align_is_within_1_mm_of_the_published_transform(name: str) -> None:
    if not OPENMS.is_dir():
        pytest.skip(f"{OPENMS} is absent")
    study = name.split("_")[0]
    to_flair = itk_matrix(OPENMS / "raw" / f"{study}_FLAIR_to_common_space.txt")
    truth = itk_matrix(OPENMS / "raw" / f"{name}_intrastudy_to_FLAIR.txt")
    found = align(openms(f"{name}.nii.gz"), openms(f"{study}_FLAIR.nii.gz"))
    assert error_mm(found, truth, openms_brain() @ to_flair.T) < 1.0
    assert found.trustworthy(2.0)
