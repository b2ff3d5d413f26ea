"""Who may sign a passport, and who may read and write the keys."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.bundle import Bundle, open_bundle
from runtime.engines.kinds import KINDS
from runtime.errors import DeviceError
from runtime.qualify.issue import Wanted, qualify
from runtime.trust.signing import TRUST_VARIABLE, Signer, device_key_path, trusted_keys
from runtime.trust.validity import Status, passport_path, status
from runtime.user_data import data_folder, read_own, write_own
from tests.passport_kinds import RIGHT, facts

pytestmark = pytest.mark.usefixtures("own_folders")


def standing(tiny: Bundle) -> Status:
    return status(tiny, RIGHT, facts=facts())


def test_passport_of_a_stranger_counts_once_the_key_is_trusted(
    tiny: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    fleet = tmp_path / "fleet.pem"
    Signer()
    fleet.write_bytes(device_key_path().read_bytes())
    fleet.chmod(0o600)
    device_key_path().unlink()
    issued = qualify(tiny, Wanted(threads=1, key=fleet, facts=facts()), RIGHT)
    assert "this device does not trust" in standing(tiny).problem
    public = load_pem_private_key(fleet.read_bytes(), None).public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    write_own(data_folder("trusted") / "fleet.pem", pem)
    assert standing(tiny).problem == ""
    (data_folder("trusted") / "fleet.pem").chmod(0o666)
    assert trusted_keys() == set()
    (tmp_path / "public.pem").write_bytes(pem)
    monkeypatch.setenv(TRUST_VARIABLE, str(tmp_path / "public.pem"))
    assert trusted_keys() == {issued.passport.public_key}
    assert standing(tiny).problem == ""


def test_passport_key_is_this_users_alone(tmp_path: Path) -> None:
    Signer()
    key = device_key_path()
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.parent.stat().st_mode & 0o777 == 0o700
    same = Signer().public_key
    assert Signer(key).public_key == same
    key.chmod(0o640)
    with pytest.raises(DeviceError, match="others can read or write it; chmod 600"):
        Signer()
    link = tmp_path / "link.pem"
    link.symlink_to(key)
    with pytest.raises(DeviceError, match="cannot be used"):
        Signer(link)
    (tmp_path / "odd.pem").write_bytes(b"no key")
    (tmp_path / "odd.pem").chmod(0o600)
    with pytest.raises(DeviceError, match="no Ed25519 private key"):
        Signer(tmp_path / "odd.pem")
    with pytest.raises(OSError, match="more than 2 bytes"):
        read_own(tmp_path / "odd.pem", 2)


@pytest.mark.slow
def test_passports_of_two_processes_leave_one_key_and_a_valid_passport(bundle: Path) -> None:
    command = [sys.executable, "-m", "runtime.passport", str(bundle), "--precision", "fp16", "--threads", "1"]
    running = [subprocess.Popen([*command, "--quiet"], env=os.environ.copy()) for _ in range(2)]
    assert [process.wait(120) for process in running] == [0, 0]
    assert [path.name for path in device_key_path().parent.iterdir()] == ["device.pem"]
    opened = open_bundle(bundle)
    assert [path.name for path in passport_path(opened).parent.iterdir()] == [passport_path(opened).name]
    assert status(opened, KINDS).problem == ""
