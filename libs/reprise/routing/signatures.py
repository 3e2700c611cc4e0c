"""Signatures of the documents in Redis.

A signature is of the key and the bytes of its document, so that evidence does not pass for routing, nor the document
of one project for another's. It has a key of its own: versions that know of no signatures read the document.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from reprise.bundle import BundleError
from reprise.routing.document import MAX_BYTES, InvalidRoutingError, check_size

if TYPE_CHECKING:
    from reprise.bundle.signature import SigningKey, TrustedKeys

_MAX_SIGNATURE_BYTES = 1024


@dataclass(frozen=True, slots=True)
class DocumentKeys:
    """The private key that signs a document, and the public keys by one of which it has to be signed, if given."""

    signing: "SigningKey | None" = None
    trusted: "TrustedKeys | None" = None

    @classmethod
    def read(cls, *, signing: Path | None = None, trusted: Path | None = None) -> Self:
        """Return the keys in PEM files; raises ``InvalidKeyFileError``."""
        if signing is None and trusted is None:
            return cls()
        # Loading OpenSSL takes a process time and memory that only signatures need.
        from reprise.bundle.signature import SigningKey, TrustedKeys  # noqa: PLC0415

        return cls(
            None if signing is None else SigningKey(signing),
            None if trusted is None else TrustedKeys(trusted),
        )

    def sign(self, key: str, document: bytes) -> bytes | None:
        """Return the signature of the document under a key in Redis, ``None`` without a private key.

        Raises:
            InvalidKeyFileError: The file of the private key has become unreadable.
        """
        return None if self.signing is None else self.signing.sign(_signed(key, document))

    def verify(self, kind: str, key: str, document: bytes, signature: bytes | None) -> None:
        """Return if the document is signed by a trusted key, or there are none; raises ``InvalidRoutingError``."""
        if self.trusted is None:
            return
        signature = signature or b""
        check_size(kind, "document", document, MAX_BYTES)
        check_size(kind, "signature", signature, _MAX_SIGNATURE_BYTES)
        try:
            self.trusted.verify(_signed(key, document), signature, key)
        except BundleError as error:
            raise InvalidRoutingError(kind, [str(error)]) from error


def signature_key(key: str) -> str:
    """Return the Redis key of the signature of the document under a key."""
    return f"{key}:signature"


def _signed(key: str, document: bytes) -> bytes:
    return b"%s\n%s" % (key.encode(), document)
