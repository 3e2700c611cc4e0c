"""The routing document and the rollout evidence of a Feast project, in the Redis that has its features."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Self, TypeVar

from reprise.routing.document import InvalidRoutingError, RoutingDocument, StrictModel, document_key
from reprise.routing.evidence import RolloutEvidence, evidence_key
from reprise.routing.signatures import DocumentKeys, signature_key
from reprise.store.client import DocumentStore
from reprise.store.settings import OnlineStoreSettings

_UNSIGNED = DocumentKeys()
_VERIFY_AGAIN_SECONDS = 0.1
_Document = TypeVar("_Document", bound=StrictModel)


class RoutingStore:
    """Reads and writes both, blocking; it connects when first used.

    Needs the permissions of ``DocumentStore`` on the keys that are used. Methods raise ``StoreError`` where the store
    is unavailable or refuses, and those that read raise ``InvalidRoutingError`` where what is stored breaks the format,
    is not signed by a trusted key, or is signed evidence older than what was read before. Those that sign raise
    ``InvalidKeyFileError`` where the private key has become unreadable.
    """

    def __init__(
        self,
        settings: OnlineStoreSettings,
        document_keys: DocumentKeys = _UNSIGNED,
        evidence_keys: DocumentKeys = _UNSIGNED,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._documents = DocumentStore.connect(settings)
        self._document = document_key(settings.feast_project)
        self._evidence = evidence_key(settings.feast_project)
        self._document_keys = document_keys
        self._evidence_keys = evidence_keys
        self._sleep = sleep
        self._newest_evidence: datetime | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._documents.close()

    def document(self) -> RoutingDocument | None:
        """Return the published routing document, ``None`` if there is none."""
        return self._read(RoutingDocument, self._document, self._document_keys)

    def evidence(self) -> RolloutEvidence | None:
        """Return the newest evidence, ``None`` if there is none."""
        found = self._read(RolloutEvidence, self._evidence, self._evidence_keys)
        newest = self._newest_evidence
        if found is None or self._evidence_keys.trusted is None:
            return found
        if newest is not None and found.computed_at < newest:
            raise InvalidRoutingError(found.KIND, [f"computed_at: {found.computed_at} is before {newest}"])
        self._newest_evidence = found.computed_at
        return found

    def is_published(self, document: RoutingDocument) -> bool:
        """Return whether this routing document is stored, signed by the present private key if there is one."""
        key, data = self._document, document.to_bytes()
        signature = self._document_keys.sign(key, data)
        if self._documents.get(key) != data:
            return False
        return signature is None or self._documents.get(signature_key(key)) == signature

    def publish_document(self, document: RoutingDocument, expires: timedelta | None = None) -> None:
        """Replace the routing document; Redis deletes it after ``expires``, if given."""
        self._publish(document, self._document, self._document_keys, expires)

    def publish_evidence(self, evidence: RolloutEvidence) -> None:
        """Replace the evidence."""
        self._publish(evidence, self._evidence, self._evidence_keys)

    def _read(self, model: type[_Document], key: str, keys: DocumentKeys) -> _Document | None:
        try:
            data = self._read_verified(model.KIND, key, keys)
        except InvalidRoutingError:
            # Its publisher may have written the signature and not yet the document.
            self._sleep(_VERIFY_AGAIN_SECONDS)
            data = self._read_verified(model.KIND, key, keys)
        return None if data is None else model.from_bytes(data)

    def _read_verified(self, kind: str, key: str, keys: DocumentKeys) -> bytes | None:
        data = self._documents.get(key)
        if data is not None and keys.trusted is not None:
            keys.verify(kind, key, data, self._documents.get(signature_key(key)))
        return data

    def _publish(
        self, document: StrictModel, key: str, keys: DocumentKeys, expires: timedelta | None = None
    ) -> None:
        data = document.to_bytes()
        # It comes first: who reads a new document finds its signature.
        if (signature := keys.sign(key, data)) is not None:
            self._documents.set(signature_key(key), signature, expires)
        self._documents.set(key, data, expires)
