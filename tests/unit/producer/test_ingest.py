import asyncio
import hmac
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reprise.events import ArrivalWindow, decode_event
from reprise.events.user_ids import user_id_hash
from reprise.log import EVENTS, LogUnavailableError
from reprise.producer.metrics import ProducerMetrics
from reprise.producer.services.ingest import EventIngest
from reprise.runtime.exceptions import InvalidSettingsError
from support.fake_log import FakeLogProducer


def event(number: int = 0, **changed: Any) -> dict[str, Any]:
    return {
        "event_id": f"e{number}",
        "user_id": f"u{number}",
        "product_id": "p",
        "event_type": "purchase",
        "amount": 2.5,
        "timestamp": "2026-01-01T00:00:00Z",
        **changed,
    }


@pytest.fixture
def ingest(log: FakeLogProducer, metrics: ProducerMetrics) -> EventIngest:
    return EventIngest(log, metrics, ack_timeout=5.0, window=ArrivalWindow(300.0), kept_fields={"page", "a"})


async def test_events_go_to_the_events_topic_in_order_keyed_by_user(
    ingest: EventIngest, log: FakeLogProducer
) -> None:
    results = await ingest.accept([event(0), event(1)])
    assert [result.outcome for result in results] == ["accepted", "accepted"]
    assert [(topic, key) for topic, key, _ in log.appended] == [(EVENTS.name, b"u0"), (EVENTS.name, b"u1")]
    assert decode_event(log.appended[0][2]).amount == 2.5


async def test_broken_event_is_rejected_alone_with_its_field(
    ingest: EventIngest, log: FakeLogProducer
) -> None:
    soon, year = (
        (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat() for seconds in (290, 365 * 86_400)
    )
    items = [event(0, amount=-1), event(1, timestamp=soon), "text", None, event(4, timestamp=year)]
    results = await ingest.accept([*items, event(5, amount=1e308)])
    assert [result.outcome for result in results] == ["rejected", "accepted", *["rejected"] * 4]
    assert [result.field for result in results] == ["amount", None, "event", "event", "timestamp", "amount"]
    assert [result.event_id for result in results] == ["e0", "e1", None, None, "e4", "e5"]
    assert len(log.appended) == 1


async def test_only_named_other_fields_reach_the_log(ingest: EventIngest, log: FakeLogProducer) -> None:
    others = {"email": "someone@example.com", "page": 3, "metadata": {"email": "someone@example.com", "a": 1}}
    await ingest.accept([event(**others)])
    assert b"example.com" not in log.appended[0][2]
    assert decode_event(log.appended[0][2], {"page", "a"}).metadata == {"page": 3, "a": 1}


async def test_keyed_hash_replaces_user_ids_but_those_of_canaries(
    log: FakeLogProducer, metrics: ProducerMetrics, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"k" * 32)
    ingest = EventIngest(
        log, metrics, ack_timeout=5.0, window=ArrivalWindow(300.0), hash_user_id=user_id_hash(key)
    )
    await ingest.accept([event(user_id="u-1"), event(1, user_id="reprise-doctor-1")])
    # printf %s u-1 | openssl dgst -sha256 -hmac kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk
    expected = hmac.new(b"k" * 32, b"u-1", "sha256").hexdigest()[:32]
    assert [key.decode() for _, key, _ in log.appended] == [expected, "reprise-doctor-1"]
    assert decode_event(log.appended[0][2]).user_id == expected


@pytest.mark.parametrize("content", [None, b"", b"short"])
def test_key_that_is_missing_or_short_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(InvalidSettingsError, match="REPRISE_USER_ID_KEY_FILE"):
        user_id_hash(tmp_path / "key")


async def test_event_that_a_consumer_could_not_read_is_rejected(
    ingest: EventIngest, log: FakeLogProducer
) -> None:
    deep: dict[str, Any] = {}
    for _ in range(400):
        deep = {"a": deep}
    results = await ingest.accept([event(metadata=deep), event(metadata={"a": "x" * 70_000})])
    assert [result.outcome for result in results] == ["rejected", "rejected"]
    assert log.appended == []


async def test_nothing_is_accepted_before_the_log_acknowledged_it(
    ingest: EventIngest, log: FakeLogProducer
) -> None:
    log.hold = True
    task = asyncio.create_task(ingest.accept([event(0), event(1)]))
    await asyncio.sleep(0.05)
    assert not task.done()
    threading.Thread(target=log.acknowledge).start()
    assert [result.outcome for result in await task] == ["accepted", "accepted"]


async def test_event_that_the_log_did_not_take_is_unavailable_alone_and_counted_as_failed(
    ingest: EventIngest, log: FakeLogProducer, metrics: ProducerMetrics
) -> None:
    log.failure = lambda number: LogUnavailableError("disk full") if number == 1 else None
    results = await ingest.accept([event(0), event(1), event(2), {}])
    assert [result.outcome for result in results] == ["accepted", "unavailable", "accepted", "rejected"]
    assert results[1].reason == "disk full"
    for outcome, count in ("accepted", 2), ("rejected", 1), ("failed", 1):
        labels = {"source": "http", "outcome": outcome}
        assert metrics.registry.get_sample_value("reprise_producer_events_total", labels) == count
    assert metrics.registry.get_sample_value("reprise_producer_acknowledgement_seconds_count") == 1


async def test_full_buffer_is_overload_for_what_does_not_fit_and_a_closed_log_is_unavailable(
    ingest: EventIngest, log: FakeLogProducer
) -> None:
    log.hold, log.capacity = True, 2
    task = asyncio.create_task(ingest.accept([event(0), event(1), event(2)]))
    await asyncio.sleep(0.01)
    log.acknowledge()
    assert [result.outcome for result in await task] == ["accepted", "accepted", "overloaded"]
    log.close(0)
    assert [result.outcome for result in await ingest.accept([event()])] == ["unavailable"]


async def test_errors_that_are_not_the_logs_are_not_hidden(ingest: EventIngest, log: FakeLogProducer) -> None:
    log.failure = lambda _: RuntimeError("a bug")  # type: ignore[assignment, return-value]
    with pytest.raises(RuntimeError, match="a bug"):
        await ingest.accept([event()])
