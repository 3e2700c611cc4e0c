import time
from datetime import UTC, datetime, timedelta

import pytest

from reprise.routing import InvalidRoutingError, RolloutEvidence, RoutingDocument, allocate, document_key
from reprise.routing.store import RoutingStore
from reprise.store.exceptions import StoreRefusedError, StoreUnavailableError
from reprise.store.settings import OnlineStoreSettings
from support.redis import RedisServer, free_port
from support.redis_cluster import RedisCluster

pytestmark = pytest.mark.redis

KEY = document_key("reprise")
DOCUMENT = RoutingDocument(
    generation=1, rollout="shop/forest", salt="", arms=allocate("sha256:" + "a" * 64, [], {})
)
EVIDENCE = RolloutEvidence(
    rollout="shop/forest", computed_at=datetime(2026, 11, 23, tzinfo=UTC), candidates=()
)


def settings(server: RedisServer | RedisCluster, **more: object) -> OnlineStoreSettings:
    return OnlineStoreSettings.load(**{"redis_host": server.host, "redis_port": server.port, **more})


def test_documents_are_read_as_they_were_published(redis_server: RedisServer) -> None:
    with RoutingStore(settings(redis_server)) as store:
        assert (store.document(), store.evidence()) == (None, None)
        store.publish_document(DOCUMENT)
        store.publish_evidence(EVIDENCE)
        assert (store.document(), store.evidence()) == (DOCUMENT, EVIDENCE)


def test_expired_document_is_absent(redis_server: RedisServer) -> None:
    with RoutingStore(settings(redis_server)) as store, redis_server.client() as client:
        store.publish_document(DOCUMENT, expires=timedelta(milliseconds=50))
        assert 0 < client.pttl(KEY) <= 50
        deadline = time.monotonic() + 120
        while store.document() is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert store.document() is None


def test_documents_of_projects_are_on_whichever_node_of_a_cluster(redis_cluster: RedisCluster) -> None:
    for number in range(12):
        project = settings(redis_cluster, redis_type="redis_cluster", feast_project=f"project-{number}")
        with RoutingStore(project) as store:
            store.publish_document(DOCUMENT)
            assert store.document() == DOCUMENT


def test_document_that_breaks_the_format_is_refused(redis_server: RedisServer) -> None:
    with RoutingStore(settings(redis_server)) as store, redis_server.client() as client:
        client.set(KEY, b"{}")
        with pytest.raises(InvalidRoutingError, match="generation"):
            store.document()


def test_errors_of_the_store_say_what_was_being_done(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "blind", "on", ">geheim", "~*", "-@all", "+ping")
        blind = RoutingStore(settings(redis_server, redis_username="blind", redis_password="geheim"))
        with pytest.raises(StoreRefusedError) as refused:
            blind.document()
        client.execute_command("ACL", "DELUSER", "blind")
    assert refused.value.operation.startswith("read routing:")
    unavailable = RoutingStore(settings(redis_server, redis_port=free_port()))
    with pytest.raises(StoreUnavailableError):
        unavailable.publish_evidence(EVIDENCE)
