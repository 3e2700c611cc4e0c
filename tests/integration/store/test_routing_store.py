from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reprise.routing import (
    DocumentKeys,
    InvalidRoutingError,
    RolloutEvidence,
    RoutingDocument,
    allocate,
    document_key,
    signature_key,
)
from reprise.routing.store import RoutingStore
from support.key_files import key_files
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


def test_document_that_breaks_the_format_is_refused(redis_server: RedisServer) -> None:
    with RoutingStore(redis_server.settings()) as store, redis_server.client() as client:
        client.set(KEY, b"{}")
        with pytest.raises(InvalidRoutingError, match="generation"):
            store.document()


def test_signed_documents_are_read_with_and_without_keys_and_unsigned_ones_without(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    operator, outcomes = key_files(tmp_path, "operator"), key_files(tmp_path, "outcomes")
    trusting = DocumentKeys.read(trusted=operator.public), DocumentKeys.read(trusted=outcomes.public)
    signing = DocumentKeys.read(signing=operator.private), DocumentKeys.read(signing=outcomes.private)
    settings = redis_server.settings()
    with RoutingStore(settings) as plain, RoutingStore(settings, *trusting) as reader:
        for store in plain, RoutingStore(settings, *reversed(signing)):
            store.publish_document(DOCUMENT)
            store.publish_evidence(EVIDENCE)
            for read in reader.document, reader.evidence:
                with pytest.raises(InvalidRoutingError, match=r"signed by any key|no signature of it"):
                    read()
            assert (plain.document(), plain.evidence()) == (DOCUMENT, EVIDENCE)
        with RoutingStore(settings, *signing) as writer, redis_server.client() as client:
            writer.publish_document(DOCUMENT, expires=timedelta(seconds=50))
            writer.publish_evidence(EVIDENCE)
            assert all(0 < client.pttl(key) <= 50_000 for key in (KEY, signature_key(KEY)))
        for store in plain, reader:
            assert (store.document(), store.evidence()) == (DOCUMENT, EVIDENCE)


def test_document_is_published_if_it_is_signed_by_the_present_key(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    settings, own, new = redis_server.settings(), key_files(tmp_path, "own"), key_files(tmp_path, "new")
    with (
        RoutingStore(settings) as plain,
        RoutingStore(settings, DocumentKeys.read(signing=own.private)) as store,
    ):
        assert not plain.is_published(DOCUMENT)
        plain.publish_document(DOCUMENT)
        assert (plain.is_published(DOCUMENT), store.is_published(DOCUMENT)) == (True, False)
        store.publish_document(DOCUMENT)
        assert store.is_published(DOCUMENT)
        assert not store.is_published(DOCUMENT.model_copy(update={"generation": 2}))
        own.private.write_bytes(new.private.read_bytes())
        assert not store.is_published(DOCUMENT)
        store.publish_document(DOCUMENT)
        assert RoutingStore(settings, DocumentKeys.read(trusted=new.public)).document() == DOCUMENT


def test_document_that_is_read_before_its_signature_is_read_once_more(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    own, settings = key_files(tmp_path, "own"), redis_server.settings()
    keys = DocumentKeys.read(signing=own.private, trusted=own.public)
    following = DOCUMENT.model_copy(update={"generation": 2})
    pauses: list[float] = []
    with RoutingStore(settings, keys) as writer, redis_server.client() as client:

        def finish(seconds: float) -> None:
            pauses.append(seconds)
            writer.publish_document(following)

        writer.publish_document(DOCUMENT)
        signature = keys.sign(KEY, following.to_bytes())
        assert signature is not None
        client.set(signature_key(KEY), signature)
        with RoutingStore(settings, keys, sleep=finish) as reader:
            assert reader.document() == following
            client.set(signature_key(KEY), b"")
            with pytest.raises(InvalidRoutingError, match="not signed by any key"):
                RoutingStore(settings, keys, sleep=pauses.append).document()
    assert len(pauses) == 2


def test_older_signed_evidence_is_refused_by_who_has_read_newer(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    own = key_files(tmp_path, "own")
    keys = DocumentKeys.read(signing=own.private, trusted=own.public)
    older = EVIDENCE.model_copy(update={"computed_at": EVIDENCE.computed_at - timedelta(days=1)})
    with (
        RoutingStore(redis_server.settings(), evidence_keys=keys) as store,
        RoutingStore(redis_server.settings()) as plain,
    ):
        store.publish_evidence(older)
        assert (store.evidence(), plain.evidence()) == (older, older)
        store.publish_evidence(EVIDENCE)
        assert (store.evidence(), plain.evidence()) == (EVIDENCE, EVIDENCE)
        store.publish_evidence(older)
        assert plain.evidence() == older
        with pytest.raises(InvalidRoutingError, match=r"computed_at: .* is before"):
            store.evidence()
