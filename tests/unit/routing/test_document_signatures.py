from pathlib import Path

import pytest

from reprise.bundle import InvalidKeyFileError
from reprise.bundle.signature import SigningKey
from reprise.routing import DocumentKeys, InvalidRoutingError, document_key, evidence_key
from reprise.routing.document import MAX_BYTES
from support.key_files import key_files

KEY = document_key("shop")
DOCUMENT = b'{"generation":1}'


def test_signature_is_of_one_document_under_one_key(tmp_path: Path) -> None:
    own = key_files(tmp_path, "own")
    keys = DocumentKeys.read(signing=own.private, trusted=own.public)
    signature = keys.sign(KEY, DOCUMENT)
    keys.verify("routing document", KEY, DOCUMENT, signature)
    for key, document, signed in (
        (KEY, DOCUMENT + b" ", signature),
        (evidence_key("shop"), DOCUMENT, signature),
        (document_key("other"), DOCUMENT, signature),
        (KEY, DOCUMENT, SigningKey(own.private).sign(DOCUMENT)),
        (
            KEY,
            DOCUMENT,
            DocumentKeys.read(signing=key_files(tmp_path, "foreign").private).sign(KEY, DOCUMENT),
        ),
    ):
        with pytest.raises(
            InvalidRoutingError, match=f"invalid routing document: {key}: no signature of it is"
        ):
            keys.verify("routing document", key, document, signed)
    with pytest.raises(InvalidRoutingError, match="it is not signed by any key"):
        keys.verify("routing document", KEY, DOCUMENT, None)


def test_file_that_loses_its_keys_refuses_documents(tmp_path: Path) -> None:
    own = key_files(tmp_path, "own")
    keys = DocumentKeys.read(signing=own.private, trusted=own.public)
    own.public.write_bytes(b"")
    with pytest.raises(InvalidRoutingError, match="no public key in PEM"):
        keys.verify("routing document", KEY, DOCUMENT, keys.sign(KEY, DOCUMENT))


def test_private_key_rotates_without_a_restart(tmp_path: Path) -> None:
    old, new = key_files(tmp_path, "old"), key_files(tmp_path, "new")
    keys = DocumentKeys.read(signing=old.private)
    old.private.write_bytes(new.private.read_bytes())
    assert keys.sign(KEY, DOCUMENT) == DocumentKeys.read(signing=new.private).sign(KEY, DOCUMENT)
    old.private.write_bytes(b"")
    with pytest.raises(InvalidKeyFileError):
        keys.sign(KEY, DOCUMENT)


@pytest.mark.parametrize(
    ("document", "lines", "problem"),
    [(b" " * (MAX_BYTES + 1), 1, "document: 262,145 bytes"), (DOCUMENT, 12, "signature: 1,068 bytes")],
)
def test_document_or_signature_beyond_its_maximum_is_refused_though_signed(
    tmp_path: Path, document: bytes, lines: int, problem: str
) -> None:
    own = key_files(tmp_path, "own")
    keys = DocumentKeys.read(signing=own.private, trusted=own.public)
    signature = keys.sign(KEY, document)
    assert signature is not None
    with pytest.raises(InvalidRoutingError, match=problem):
        keys.verify("routing document", KEY, document, (signature + b"\n") * lines)


def test_without_keys_nothing_is_signed_or_verified() -> None:
    assert DocumentKeys.read().sign(KEY, DOCUMENT) is None
    DocumentKeys.read().verify("routing document", KEY, DOCUMENT, None)
