"""Checkpoints of strangers are read as data: weights and numbers, nothing that could run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is installed for training only (make check installs it)")

from export.checkpoint import read_checkpoint  # noqa: E402
from runtime.errors import BundleError  # noqa: E402

pytestmark = pytest.mark.torch


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch hostile-was-here",)


def test_weights_and_numpys_numbers_are_read(tmp_path: Path) -> None:
    state = {
        "network_weights": {"a": torch.ones(2)},
        "log": [np.float64(0.5), np.float32(1), np.int64(3), np.bool_(True)],
    }
    torch.save(state, tmp_path / "c.pth")
    found = read_checkpoint(tmp_path / "c.pth")
    assert found["log"] == [0.5, 1, 3, True]
    assert torch.equal(found["network_weights"]["a"], torch.ones(2))  # type: ignore[index,call-overload]


def test_what_wants_to_run_is_refused_and_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"w": torch.ones(1), "x": Hostile()}, "c.pth")
    with pytest.raises(BundleError, match="more than weights and numbers"):
        read_checkpoint(tmp_path / "c.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(BundleError):
        read_checkpoint(tmp_path / "raw.pth")
    assert not (tmp_path / "hostile-was-here").exists()


def test_what_is_missing_damaged_or_nameless_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.pth"
    with pytest.raises(BundleError, match="missing"):
        read_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(BundleError, match="holds a list"):
        read_checkpoint(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(BundleError):
        read_checkpoint(path)
