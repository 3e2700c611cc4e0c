from datetime import UTC, datetime, timedelta

import pytest

from reprise.routing import InvalidRoutingError, RolloutEvidence, RoutingDocument, allocate, document_key
from reprise.routing.store import RoutingStore
from support.redis import RedisServer

pytestmark = pytest.mark.redis

KEY = document_key("reprise")
DOCUMENT = RoutingDocument(
    generation=1, rollout="shop/forest", salt="", arms=allocate("sha256:" + "a" * 64, [], {})
)
EVIDENCE = RolloutEvidence(
    rollout="shop/forest", computed_at=datetime(2026, 11, 23, tzinfo=UTC), candidates=()
)


def test_documents_are_read_as_they_were_published(redis_server: RedisServer) -> None:
    with RoutingStore(redis_server.settings()) as store:
        assert (store.document(), store.evidence()) == (None, None)
        store.publish_document(DOCUMENT)
        store.publish_evidence(EVIDENCE)
        assert (store.document(), store.evidence()) == (DOCUMENT, EVIDENCE)


def test_document_expires(redis_server: RedisServer) -> None:
    with RoutingStore(redis_server.settings()) as store, redis_server.client() as client:
        store.publish_document(DOCUMENT, expires=timedelta(seconds=50))
        assert 0 < client.pttl(KEY) <= 50_000


def test_document_that_breaks_the_format_is_refused(redis_server: RedisServer) -> None:
    with RoutingStore(redis_server.settings()) as store, redis_server.client() as client:
        client.set(KEY, b"{}")
        with pytest.raises(InvalidRoutingError, match="generation"):
            store.document()
