"""Signatures of manifests and documents: Ed25519, with keys in PEM files as OpenSSL writes them.

A manifest has the digest of each file that is loaded, so that its signature is one of the bundle.
"""

import base64
import binascii
import re
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from reprise.bundle.exceptions import InvalidKeyFileError, UntrustedBundleError

_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)


class SigningKey:
    """The private key in a file, which is read for each signature, so that it can be rotated.

    Raises:
        InvalidKeyFileError: The file has no key, or one that is not Ed25519.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._key()

    @staticmethod
    def generate() -> tuple[bytes, bytes]:
        """Return a new private key and its public key, both in PEM."""
        key = Ed25519PrivateKey.generate()
        return (
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        )

    def sign(self, data: bytes) -> bytes:
        """Return the signature of the bytes in base64; the same key always gives the same one.

        Raises:
            InvalidKeyFileError: The file of the key has become unreadable.
        """
        return base64.b64encode(self._key().sign(data))

    def _key(self) -> Ed25519PrivateKey:
        try:
            key = load_pem_private_key(_read(self._path), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise InvalidKeyFileError(self._path, f"no unencrypted private key ({error})") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise InvalidKeyFileError(self._path, "expected an Ed25519 key")
        return key


class TrustedKeys:
    """The public keys in a file, which is read for each signature, so that keys can be rotated.

    Raises:
        InvalidKeyFileError: The file has no key, or one that is not Ed25519.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys()

    def verify(self, data: bytes, signatures: bytes, location: str) -> None:
        """Return if one of the signatures, each a line of base64, is by one of the keys.

        Raises:
            UntrustedBundleError: None is.
            InvalidKeyFileError: The file of keys has become unreadable.
        """
        keys = self._keys()
        for line in signatures.split():
            for key in keys:
                try:
                    key.verify(base64.b64decode(line, validate=True), data)
                except (InvalidSignature, binascii.Error):
                    continue
                return
        found = "no signature of it is by a key" if signatures.strip() else "it is not signed by any key"
        raise UntrustedBundleError(f"{location}: {found} in {self._path}")

    def _keys(self) -> list[Ed25519PublicKey]:
        keys = []
        for block in _PEM.findall(_read(self._path)):
            try:
                key = load_pem_public_key(block)
            except (ValueError, UnsupportedAlgorithm) as error:
                raise InvalidKeyFileError(self._path, str(error)) from None
            if not isinstance(key, Ed25519PublicKey):
                raise InvalidKeyFileError(self._path, "expected Ed25519 keys")
            keys.append(key)
        if not keys:
            raise InvalidKeyFileError(self._path, "no public key in PEM")
        return keys


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidKeyFileError(path, str(error.strerror)) from None
