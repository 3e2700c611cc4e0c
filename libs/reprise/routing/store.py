"""The routing document and the rollout evidence of a Feast project, in the Redis that has its features."""

from __future__ import annotations

from datetime import timedelta
from typing import Self

from reprise.routing.document import RoutingDocument, document_key
from reprise.routing.evidence import RolloutEvidence, evidence_key
from reprise.store.client import DocumentStore
from reprise.store.settings import OnlineStoreSettings


class RoutingStore:
    """Reads and writes both, blocking; it connects when first used.

    Needs the permissions of ``DocumentStore`` on the keys that are used. Methods raise ``StoreError`` where the store
    is unavailable or refuses, and those that read raise ``InvalidRoutingError`` where what is stored breaks the format.
    """

    def __init__(self, settings: OnlineStoreSettings) -> None:
        self._documents = DocumentStore.connect(settings)
        self._document = document_key(settings.feast_project)
        self._evidence = evidence_key(settings.feast_project)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._documents.close()

    def document(self) -> RoutingDocument | None:
        """Return the published routing document, ``None`` if there is none."""
        data = self._documents.get(self._document)
        return None if data is None else RoutingDocument.from_bytes(data)

    def evidence(self) -> RolloutEvidence | None:
        """Return the newest evidence, ``None`` if there is none."""
        data = self._documents.get(self._evidence)
        return None if data is None else RolloutEvidence.from_bytes(data)

    def publish_document(self, document: RoutingDocument, expires: timedelta | None = None) -> None:
        """Replace the routing document; Redis deletes it after ``expires``, if given."""
        self._documents.set(self._document, document.to_bytes(), expires)

    def publish_evidence(self, evidence: RolloutEvidence) -> None:
        """Replace the evidence."""
        self._documents.set(self._evidence, evidence.to_bytes())
