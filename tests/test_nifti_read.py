"""NIfTI and MGH files keep their stored values and their place."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.errors import ImageError
from runtime.formats.nifti_read import read_nifti
from runtime.study import Series
from tests.dicom_factory import orientations

nibabel: Any = pytest.importorskip("nibabel")

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is absent")

AFFINE = np.array([[-1.5, 0.2, 0, 90], [0.1, 1.25, 0, -120], [0, 0, 3, -60], [0, 0, 0, 1]])
VOXELS = (np.arange(4 * 5 * 6) - 20).reshape(4, 5, 6)


def save(path: Path, voxels: NDArray[Any], affine: NDArray[np.float64] = AFFINE, **header: Any) -> Path:
    image = nibabel.Nifti1Image(voxels, affine, dtype=voxels.dtype)
    for name, value in header.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def read(path: Path) -> Series:
    return read_nifti(path, "T1", "named by a test")


def assert_same_image(series: Series, image: Any) -> None:
    """Values and places are those that nibabel gives, axes reversed."""
    volume = series.volume
    values = np.asarray(image.dataobj).reshape(image.shape[:3])
    np.testing.assert_allclose(volume.voxels.T * volume.slope + volume.intercept, values, rtol=1e-6)
    np.testing.assert_allclose(volume.affine[:, [2, 1, 0, 3]], image.affine, atol=1e-6)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ"])
@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "int32", "float32"])
def test_nifti_keeps_stored_values(tmp_path: Path, name: str, kind: str) -> None:
    path = save(tmp_path / name, np.abs(VOXELS).astype(kind))
    series = read(path)
    assert series.volume.voxels.dtype == kind
    assert series.notes == ()
    assert (series.path, series.uid, series.decision.reason) == (path, str(path), "named by a test")
    assert_same_image(series, nibabel.load(path))


@pytest.mark.parametrize(
    ("kind", "top", "expected"),
    [
        ("int64", 100, "int16"),
        ("uint32", 60000, "uint16"),
        ("int64", 2**31 - 1, "int32"),
        ("uint64", 2**40, "float32"),
        ("float64", 0.5, "float32"),
    ],
)
def test_nifti_narrows_wide_types_and_says_so(tmp_path: Path, kind: str, top: float, expected: str) -> None:
    voxels = np.abs(VOXELS).astype(kind)
    voxels[0, 0, 0] = top
    series = read(save(tmp_path / "a.nii", voxels))
    assert series.volume.voxels.dtype == expected
    assert series.volume.voxels[0, 0, 0] == np.float32(top) or expected != "float32"
    assert f"stored as {kind}, read as {expected}" in series.notes[0]


def test_nifti_keeps_slope_and_intercept_beside_the_stored_integers(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", VOXELS.astype(np.int16))
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([0.25, -1024], "<f4").tobytes()  # scl_slope, scl_inter
    path.write_bytes(raw)
    volume = read(path).volume
    assert (volume.voxels.dtype, volume.slope, volume.intercept) == (np.dtype("int16"), 0.25, -1024.0)
    assert_same_image(read(path), nibabel.load(path))


def test_nifti_reads_big_endian_and_keeps_nan(tmp_path: Path) -> None:
    voxels = VOXELS.astype(">f4")
    voxels[1, 2, 3] = np.nan
    nibabel.save(
        nibabel.Nifti1Image(voxels, AFFINE, nibabel.Nifti1Header(endianness=">")), tmp_path / "a.nii"
    )
    series = read(tmp_path / "a.nii")
    assert series.volume.voxels.dtype.isnative
    assert np.isnan(series.volume.voxels[3, 2, 1])


def test_nifti_squeezes_one_volume_and_refuses_more(tmp_path: Path) -> None:
    one = read(save(tmp_path / "one.nii", VOXELS.astype(np.int16)[..., None]))
    assert one.volume.voxels.shape == (6, 5, 4)
    with pytest.raises(ImageError, match=r"two\.nii has shape \(4, 5, 6, 2\)"):
        read(save(tmp_path / "two.nii", np.stack([VOXELS, VOXELS], -1).astype(np.int16)))
    with pytest.raises(ImageError, match=r"flat\.nii has shape \(4, 5\)"):
        read(save(tmp_path / "flat.nii", VOXELS[:, :, 0].astype(np.int16)))


@pytest.mark.parametrize("frame", list(orientations()))
def test_nifti_marked_voxel_lands_at_its_millimetre(tmp_path: Path, frame: tuple[float, ...]) -> None:
    affine = np.eye(4)
    affine[:3, :3] = np.array(frame).reshape(3, 3) * [0.8, 1.0, 3.0]
    affine[:3, 3] = (-70, 20, 33)
    voxels = np.zeros((4, 5, 6), np.int16)
    voxels[3, 1, 4] = 1000
    volume = read(save(tmp_path / "a.nii", voxels, affine)).volume
    (found,) = np.argwhere(volume.voxels == 1000)
    np.testing.assert_allclose(volume.affine @ [*found, 1], affine @ [3, 1, 4, 1], atol=1e-5)
    assert volume.voxels.flags.c_contiguous


def test_nifti_notes_a_header_without_orientation(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VOXELS.astype(np.int16), None)
    nibabel.save(image, tmp_path / "a.nii")
    assert "no orientation in the header" in read(tmp_path / "a.nii").notes[0]


def test_nifti_notes_sform_and_qform_that_disagree(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VOXELS.astype(np.int16), np.eye(4))
    moved = np.eye(4)
    moved[0, 3] = 7.5
    image.set_sform(np.eye(4), 1)
    image.set_qform(moved, 1)
    nibabel.save(image, tmp_path / "a.nii")
    series = read(tmp_path / "a.nii")
    assert series.notes == ("sform and qform disagree by up to 7.5 mm; the sform is used",)
    np.testing.assert_allclose(series.volume.affine[:3, 3], 0)


def test_nifti_takes_metres_to_millimetres(tmp_path: Path) -> None:
    affine = np.diag([0.001, 0.001, 0.003, 1])
    series = read(save(tmp_path / "a.nii", VOXELS.astype(np.int16), affine, xyzt_units=1))
    np.testing.assert_allclose(series.volume.spacing_mm, [3, 1, 1], rtol=1e-6)
    assert "metres" in series.notes[0]
    with pytest.raises(ImageError, match=r"a\.nii: voxel size .* is not plausible"):
        read(save(tmp_path / "a.nii", VOXELS.astype(np.int16), np.eye(4), xyzt_units=1))


def test_mgh_keeps_stored_values(tmp_path: Path) -> None:
    nibabel.save(nibabel.MGHImage(VOXELS.astype(np.int16), AFFINE), tmp_path / "a.mgz")
    series = read(tmp_path / "a.mgz")
    assert series.volume.voxels.dtype == np.int16
    np.testing.assert_array_equal(series.volume.voxels.T, VOXELS)
    np.testing.assert_allclose(series.volume.affine[:, [2, 1, 0, 3]], AFFINE, atol=1e-4)


@pytest.mark.parametrize("name", ["cut.nii", "cut.nii.gz", "cut.mgz"])
@pytest.mark.parametrize("kept", [-40, 300, 0])
def test_nifti_cut_short_is_refused(tmp_path: Path, name: str, kept: int) -> None:
    path = tmp_path / name
    noise = np.random.default_rng(0).integers(0, 30000, (20, 20, 20)).astype(np.int16)
    nibabel.save((nibabel.MGHImage if name.endswith("mgz") else nibabel.Nifti1Image)(noise, AFFINE), path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ImageError, match=name.replace(".", r"\.")):
        read(path)


def test_nifti_header_repair_is_noted_and_not_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = save(tmp_path / "a.nii", VOXELS.astype(np.int16))
    raw = bytearray(path.read_bytes())
    raw[252:254] = np.array([77], "<i2").tobytes()  # qform_code
    path.write_bytes(raw)
    assert read(path).notes == ("header repaired by the reader: qform_code 77 not valid; setting to 0",)
    assert capfd.readouterr() == ("", "")


def test_nifti_2_is_read(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti2Image(VOXELS.astype(np.int16), AFFINE), tmp_path / "a.nii.gz")
    assert_same_image(read(tmp_path / "a.nii.gz"), nibabel.load(tmp_path / "a.nii.gz"))


def test_nifti_with_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "flipped.nii.gz", VOXELS.astype(np.int16))
    raw = bytearray(path.read_bytes())
    raw[-8] ^= 1  # CRC-32 of the gzip trailer
    path.write_bytes(raw)
    with pytest.raises(ImageError, match=r"flipped\.nii\.gz .*CRC"):
        read(path)


@pytest.mark.parametrize("name", ["junk.nii", "junk.nii.gz", "junk.mgh", "junk.mgz"])
def test_nifti_garbage_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"this is no image at all" * 40)
    with pytest.raises(ImageError, match=name.replace(".", r"\.")):
        read(tmp_path / name)


@pytest.mark.parametrize("packed", [False, True])
def test_nifti_absurd_size_is_refused_before_memory_is_taken(tmp_path: Path, packed: bool) -> None:
    path = save(tmp_path / "huge.nii", VOXELS.astype(np.int16))
    raw = bytearray(path.read_bytes())
    raw[40:48] = np.array([3, 30000, 30000, 30000], "<i2").tobytes()  # dim
    path.write_bytes(raw)
    if packed:
        path = path.with_suffix(".nii.gz")
        path.write_bytes(gzip.compress(raw))
    with pytest.raises(ImageError, match="cut short or its header is wrong"):
        read(path)


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (280, np.array([np.nan], "<f4")),  # srow_x
        (280, np.zeros(12, "<f4")),
        (70, np.array([128], "<i2")),  # datatype RGB
        (70, np.array([1792], "<i2")),  # datatype complex
        (70, np.array([999], "<i2")),
        (42, np.array([-4], "<i2")),  # dim[1]
        (108, np.array([1e9], "<f4")),  # vox_offset
    ],
)
def test_nifti_lying_header_is_refused(tmp_path: Path, offset: int, value: NDArray[Any]) -> None:
    path = save(tmp_path / "lie.nii", VOXELS.astype(np.int16))
    raw = bytearray(path.read_bytes())
    raw[offset : offset + value.nbytes] = value.tobytes()
    path.write_bytes(raw)
    with pytest.raises(ImageError, match=r"lie\.nii"):
        read(path)


@pytest.mark.data
@needs_data
@pytest.mark.parametrize(
    "name",
    [
        "openms/patient01/raw/study1_FLAIR.nii.gz",
        "openms/patient01/raw/study1_T1W.nii.gz",
        "openms/patient01/raw/study1_T2W.nii.gz",
        "t1-aseg/norm.mgz",
        "t1-aseg/aparc.a2009s+aseg.mgz",
        "totalseg/example_mr_sm.nii.gz",
    ],
)
def test_nifti_real_files_equal_nibabel(name: str) -> None:
    assert_same_image(read(DATA / name), nibabel.load(DATA / name))
