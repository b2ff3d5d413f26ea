"""A made-up series, labels on it, and independent readers of the SEG that comes out."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.formats.seg_write import SegOptions
from runtime.structure import Code, ModelIdentity, Structure
from runtime.study import Decision, Instance, Series
from runtime.volume import Affine, Labels, Volume

pydicom = pytest.importorskip("pydicom")
highdicom = pytest.importorskip("highdicom")

ANATOMY = Code("123037004", "SCT", "Anatomical Structure")
LESION = Code("49755003", "SCT", "Morphologically Abnormal Structure")
THALAMUS = Structure(3, "thalamus", ANATOMY, Code("42695009", "SCT", "Thalamus"), (0, 118, 14))
PUTAMEN = Structure(7, "putamen", ANATOMY, Code("89278009", "SCT", "Putamen"), (236, 13, 176))
TUMOUR = Structure(9, "tumour", LESION, Code("108369006", "SCT", "Neoplasm"), (255, 0, 0))
BRAIN = Structure(
    200, "brain", ANATOMY, Code("12738006", "SCT", "Brain"), (255, 255, 0), ("thalamus", "putamen")
)
ALL = (BRAIN, THALAMUS, TUMOUR, PUTAMEN)
NAMES = {structure.value: structure.name for structure in (THALAMUS, PUTAMEN, TUMOUR)}
IDENTITY = ModelIdentity("zeus-nano-head", "0.3.0", "ab" * 32, "0.1.0")
FIXED = SegOptions(created=datetime(2026, 11, 24, 12, 30), parameters={"instruction": "find the thalamus"})
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
AXIAL = (1, 0, 0, 0, 1, 0)
SAGITTAL = (0, 1, 0, 0, 0, -1)
OBLIQUE = (0.98, 0.19899748742132398, 0, -0.1909379, 0.9403068, -0.2818179)


def make_series(orientation: Sequence[float], shape: tuple[int, int, int] = (6, 20, 15)) -> Series:
    """A made-up MR series: 0.9 mm between rows, 0.7 mm between columns, 2.5 mm between slices."""
    right, down = np.array(orientation[:3], float), np.array(orientation[3:], float)
    down = down - right * (right @ down)
    right, down = right / np.linalg.norm(right), down / np.linalg.norm(down)
    step = np.cross(right, down) * 2.5
    origin = np.array([-41.25, 33.5, -12.75])
    lps = np.eye(4)
    lps[:3, :] = np.stack([step, down * 0.9, right * 0.7, origin], axis=1)
    instances = []
    for index in range(shape[0]):
        header = pydicom.Dataset()
        header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        header.SOPInstanceUID = f"1.2.826.0.1.3680043.8.498.1.{index + 1}"
        header.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.2"
        header.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.3"
        header.FrameOfReferenceUID = "1.2.826.0.1.3680043.8.498.4"
        header.Modality, header.PatientID, header.PatientName = "MR", "ph1", "Phantom^One"
        header.PatientBirthDate, header.PatientSex, header.StudyID = "19700101", "O", "1"
        header.StudyDate, header.StudyTime, header.AccessionNumber = "20261124", "101112", "7"
        header.ReferringPhysicianName, header.PositionReferenceIndicator = "", ""
        header.Rows, header.Columns = shape[1:]
        header.PixelSpacing, header.SliceThickness = [0.9, 0.7], 2.5
        header.ImageOrientationPatient = [f"{value:.12g}" for value in (*right, *down)]
        header.ImagePositionPatient = [f"{value:.12g}" for value in origin + step * index]
        instances.append(Instance(Path(f"{index}.dcm"), header.SOPInstanceUID, header))
    volume = Volume(np.zeros(shape, np.int16), LPS_TO_RAS @ lps)
    first = instances[0].header
    return Series(
        str(first.SeriesInstanceUID),
        volume,
        Decision("T1", "made"),
        str(first.FrameOfReferenceUID),
        tuple(instances),
    )


def make_labels(series: Series) -> Labels:
    """Blocks that look different from every side; thalamus touches putamen, no tumour."""
    voxels = np.zeros(series.volume.voxels.shape, np.uint8)
    voxels[1:3, 4:9, 2:13] = THALAMUS.value
    voxels[2:5, 9:17, 3:6] = PUTAMEN.value
    voxels[4, 18, 14] = PUTAMEN.value
    return Labels(voxels, series.volume.affine, NAMES)


def positions(mask: NDArray[Any], affine: Affine) -> NDArray[np.float64]:
    """RAS millimetres of the voxels of a mask, sorted, (n, 3)."""
    found = (np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]).round(2) + 0.0
    return found[np.lexsort(found.T)]


def expected(labels: Labels, *values: int) -> NDArray[np.float64]:
    return positions(np.isin(labels.voxels, values), labels.affine)


def assert_same_places(found: NDArray[np.float64], wanted: NDArray[np.float64]) -> None:
    assert found.shape == wanted.shape
    # Rounding to 0.01 mm may sort two neighbours differently, so places are matched, not zipped.
    for start in range(0, len(found), 500):
        part = slice(start, start + 500)
        for some, every in ((found[part], wanted), (wanted[part], found)):
            gap_mm = np.abs(some[:, np.newaxis] - every[np.newaxis]).max(axis=-1).min(axis=1)
            assert gap_mm.max() <= 0.021


def run_tool(*command: str | Path) -> str:
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def reread_with_dcmqi(path: Path, folder: Path) -> dict[str, NDArray[np.float64]]:
    """RAS positions of each segment as dcmqi's converter sees them, by segment label."""
    nib = pytest.importorskip("nibabel")
    folder.mkdir()
    run_tool("segimage2itkimage", "--inputDICOM", path, "--outputDirectory", folder, "-t", "nii")
    labels = {item.SegmentNumber: item.SegmentLabel for item in pydicom.dcmread(path).SegmentSequence}
    found = {}
    for number, label in labels.items():
        image = nib.load(folder / f"{number}.nii.gz")
        found[label] = positions(np.asarray(image.dataobj) > 0, image.affine)
    return found


def reread_with_highdicom(path: Path) -> dict[str, NDArray[np.float64]]:
    """RAS positions of each segment, from the per-frame headers and the bits of the file."""
    seg = highdicom.seg.segread(path)
    shared = seg.SharedFunctionalGroupsSequence[0]
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    rows_mm, columns_mm = (float(value) for value in shared.PixelMeasuresSequence[0].PixelSpacing)
    labels = {item.SegmentNumber: item.SegmentLabel for item in seg.SegmentSequence}
    found: dict[str, list[NDArray[np.float64]]] = {}
    for index, item in enumerate(seg.PerFrameFunctionalGroupsSequence):
        group = item if "SegmentIdentificationSequence" in item else shared
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        rows, columns = np.nonzero(seg.get_stored_frame(index + 1))
        origin = np.array(item.PlanePositionSequence[0].ImagePositionPatient, float)
        lps = origin + np.outer(columns * columns_mm, cosines[0]) + np.outer(rows * rows_mm, cosines[1])
        found.setdefault(labels[number], []).append(lps * [-1, -1, 1])
    joined = {name: np.concatenate(parts).round(2) + 0.0 for name, parts in found.items()}
    return {name: points[np.lexsort(points.T)] for name, points in joined.items()}


def validator_errors(path: Path) -> list[str]:
    lines = run_tool("dciodvfy", path).splitlines()
    assert "Segmentation" in lines  # what dciodvfy took the file for: it did run
    return [line for line in lines if line.startswith("Error")]
