"""Sign and check passports with Ed25519; the only file that imports `cryptography`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from runtime.errors import DeviceError
from runtime.trust.document import canonical
from runtime.user_data import data_folder, read_own, write_own

__all__ = ["TRUST_VARIABLE", "Signer", "check_signature", "device_key_path", "trusted_keys"]

TRUST_VARIABLE = "ZEUS_EDGE_TRUST"
"""Files and folders of public keys (PEM), separated as in PATH, beside those in the user's data."""

_INSTALL = 'pip install "zeus-edge[passport]"'
_KEY_BYTES = 4096
_SIGNATURE = "signature"


def device_key_path() -> Path:
    """Where the device's own private key is, once it was made.

    Raises:
        OSError: The user has no home.
    """
    return data_folder("keys") / "device.pem"


class Signer:
    """A private key.

    Args:
        path: PEM, PKCS 8, without a password; the device's own, made at first use, when absent.

    Raises:
        DeviceError: `cryptography` is not installed, or the key cannot be read or made, others can read it,
            or it is no Ed25519 key.
    """

    def __init__(self, path: Path | None = None) -> None:
        own = path is None
        try:
            place = device_key_path() if path is None else path
            if own and not os.path.lexists(place):
                write_own(place, _new_key(), replace=False)
            self._key = _private(read_own(place, _KEY_BYTES, is_private=True), place)
        except OSError as error:
            raise DeviceError(
                f"the signing key {error.filename or place} cannot be used ({error.strerror}); see --key"
            ) from None

    @property
    def public_key(self) -> str:
        """64 hexadecimal digits."""
        return _hex(self._key.public_key())

    def sign(self, document: dict[str, Any]) -> dict[str, Any]:
        """A document with its signature as a further key."""
        return {**document, _SIGNATURE: self._key.sign(canonical(document)).hex()}


def check_signature(document: dict[str, Any], trusted: set[str]) -> dict[str, Any]:
    """A document without its signature, once that was found right.

    Args:
        document: As `Signer.sign` made it; its "public_key" says whose it is.
        trusted: Public keys.

    Raises:
        DeviceError: The signature is wrong, or of a key that is not trusted, or cannot be checked.
    """
    asymmetric = _library()
    rest = {name: value for name, value in document.items() if name != _SIGNATURE}
    try:
        raw = bytes.fromhex(str(rest.get("public_key")))
        signature = bytes.fromhex(str(document.get(_SIGNATURE)))
        asymmetric.Ed25519PublicKey.from_public_bytes(raw).verify(signature, canonical(rest))
    except Exception:  # of the library, or of a hostile file: either way it is not signed
        raise DeviceError("its signature does not fit its text: it was changed") from None
    if raw.hex() not in trusted:
        raise DeviceError(
            f"it is signed by the key {raw.hex()[:12]}…, which this device does not trust; put that public "
            f"key into {data_folder('trusted')} or name it in {TRUST_VARIABLE}"
        )
    return rest


def trusted_keys() -> set[str]:
    """Public keys of this device, of the user's folder `trusted` and of the environment.

    What cannot be read, is no such key, or can be written by others is left out.

    Raises:
        DeviceError: `cryptography` is not installed.
    """
    _library()
    found: set[str] = set()
    with suppress(OSError, DeviceError):  # without a key of its own, nothing of its own is signed
        own = device_key_path()
        found.add(_hex(_private(read_own(own, _KEY_BYTES, is_private=True), own).public_key()))
    for path in _trusted_files():
        try:
            found.add(_public(read_own(path, _KEY_BYTES)))
        except (OSError, ValueError):
            continue
    return found


def _trusted_files() -> Iterator[Path]:
    given = [Path(name) for name in os.environ.get(TRUST_VARIABLE, "").split(os.pathsep) if name]
    with suppress(OSError):
        given.append(data_folder("trusted"))
    for path in given:
        yield from sorted(path.glob("*.pem")) if path.is_dir() else [path]


def _library() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise DeviceError(f"passports need the package cryptography; {_INSTALL}") from None
    return ed25519


def _new_key() -> bytes:
    key = _library().Ed25519PrivateKey.generate()
    from cryptography.hazmat.primitives import serialization as ways

    made: bytes = key.private_bytes(ways.Encoding.PEM, ways.PrivateFormat.PKCS8, ways.NoEncryption())
    return made


def _private(text: bytes, path: Path) -> Any:
    asymmetric = _library()
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(text, None)
    except Exception:  # ValueError, TypeError for a password, UnsupportedAlgorithm
        key = None
    if not isinstance(key, asymmetric.Ed25519PrivateKey):
        raise DeviceError(f"{path} is no Ed25519 private key (PEM, PKCS 8, no password); see --key")
    return key


def _public(text: bytes) -> str:
    asymmetric = _library()
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    key = load_pem_public_key(text)
    if not isinstance(key, asymmetric.Ed25519PublicKey):
        raise ValueError("no Ed25519 key")
    return _hex(key)


def _hex(key: Any) -> str:
    raw: bytes = key.public_bytes_raw()
    return raw.hex()
