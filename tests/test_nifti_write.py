from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.errors import ImageError
from runtime.formats.nifti_read import read_nifti
from runtime.formats.nifti_write import write_labels
from runtime.volume import Labels

nib = pytest.importorskip("nibabel")

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
SHAPE = (7, 5, 4)
OBLIQUE = np.array(
    [[0.8, -0.12, 0.3, -31.0], [0.15, 0.95, -0.2, 12.5], [-0.1, 0.1, 2.9, 44.0], [0.0, 0.0, 0.0, 1.0]]
)


def orthogonal(spacing_mm: tuple[float, float, float], columns: tuple[int, int, int]) -> np.ndarray:
    """An affine with axes permuted and spacing as given, turned a little about z and x."""
    a, b = 0.2, -0.3
    turn_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = (turn_z @ turn_x)[:, columns] * spacing_mm
    affine[:3, 3] = -20, 30, 40
    return affine


def as_read(image: Any) -> Labels:
    """Labels on the grid as this product reads it: the transposed view of the file."""
    voxels = np.ascontiguousarray(np.asarray(image.dataobj, np.uint8).T)
    return Labels(voxels, np.ascontiguousarray(image.affine[:, [2, 1, 0, 3]]), {1: "a"})


@pytest.mark.parametrize(
    ("sform_code", "qform_code"), list(itertools.product((0, 1, 4), (0, 1, 2))), ids=lambda code: str(code)
)
def test_labels_keep_the_grid_of_their_image(tmp_path: Path, sform_code: int, qform_code: int) -> None:
    voxels = np.random.default_rng(1).integers(0, 9, SHAPE).astype(np.uint8)
    source = nib.Nifti1Image(voxels, None)
    source.header.set_zooms((0.9, 1.1, 2.5))
    source.set_sform(OBLIQUE if sform_code else None, sform_code)
    source.set_qform(orthogonal((0.9, 1.1, 2.5), (1, 0, 2)) if qform_code else None, qform_code)
    nib.save(source, tmp_path / "in.nii")
    source = nib.load(tmp_path / "in.nii")
    write_labels(tmp_path / "out.nii.gz", as_read(source), like=tmp_path / "in.nii")
    found = nib.load(tmp_path / "out.nii.gz")
    assert np.array_equal(np.asarray(found.dataobj), voxels)
    for field in ("sform_code", "qform_code", "srow_x", "srow_z", "quatern_b", "qoffset_x"):
        assert np.array_equal(found.header[field], source.header[field]), field
    assert np.array_equal(found.header["pixdim"][:4], source.header["pixdim"][:4])
    assert np.array_equal(found.affine, source.affine)
    assert found.get_data_dtype() == np.uint8
    assert found.header.get_xyzt_units()[0] == "mm"
    assert bytes(found.header["descrip"]).startswith(b"Zeus Edge, research use")


def test_labels_of_mgh_get_scanner_codes(tmp_path: Path) -> None:
    voxels = np.random.default_rng(2).integers(0, 9, SHAPE).astype(np.uint8)
    nib.save(nib.MGHImage(voxels, orthogonal((1, 1, 2), (0, 2, 1)).astype(np.float32)), tmp_path / "in.mgz")
    source = nib.load(tmp_path / "in.mgz")
    write_labels(tmp_path / "out.nii.gz", as_read(source), like=tmp_path / "in.mgz")
    found = nib.load(tmp_path / "out.nii.gz")
    assert np.array_equal(np.asarray(found.dataobj), voxels)
    assert found.affine == pytest.approx(source.affine, abs=1e-4)
    assert (int(found.header["sform_code"]), int(found.header["qform_code"])) == (1, 1)


@pytest.mark.parametrize("name", ["out.nii.gz", "out.nii"])
def test_labels_of_a_series_are_column_row_slice(tmp_path: Path, name: str) -> None:
    voxels = np.random.default_rng(3).integers(0, 9, SHAPE).astype(np.uint8)
    affine = orthogonal((2.5, 0.9, 0.7), (2, 1, 0))
    write_labels(tmp_path / name, Labels(voxels, affine, {}), like=None)
    found = nib.load(tmp_path / name)
    assert found.shape == SHAPE[::-1]
    assert np.array_equal(np.asarray(found.dataobj), voxels.T)
    for index in itertools.product((0, 3), (0, 2), (0, 1)):
        ours = affine @ [*index, 1]
        for theirs in (found.get_sform(), found.get_qform()):
            assert theirs @ [*index[::-1], 1] == pytest.approx(ours, abs=1e-4)


def test_labels_of_a_tilted_series_have_no_qform(tmp_path: Path) -> None:
    affine = orthogonal((2.5, 0.9, 0.7), (2, 1, 0))
    affine[:3, 0] += [0, 0.8, 0]
    write_labels(tmp_path / "out.nii", Labels(np.zeros(SHAPE, np.uint8), affine, {}), like=None)
    found = nib.load(tmp_path / "out.nii")
    assert (int(found.header["sform_code"]), int(found.header["qform_code"])) == (1, 0)
    assert found.affine[:, [2, 1, 0, 3]] == pytest.approx(affine, abs=1e-4)


def test_labels_of_another_grid_are_refused(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.uint8), OBLIQUE), tmp_path / "in.nii")
    labels = as_read(nib.load(tmp_path / "in.nii"))
    moved = Labels(labels.voxels, labels.affine + np.eye(4)[:, [3, 3, 3, 0]] * 0.5, {})
    shorter = Labels(labels.voxels[1:].copy(), labels.affine, {})
    for wrong in (moved, shorter):
        with pytest.raises(ImageError, match="do not lie on this image's grid"):
            write_labels(tmp_path / "out.nii", wrong, like=tmp_path / "in.nii")
    assert not (tmp_path / "out.nii").exists()


def test_labels_of_a_read_image_go_back_to_its_grid(tmp_path: Path) -> None:
    stored = np.random.default_rng(4).integers(0, 9, SHAPE).astype(np.uint8)
    nib.save(nib.Nifti1Image(stored, orthogonal((0.9, 1.1, 2.5), (2, 0, 1))), tmp_path / "in.nii.gz")
    series = read_nifti(tmp_path / "in.nii.gz", "T1", "made")
    write_labels(tmp_path / "out.nii.gz", Labels(series.volume.voxels, series.volume.affine, {}), series.path)
    found = nib.load(tmp_path / "out.nii.gz")
    assert np.array_equal(np.asarray(found.dataobj), stored)
    assert np.array_equal(found.affine, nib.load(tmp_path / "in.nii.gz").affine)


@pytest.mark.data
def test_labels_keep_the_grid_of_a_real_image(tmp_path: Path) -> None:
    like = DATA / "t1-aseg" / "norm.mgz"
    if not like.exists():
        pytest.skip(f"{like} is absent")
    source = nib.load(like)
    labels = as_read(source)
    write_labels(tmp_path / "out.nii.gz", labels, like=like)
    found = nib.load(tmp_path / "out.nii.gz")
    assert np.array_equal(np.asarray(found.dataobj), labels.voxels.T)
    assert found.affine == pytest.approx(source.affine, abs=1e-4)
