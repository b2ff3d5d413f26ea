"""Read one NIfTI or MGH image as a series, keeping the stored values."""

from __future__ import annotations

import gzip
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ImageError
from runtime.formats.limits import MAXIMUM_VOXELS, plausible_spacing
from runtime.study import Decision, Modality, Series
from runtime.volume import Volume

__all__ = ["NIFTI_SUFFIXES", "header_repairs", "read_nifti", "read_nifti_volume"]

NIFTI_SUFFIXES = (".nii", ".nii.gz", ".mgh", ".mgz")
"""File names that are taken for NIfTI or MGH, in small letters."""

_NIFTI2_BYTES = 540  # sizeof_hdr of NIfTI-2; NIfTI-1 has 348
_KEPT_TYPES = ("int8", "uint8", "int16", "uint16", "int32", "float32")
_UNIT_MM = {1: 1000.0, 3: 0.001}  # xyzt_units: metre, micrometre
_AGREE_MM = 1.0  # sform and qform may place no corner further apart than this
_DEFLATE_LIMIT = 1032  # no deflate stream unpacks to more than 1032 times its size
_IMAGE_HEADER_BYTES = 64 * 1024  # allowance for header and trailer around the voxels


def _is_packed(path: Path) -> bool:
    return path.name.lower().endswith((".gz", ".mgz"))


def _single_volume(shape: tuple[int, ...], path: Path, channel: int | None) -> tuple[int, int, int]:
    if channel is not None:
        if len(shape) != 4 or not 0 <= channel < shape[3]:
            raise ImageError(
                f"{path} has shape {tuple(int(size) for size in shape)}, without channel {channel}"
            )
        shape = shape[:3]
    if len(shape) > 3 and all(size == 1 for size in shape[3:]):
        shape = shape[:3]
    if len(shape) != 3 or min(shape) < 1:
        raise ImageError(f"{path} has shape {tuple(int(size) for size in shape)}; one 3-D volume is needed")
    return int(shape[0]), int(shape[1]), int(shape[2])


def _check_size(shape: tuple[int, ...], item_bytes: int, path: Path) -> None:
    """Refuse a header that promises more than the file can hold, before any memory is taken."""
    count = math.prod(int(size) for size in shape)
    capacity = path.stat().st_size * (_DEFLATE_LIMIT if _is_packed(path) else 1) + _IMAGE_HEADER_BYTES
    if count > MAXIMUM_VOXELS or count * item_bytes > capacity:
        raise ImageError(f"{path} is cut short or its header is wrong: it promises {count} voxels")


