"""Archives are unpacked without trusting their names, their sizes or their ends."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import ImageError
from runtime.formats import study_archive
from runtime.formats.study_input import read_study
from tests.dicom_factory import T1_TAGS, SeriesPlan, marked_voxels, write_series

T1 = SeriesPlan(tags=T1_TAGS)
VOXELS = marked_voxels()


def pack(kind: str, folder: Path, archive: Path) -> Path:
    if kind == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            for path in sorted(folder.iterdir()):
                packed.write(path, f"study/{path.name}")
    else:
        with tarfile.open(archive, "w:gz" if kind == "tar.gz" else "w") as tar:
            tar.add(folder, "study")
    return archive


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_study_reads_an_archive(tmp_path: Path, kind: str) -> None:
    write_series(tmp_path / "in", VOXELS, T1)
    study = read_study([str(pack(kind, tmp_path / "in", tmp_path / "study.bin"))])
    np.testing.assert_array_equal(study.series[0].volume.voxels, VOXELS)
    assert study.series[0].instances[0].path == Path("study/t1_000.dcm")


@pytest.mark.parametrize(
    "name", ["../evil.dcm", "/etc/evil.dcm", "a/../../evil.dcm", "..\\evil.dcm", "C:\\evil.dcm"]
)
def test_archive_with_a_path_escape_is_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as packed:
        packed.writestr(name, "x")
    with pytest.raises(ImageError, match=r"evil\.zip has a member that points outside"):
        read_study([str(tmp_path / "evil.zip")])
    assert not list(tmp_path.parent.glob("evil.dcm"))


def test_archive_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a", bytes(3_000_000))
        packed.writestr("b", b"")
    monkeypatch.setattr(study_archive, "MAXIMUM_ARCHIVE_BYTES", 1_000_000)
    with pytest.raises(ImageError, match="unpacks to more than 1000000 bytes"):
        read_study([str(tmp_path / "bomb.zip")])
    monkeypatch.setattr(study_archive, "MAXIMUM_ARCHIVE_BYTES", 4_000_000)
    monkeypatch.setattr(study_archive, "MAXIMUM_ARCHIVE_FILES", 1)
    with pytest.raises(ImageError, match="more than 1 files"):
        read_study([str(tmp_path / "bomb.zip")])


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_archive_cut_short_is_refused(tmp_path: Path, kind: str) -> None:
    write_series(tmp_path / "in", VOXELS, T1)
    archive = pack(kind, tmp_path / "in", tmp_path / "cut.archive")
    archive.write_bytes(archive.read_bytes()[:-900])
    with pytest.raises(ImageError, match=r"cut\.archive"):
        read_study([str(archive)])


def test_archive_link_is_not_followed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "link.tar", "w") as tar:
        link = tarfile.TarInfo("a.dcm")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo("empty"), io.BytesIO(b""))
    with pytest.raises(ImageError, match="no readable DICOM file"):
        read_study([str(tmp_path / "link.tar")])