def _affine_notes(header: Any, affine: NDArray[np.float64], shape: tuple[int, int, int]) -> list[str]:
    """What must be said about where a NIfTI header places the image."""
    if "sform_code" not in header:
        good = "goodRASFlag" not in header or int(header["goodRASFlag"]) == 1
        return [] if good else ["no orientation in the header; the file format's default is used"]
    sform_code, qform_code = int(header["sform_code"]), int(header["qform_code"])
    if sform_code == 0 and qform_code == 0:
        return ["no orientation in the header (sform and qform codes are 0); left and right are assumed"]
    if sform_code > 0 and qform_code > 0:
        corner = np.array([[i, j, k, 1.0] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
        corner[:, :3] *= np.array(shape) - 1
        gap = (corner @ (affine - header.get_qform()).T)[:, :3]
        gap_mm = float(np.linalg.norm(gap, axis=1).max())
        if gap_mm > _AGREE_MM:
            return [f"sform and qform disagree by up to {gap_mm:.1f} mm; the sform is used"]
    return []


def _kept(stored: NDArray[Any]) -> tuple[NDArray[Any], str]:
    """The voxels in a type that `Volume` keeps, and a note if that changed their type."""
    native = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    name = native.dtype.name
    if name in _KEPT_TYPES:
        return native, ""
    if native.dtype.kind in "iu":
        low, high = int(native.min()), int(native.max())
        for wanted in ("int16", "uint16", "int32"):
            if np.iinfo(wanted).min <= low and high <= np.iinfo(wanted).max:
                return native.astype(wanted), f"stored as {name}, read as {wanted} without loss"
    elif native.dtype.kind != "f":
        raise ImageError(f"voxel type {name} is not a plain number")
    with np.errstate(over="ignore"):
        return native.astype(np.float32), f"stored as {name}, read as float32"


def _open(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if _is_packed(path) else path.open("rb")


def _image_class(path: Path, head: bytes) -> Any:
    """The nibabel class for a file that begins with `head`."""
    from nibabel import MGHImage, Nifti1Image, Nifti2Image

    if path.name.lower().endswith((".mgh", ".mgz")):
        return MGHImage
    sizes = int.from_bytes(head, "little"), int.from_bytes(head, "big")
    return Nifti2Image if _NIFTI2_BYTES in sizes else Nifti1Image


class _Collector(logging.Handler):
    """Keep what nibabel says when it repairs a header, instead of letting it print."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one message."""
        self.messages.append(record.getMessage())


@contextmanager
def header_repairs() -> Iterator[list[str]]:
    """Collect nibabel's header repairs while the block runs."""
    from nibabel.imageglobals import logger

    collector = _Collector()
    handlers, logger.handlers = logger.handlers, [collector]
    try:
        yield collector.messages
    finally:
        logger.handlers = handlers


def _load(path: Path, stream: IO[bytes], channel: int | None) -> tuple[Volume, list[str]]:
    kind = _image_class(path, stream.read(4))
    stream.seek(0)
    image = kind.from_file_map(kind.make_file_map({"image": stream}), mmap=False)
    shape = _single_volume(image.shape, path, channel)
    _check_size(image.shape, image.get_data_dtype().itemsize, path)
    affine = np.array(image.affine, dtype=np.float64)
    notes = _affine_notes(image.header, affine, shape)
    if "xyzt_units" in image.header:
        scale = _UNIT_MM.get(int(image.header["xyzt_units"]) & 7)
        if scale is not None:
            affine[:3] *= scale
            notes.append(
                f"the header counts in {'metres' if scale > 1 else 'micrometres'}; taken to millimetres"
            )
    whole = np.asarray(image.dataobj.get_unscaled())
    stored, note = _kept((whole if channel is None else whole[..., channel]).reshape(shape, order="F"))
    if note:
        notes.append(note)
    stream.read(_IMAGE_HEADER_BYTES)  # to the end, where gzip compares its checksum
    # The file runs fastest along its first axis, so the transposed view is C-contiguous: no copy.
    voxels = np.ascontiguousarray(stored.T)
    slope, intercept = float(image.dataobj.slope), float(image.dataobj.inter)
    volume = Volume(voxels, affine[:, [2, 1, 0, 3]], slope, intercept)
    sizes = tuple(float(size) for size in volume.spacing_mm)
    if not plausible_spacing(sizes):
        raise ImageError(f"voxel size {sizes} mm is not plausible")
    return volume, notes


def read_nifti(path: Path, modality: Modality, reason: str) -> Series:
    """Read one image whose modality the user named.

    Args:
        path: A .nii, .nii.gz, .mgh or .mgz file.
        modality: What it shows.
        reason: Why we believe so, for the report.

    Returns:
        A series without instances; axis 0 of its volume is the file's third axis.

    Raises:
        ImageError: The file cannot be read or is not one plain 3-D volume; the message names it.
    """
    volume, notes = read_nifti_volume(path)
    return Series(str(path), volume, Decision(modality, reason), path=path, notes=notes)


def read_nifti_volume(path: Path, channel: int | None = None) -> tuple[Volume, tuple[str, ...]]:
    """Read one image, or one channel of a 4-D one.

    Args:
        path: A .nii, .nii.gz, .mgh or .mgz file.
        channel: Index along the fourth axis; the file is 3-D when absent.

    Returns:
        The image, whose axis 0 is the file's third axis, and what was assumed about it.

    Raises:
        ImageError: The file cannot be read or has no such image; the message names it.
    """
    try:
        with header_repairs() as repairs, _open(path) as stream:
            volume, notes = _load(path, stream, channel)
        notes += [f"header repaired by the reader: {message}" for message in dict.fromkeys(repairs)]
    except ImageError as error:
        named = str(path) in str(error)
        raise ImageError(str(error) if named else f"{path}: {error}") from None
    except Exception as error:  # nibabel, gzip and zlib raise many kinds on a damaged file
        raise ImageError(
            f"{path} cannot be read as NIfTI or MGH ({type(error).__name__}: {error}); "
            "it is cut short or damaged"
        ) from error
    return volume, tuple(notes)
